"""Output of a companion in a notebook or an IPython terminal: the cell that asked shows it (face)."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core import page

_WIDGET = "application/vnd.jupyter.widget-view+json"  # its model lives in the companion, unknown here


class ShellSink:
    """Show output through the running shell, so that it lands in the current cell.

    Args:
        shell: the `InteractiveShell` of the main session.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def stream(self, name: str, text: str) -> None:
        """Write to the cell's stdout or stderr."""
        getattr(sys, name).write(text)

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show, update or clear a display, as a cell of the main session would."""
        if kind == "clear_output":
            self.shell.display_pub.clear_output(wait=content.get("wait") is True)
            return
        data, metadata = content.get("data"), content.get("metadata")
        if not isinstance(data, dict) or not data:
            return
        data = {mime: body for mime, body in data.items() if mime != _WIDGET}
        metadata = metadata if isinstance(metadata, dict) else {}
        if kind == "execute_result":
            self._result(data, metadata)
        elif kind == "page":
            page.page(data)
        elif kind in ("display_data", "update_display_data"):
            transient = content.get("transient")
            self.shell.display_pub.publish(
                data=data,
                metadata=metadata,
                transient=transient if isinstance(transient, dict) else {},
                update=kind == "update_display_data",
            )

    def _result(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show the value of a cell under the main session's own prompt number."""
        hook = self.shell.displayhook
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.write_format_data(data, metadata)
        hook.log_output(data)
        hook.finish_displayhook()
