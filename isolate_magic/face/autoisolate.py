"""`%autoisolate`: every following cell runs in a companion, until it is switched off (face)."""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.error import UsageError

from isolate_magic.face import target
from isolate_magic.face.cell import CELL, OPTIONS
from isolate_magic.face.editor import IsolatedCell
from isolate_magic.face.options import Line, meant

_STAYING = ("%isolate", "%autoisolate", "%load_ext", "%reload_ext", "%unload_ext", "%config")
LINE = Line(
    "%autoisolate",
    "Run every following cell in a companion, as if it began with %%isolated and these options.",
    OPTIONS,
    "on|off",
    f"Cells that begin with %% or with {', '.join(_STAYING)} run here as before.\n"
    "Without a word it says how it is.",
)


class Transform:
    """Change the text of cells before IPython reads it; the first of its cleanup transformers.

    Args:
        shell: the main session's.

    Attributes:
        options: what every cell's line would say; None while it is off.
        inside: how many cells run, one inside the other: what those read, as %%time does, is no new cell.
    """

    has_side_effects = True  # so that looking whether a cell is complete leaves it as it is

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.options: str | None = None
        self.inside = 0

    def __call__(self, lines: list[str]) -> list[str]:
        """Give `%%isolated` a body, which IPython asks for, and let cells run in the companion."""
        blank = next((place for place, line in enumerate(lines) if line.strip()), None)
        if blank is None:
            return lines
        first = lines[blank].split()[0]
        if first == "%%isolated" and blank == len(lines) - 1:
            return [*lines, "\n"]
        if self.options is None or self.inside or _stays(first) or self._unseen():
            return lines
        source = "".join(lines[blank:])
        return [f"get_ipython().run_cell_magic('autoisolated', {f'{blank} {self.options}'!r}, {source!r})\n"]

    def _unseen(self) -> bool:
        """Tell whether the frontend asks for something of its own, and no user has typed a cell."""
        kernel = getattr(self.shell, "kernel", None)
        content = kernel.get_parent().get("content", {}) if kernel is not None else {}
        return bool(content.get("silent", False) or not content.get("store_history", True))

    def enter(self) -> None:
        """Note that a cell begins."""
        self.inside += 1

    def leave(self) -> None:
        """Note that a cell is over; of the one that has loaded the extension no beginning was seen."""
        self.inside = max(self.inside - 1, 0)


def _stays(word: str) -> bool:
    return word.startswith("%%") or word in _STAYING


def install(shell: Any) -> None:
    """Put the transformer in place."""
    made = Transform(shell)
    shell.input_transformers_cleanup.insert(0, made)
    shell.events.register("pre_execute", made.enter)
    shell.events.register("post_execute", made.leave)


def remove(shell: Any) -> None:
    """Take the transformer away again."""
    made = transform(shell)
    if made is None:
        return
    shell.input_transformers_cleanup.remove(made)
    shell.events.unregister("pre_execute", made.enter)
    shell.events.unregister("post_execute", made.leave)


def transform(shell: Any) -> Transform | None:
    """Return the transformer that is in place, also one of this module before it was imported again."""
    found = shell.input_transformers_cleanup
    return next((one for one in found if type(one).__name__ == "Transform" and hasattr(one, "inside")), None)


def plain_cell(shell: Any, text: str) -> IsolatedCell | None:
    """Return what a cell without a magic is for while it is on; None if it runs in this session."""
    made = transform(shell)
    first = text.split(maxsplit=1)
    if made is None or made.options is None or (first and _stays(first[0])):
        return None
    options = CELL.parse(made.options)
    return IsolatedCell("" if options.fresh else options.companion or "default", 0, 0)


def run(shell: Any, line: str) -> None:
    """Switch it on or off, or say how it is.

    Raises:
        UsageError: the line says something that cannot be; nothing was changed.
    """
    found = LINE.parse(line)
    made = transform(shell)
    if found.help or made is None:
        print(LINE.help(), end="")
        return
    if len(found.words) > 1 or (found.words and found.words[0] not in ("on", "off")):
        word = " ".join(found.words)
        raise UsageError(f"%autoisolate takes on or off, not {word!r}; {meant(word, ('on', 'off'))}")
    if found.words == ["off"]:
        made.options = None
        print("%autoisolate is off: cells run in this session")
    elif found.words == ["on"]:
        companion = target.companion(found) if not found.fresh else None
        made.options = _without(line)
        where = f"companion {companion.name!r}" if companion is not None else "a companion of its own"
        print(f"every following cell runs in {where} as with %%isolated; %autoisolate off ends this")
    elif made.options is None:
        print("%autoisolate is off")
    else:
        print(f"%autoisolate is on: cells run as with `{f'%%isolated {made.options}'.strip()}`")


def _without(line: str) -> str:
    """Return the options of a line."""
    parts = shlex.split(line)
    parts.remove("on")
    return shlex.join(parts)
