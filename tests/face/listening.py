"""What a kernel publishes, by the cell that it belongs to, also after that cell has ended."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from queue import Empty

from kernels import Cell, Kernel


class Listener:
    """Run cells and keep every message by the cell that it names as its parent.

    Args:
        kernel: the kernel; nobody else listens to it meanwhile.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.cells: dict[str, Cell] = defaultdict(lambda: Cell({}))
        self._idle: set[str] = set()
        self._displays: dict[str, str] = {}

    def start(self, code: str) -> Cell:
        """Send a cell without waiting for its end."""
        return self.cells[self.kernel.client.execute(code)]

    def run(self, code: str, seconds: float = 60) -> Cell:
        """Run a cell to its end."""
        number = self.kernel.client.execute(code)
        self.until(lambda: number in self._idle, seconds)
        cell = self.cells[number]
        while not cell.reply:
            reply = self.kernel.client.get_shell_msg(timeout=seconds)
            self.cells[reply["parent_header"]["msg_id"]].reply = reply["content"]
        return cell

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Listen until something holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.cells
            try:
                message = self.kernel.client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            kind, parent = message["msg_type"], message["parent_header"].get("msg_id", "")
            if kind == "status":
                if message["content"]["execution_state"] == "idle":
                    self._idle.add(parent)
            elif kind != "execute_input":
                shown = message["content"].get("transient", {}).get("display_id", "")
                if kind == "display_data":
                    self._displays[shown] = parent
                elif kind == "update_display_data":  # these find their place by their id
                    parent = self._displays.get(shown, parent)
                self.cells[parent].messages.append((kind, message["content"]))
