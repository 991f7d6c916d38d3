"""A cell as it stands in the editor: which companion it is for, and where its code begins (face)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIRST = re.compile(
    r"(?:[^\S\n]*\n)*"  # IPython leaves out empty lines at the beginning
    r"(?:[^\S\n]*%%(?:time|timeit|capture|prun)\b[^\n]*\n)*"  # those run what is below them as a cell
    r"[^\S\n]*%%isolated(?P<line>(?:[^\S\n][^\n]*)?)(?P<body>\n|\Z)"
)
_COMPANION = re.compile(r"(?:^|\s)(?:-c\s*|--companion(?:=|\s+))[\"']?(?P<name>[\w.-]+)")
_ALONE = re.compile(r"(?:^|\s)--fresh(?:\s|$)")


@dataclass(frozen=True)
class IsolatedCell:
    """Tell what a cell that begins with `%%isolated` says.

    Attributes:
        companion: whose names the code refers to; empty if it is nobody's yet.
        line: where what follows `%%isolated` begins in the text.
        body: where the code begins; behind the end if there is none.
    """

    companion: str
    line: int
    body: int


def isolated_cell(text: str) -> IsolatedCell | None:
    """Return what a cell says of its companion; None if it is not for one."""
    found = _FIRST.match(text)
    if found is None:
        return None
    line = found["line"]
    names = _COMPANION.findall(line)
    companion = "" if _ALONE.search(line) else names[-1] if names else "default"
    return IsolatedCell(companion, found.start("line"), found.end("body") if found["body"] else len(text) + 1)


def line_at(text: str, cursor: int) -> tuple[str, int]:
    """Return the line that the cursor is in, as far as the cursor, and where it begins."""
    begins = text.rfind("\n", 0, cursor) + 1
    return text[begins:cursor], begins
