"""The frontend of a notebook or an IPython terminal, for companions: box, widgets, messages (face)."""

from __future__ import annotations

from typing import Any

from isolate_magic.face import asking, comms
from isolate_magic.face.sink import ShellSink
from isolate_magic.process import Process


class ShellFrontend:
    """Do for companions what the running shell can do.

    Args:
        shell: the `InteractiveShell` of the main session; without a kernel there are no widgets.
        sink: what shows output there.
    """

    def __init__(self, shell: Any, sink: ShellSink) -> None:
        self._shell = shell
        self._sink = sink
        self._notebook = getattr(shell, "kernel", None) is not None

    def ask(self, prompt: str, password: bool) -> str:
        """Ask the user for a line; see `isolate_magic.face.asking.ask`."""
        return asking.ask(self._shell, prompt, password)

    def parent(self, process: Process) -> dict[str, Any]:
        """Return the notebook's message that a call of this process belongs to, or {}."""
        return comms.relay(self._shell, self._sink, process).parent() if self._notebook else {}

    def comm(self, process: Process, kind: str, content: dict[str, Any]) -> None:
        """Relay what a comm says."""
        if self._notebook:
            comms.relay(self._shell, self._sink, process).say(kind, content)

    def settle(self, process: Process) -> None:
        """Let widgets that were moved before a cell be moved before it there too."""
        comms.settle(process)

    def succeed(self, dead: Process, process: Process) -> None:
        """Let widgets go on with a snapshot of their companion."""
        comms.succeed(dead, process)

    def gone(self, process: Process) -> None:
        """Close the comms of a process that has ended."""
        comms.end(process)
