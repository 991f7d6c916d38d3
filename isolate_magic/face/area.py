"""Output in an area of a widget instead of a cell, for what a button runs (face).

What a button's callback prints is shown wherever the frontend likes. So nothing is printed here: the state of
the area is set, which every frontend shows at its place.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from isolate_magic.errors import text_of
from isolate_magic.report import CrashReport
from isolate_magic.watch import watch

_MOST = 1 << 20  # characters of text; what comes after is counted
_PIECE = 200  # characters that a turn from stdout to stderr counts for
_DISPLAYS = 100
_EVERY = 0.1  # seconds between two updates, each of which sends everything


class AreaSink:
    """Show output in an `ipywidgets.Output`; many small pieces make few updates.

    Args:
        area: the widget; what it showed before is removed.
    """

    def __init__(self, area: Any) -> None:
        self._area = area
        self._lock = threading.RLock()
        self._shown: list[dict[str, Any]] = []
        self._ids: dict[str, dict[str, Any]] = {}
        self._size = self._left_out = 0
        self._sent = 0.0
        self._due = self._clear = False
        area.outputs = ()

    def stream(self, name: str, text: str) -> None:
        """Show text of `stdout` or `stderr`."""
        with self._lock:
            self._begin()
            room = max(0, _MOST - self._size)
            self._size += len(text)
            self._left_out += max(0, len(text) - room)
            text = text[:room]
            last = self._shown[-1] if self._shown else {}
            if last.get("name") == name:
                last["text"] += text
            elif text:
                self._size += _PIECE
                self._shown.append({"output_type": "stream", "name": name, "text": text})
            self._later()

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show, update or clear a display."""
        with self._lock:
            data, metadata = content.get("data"), content.get("metadata")
            if kind == "error":
                self._begin()
                self._shown.append({"output_type": "error", **content})
            elif kind == "clear_output":
                self._clear = True
                if content.get("wait") is not True:
                    self._begin()
            elif isinstance(data, dict) and data:
                shown = {"data": data, "metadata": metadata if isinstance(metadata, dict) else {}}
                self._display(kind, shown, content)
            self._later()

    def _display(self, kind: str, shown: dict[str, Any], content: dict[str, Any]) -> None:
        transient = content.get("transient")
        name = transient.get("display_id") if isinstance(transient, dict) else None
        if kind == "update_display_data":
            if isinstance(name, str) and name in self._ids:
                self._ids[name].update(shown)
            return
        self._begin()
        if len(self._shown) >= _DISPLAYS:
            self._left_out += 1
            return
        self._shown.append({"output_type": "display_data", **shown})
        if isinstance(name, str):
            self._ids[name] = self._shown[-1]

    def error(self, error: BaseException) -> None:
        """Show an error with the traceback that came with it, and the report of a death."""
        report: CrashReport | None = getattr(error, "report", None)
        lines = error.__dict__.get("_isolate_lines_") or [f"{type(error).__name__}: {text_of(error)}"]
        if report is not None:
            self.message("display_data", {"data": {"text/plain": str(report), "text/html": _folded(report)}})
        with self._lock:
            told = {"ename": type(error).__name__, "evalue": text_of(error), "traceback": list(lines)}
            self._shown.append({"output_type": "error", **told})

    def finish(self) -> None:
        """Show all that has come."""
        with self._lock:
            if self._left_out:
                self._shown.append({
                    "output_type": "stream", "name": "stderr",
                    "text": f"\n... {self._left_out:,} more that this area has no room for\n",
                })  # fmt: skip
                self._left_out = 0
            self._send()

    def _begin(self) -> None:
        """Clear first, if that was asked for."""
        if self._clear:
            self._clear = False
            self._shown.clear()
            self._ids.clear()
            self._size = self._left_out = 0

    def _later(self) -> None:
        if not self._due:
            self._due = True
            watch().later(max(0.0, self._sent + _EVERY - time.monotonic()), self._send)

    def _send(self) -> None:
        with self._lock:
            self._due = False
            self._sent = time.monotonic() + self._size / 5e6
            self._area.outputs = tuple(dict(shown) for shown in self._shown)


def _folded(report: CrashReport) -> str:
    """Return a report below another one, which is like it more often than not, so it is folded."""
    style = "cursor:pointer;line-height:1.5"
    return f'<details><summary style="{style}">Its report</summary>{report._repr_html_()}</details>'
