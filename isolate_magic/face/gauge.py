"""How far a long step is, below the cell that takes it (face)."""

from __future__ import annotations

import html
from itertools import count
from typing import Any

from isolate_magic.face.colours import BLUE, DIM, TEXT, TRACK

_numbers = count(1)
_NOTHING = {"text/plain": "", "text/html": ""}


class Gauge:
    """Show a step in a notebook, and leave an empty output.

    Args:
        shell: the `InteractiveShell` of the main session.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._number = f"isolate-progress-{next(_numbers)}"
        self._there = False

    def show(self, text: str, part: float | None) -> None:
        """Show it, or change what is shown."""
        self._publish({"text/plain": text, "text/html": _html(text, part)})
        self._there = True

    def hide(self) -> None:
        """Leave nothing to be seen."""
        self._publish(_NOTHING)

    def _publish(self, data: dict[str, str]) -> None:
        self._shell.display_pub.publish(
            data=data, metadata={}, transient={"display_id": self._number}, update=self._there
        )


def _html(text: str, part: float | None) -> str:
    words, colon, numbers = text.partition(": ")
    said = f'{html.escape(words + colon)}<span style="color:{DIM};{_DIGITS}">{html.escape(numbers)}</span>'
    bar = ""
    if part is not None:
        filled = f'<div style="{_BAR};width:{part:.1%};background:{BLUE}"></div>'
        bar = f'<div role="progressbar" aria-valuenow="{part:.0%}" style="{_BAR};{_WHOLE}">{filled}</div>'
    return f'<div class="isolate-progress" style="{_FONT}">{said}{bar}</div>'


_DIGITS = "font-variant-numeric:tabular-nums"
_BAR = "height:4px;border-radius:2px"
_WHOLE = f"width:320px;max-width:100%;margin-top:4px;background:{TRACK}"
_FONT = (
    f"color:{TEXT};font-family:var(--jp-ui-font-family,system-ui,sans-serif);"
    "font-size:var(--jp-ui-font-size1,13px);padding:4px 0"
)
