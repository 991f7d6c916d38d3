"""Output of a companion in a notebook or an IPython terminal: the cell that asked shows it (face)."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core import page

from isolate_magic.face import comms, views


class ShellSink:
    """Show output through the running shell, so that it lands in the current cell.

    Args:
        shell: the `InteractiveShell` of the main session.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._held: set[str] = set()

    def stream(self, name: str, text: str) -> None:
        """Write to the cell's stdout or stderr."""
        self._held.add(name)
        getattr(sys, name).write(text)

    def flush(self) -> None:
        """Send the text that ipykernel holds back, so that it stands before what comes now."""
        while self._held:
            getattr(sys, self._held.pop()).flush()

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show, update or clear a display, as a cell of the main session would."""
        if kind == "clear_output":
            self.shell.display_pub.clear_output(wait=content.get("wait") is True)
            return
        if kind == "error":
            self._error(content)
            return
        data, metadata = content.get("data"), content.get("metadata")
        if not isinstance(data, dict) or not data:
            return
        metadata = metadata if isinstance(metadata, dict) else {}
        if kind == "execute_result":
            self._result(data, metadata)
        elif kind == "page":
            page.page(data)
        elif kind in ("display_data", "update_display_data"):
            transient = content.get("transient")
            transient = transient if isinstance(transient, dict) else {}
            transient = {**transient, **self._note(data, transient.get("display_id", ""))}
            self.shell.display_pub.publish(
                data=data,
                metadata=metadata,
                transient=transient,
                update=kind == "update_display_data",
            )

    def _result(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show the value of a cell under the main session's own prompt number."""
        self._note(data, None)
        hook = self.shell.displayhook
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.write_format_data(data, metadata)
        hook.log_output(data)
        hook.finish_displayhook()

    def _error(self, content: dict[str, Any]) -> None:
        """Show an error that ends no cell, such as that of a widget's callback."""
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None:
            self.stream("stderr", "\n".join([*content.get("traceback", ()), ""]))
            return
        self.flush()
        parent = self.shell.display_pub.parent_header
        kernel.session.send(
            kernel.iopub_socket, "error", content, parent=parent, ident=kernel._topic("error")
        )

    def _note(self, data: dict[str, Any], display: str | None) -> dict[str, str]:
        """Take note of a widget that is shown; return the display's id as `transient` has it."""
        cell = getattr(self.shell.display_pub, "parent_header", {})
        return comms.shown(data.get(views.MIME), display, cell)
