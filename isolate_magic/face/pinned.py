"""Output that belongs to a cell which may have ended already: it is sent to that cell by name (face)."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from isolate_magic.errors import text_of
from isolate_magic.face import comms, views
from isolate_magic.face.tracebacks import card_of, lines_of


class PinnedSink:
    """Show output in the cell that runs when this is made, also while later cells run.

    Args:
        shell: the main session's `InteractiveShell`.

    Attributes:
        parent: the notebook's message that the cell came with; {} in a terminal.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.kernel = getattr(shell, "kernel", None)
        self.number = shell.displayhook.prompt_count
        self.parent = self.kernel.get_parent() if self.kernel is not None else {}
        self._id = secrets.token_hex(16)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    def stream(self, name: str, text: str) -> None:
        """Show text of `stdout` or `stderr`."""
        if self.kernel is None:
            target = getattr(sys, name)
            target.write(text)
            target.flush()
        else:
            self._send("stream", {"name": name, "text": text}, f"stream.{name}")

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show, update or clear a display, or show a value."""
        if kind == "clear_output":
            if self.kernel is not None:
                self._send(kind, {"wait": content.get("wait") is True})
            return
        if kind == "error":
            self._error(content)
            return
        data, metadata = content.get("data"), content.get("metadata")
        if not isinstance(data, dict) or not data:
            return
        if self.kernel is None:
            self._print(kind, data)
            return
        sent = {"data": data, "metadata": metadata if isinstance(metadata, dict) else {}}
        header = self.parent.get("header", {})
        if kind == "execute_result":
            sent["execution_count"] = self.number
            comms.shown(data.get(views.MIME), None, header)
        else:
            transient = content.get("transient")
            transient = transient if isinstance(transient, dict) else {}
            named = comms.shown(data.get(views.MIME), transient.get("display_id", ""), header)
            sent["transient"] = {**transient, **named}
        self._send(kind, sent)

    def error(self, error: BaseException) -> None:
        """Show what has ended the cell, as IPython would; a crash with its report."""
        card = card_of(error)
        if card is not None:
            self.message("display_data", {"data": card})
        told = {"ename": type(error).__name__, "evalue": text_of(error), "traceback": lines_of(error)}
        self._error(told)

    def _error(self, told: dict[str, Any]) -> None:
        if self.kernel is None:
            self.stream("stderr", "\n".join([*told.get("traceback", ()), ""]))
        else:
            self._send("error", told)

    def status(self, thing: Any, again: bool = False) -> None:
        """Show something that changes, and show it again in the same place; a terminal has no such place."""
        if self.kernel is None:
            if not again:
                self.stream("stdout", f"{thing!r}\n")
            return
        data = {"text/plain": repr(thing), "text/html": thing._repr_html_()}
        sent = {"data": data, "metadata": {}, "transient": {"display_id": self._id}}
        if again:
            # An update finds its place by its id. nbclient heeds those only that name the cell under way.
            parent = {"header": self.shell.display_pub.parent_header}
            self._send("update_display_data", sent, parent=parent)
        else:
            self._send("display_data", sent)

    def end(self, title: str) -> None:
        """Say in a terminal that a cell has ended, before anybody who waits for it goes on and prints."""
        if self.kernel is None:
            self.stream("stdout", f"background {title} has ended\n")

    def _print(self, kind: str, data: dict[str, Any]) -> None:
        text = data.get("text/plain")
        if text:
            prompt = f"Out[{self.number}]: " if kind == "execute_result" else ""
            self.stream("stdout", f"{prompt}{text}\n")

    def _send(self, kind: str, content: dict[str, Any], topic: str = "", parent: Any = None) -> None:
        kernel: Any = self.kernel
        ident = (topic or kind).encode()
        kernel.session.send(kernel.iopub_socket, kind, content, parent=parent or self.parent, ident=ident)
