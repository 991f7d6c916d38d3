"""Output that is held back until its cell has ended (face)."""

from __future__ import annotations

from typing import Any

from isolate_magic.output import Sink

_MOST = 64 << 20
_DISPLAYS = ("display_data", "update_display_data")


class HeldSink:
    """Keep what a cell shows until `show`.

    Args:
        target: shows it then.
        grouped: whether it is shown by kind: stdout, stderr, displays, the value; else in the order it came.
    """

    def __init__(self, target: Sink, grouped: bool) -> None:
        self.target = target
        self.grouped = grouped
        self._kept: list[tuple[str, Any]] = []
        self._size = 0

    def stream(self, name: str, text: str) -> None:
        """Keep text, joined to what came before on the same stream."""
        if self._kept and self._kept[-1][0] == name:
            self._kept[-1][1].append(text)
        else:
            self._kept.append((name, [text]))
        self._count(len(text))

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Keep a display; clearing throws away what is kept."""
        if kind == "clear_output":
            self._kept, self._size = [], 0
            self.target.message(kind, content)
            return
        self._kept.append((kind, content))
        self._count(len(str(content.get("data", ""))))

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > _MOST:  # memory of this session is not what the option is about
            self.show()

    def show(self) -> None:
        """Show all that is kept."""
        kept, self._kept, self._size = self._kept, [], 0
        if self.grouped:
            kept.sort(key=lambda one: _ORDER.get(one[0], len(_ORDER)))
        for kind, what in kept:
            if kind in ("stdout", "stderr"):
                self.target.stream(kind, "".join(what))
            else:
                self.target.message(kind, what)


_ORDER = {"stdout": 0, "stderr": 1, **dict.fromkeys(_DISPLAYS, 2), "execute_result": 3}
