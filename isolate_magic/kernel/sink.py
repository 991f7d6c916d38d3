"""Output of the companion as messages of the kernel, under the cell that it belongs to (host)."""

from __future__ import annotations

import sys
import time
from typing import Any

from isolate_magic.face import comms, views

_KINDS = ("display_data", "update_display_data", "execute_result")
_TURNS = 100.0  # a second, between stdout and stderr; Jupyter's server drops what is over 1000 messages


class FrontSink:
    """Show output in the cell that runs, or that ran last.

    Args:
        kernel: the front.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self._last = ""  # the stream that showed last
        self._turns = _TURNS
        self._turned = 0.0

    def stream(self, name: str, text: str) -> None:
        """Write to the cell's stdout or stderr; ipykernel's own streams make few messages of many lines."""
        if name != self._last:
            self._turn()
            self._last = name
        getattr(sys, name).write(text)

    def _turn(self) -> None:
        """Keep the order of the two streams, up to the number of messages that a server lets through."""
        now = time.monotonic()
        self._turns = min(_TURNS, self._turns + (now - self._turned) * _TURNS)
        self._turned = now
        if self._turns >= 1:
            self._turns -= 1
            self.flush()

    def flush(self) -> None:
        """Send the text that is held back, so that it stands before what comes now."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show, update or clear a display, show a value, or an error that ends no cell."""
        self.flush()
        if kind == "clear_output":
            self.kernel.publish(kind, {"wait": content.get("wait") is True})
        elif kind == "error":
            self.kernel.publish(kind, {name: content.get(name) for name in ("ename", "evalue", "traceback")})
        elif kind in _KINDS:
            self._display(kind, content)

    def _display(self, kind: str, content: dict[str, Any]) -> None:
        data, metadata = content.get("data"), content.get("metadata")
        if not isinstance(data, dict):
            return
        shown: dict[str, Any] = {"data": data, "metadata": metadata if isinstance(metadata, dict) else {}}
        cell = self.kernel.get_parent().get("header", {})
        if kind == "execute_result":
            comms.shown(data.get(views.MIME), None, cell)
            shown["execution_count"] = self.kernel.execution_count
        else:
            transient = content.get("transient")
            transient = transient if isinstance(transient, dict) else {}
            named = comms.shown(data.get(views.MIME), transient.get("display_id", ""), cell)
            shown["transient"] = {**transient, **named}
        self.kernel.publish(kind, shown)
