"""A real Jupyter kernel for tests: run cells, look at the messages."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager


@dataclass
class Cell:
    """What a cell has answered."""

    reply: dict[str, Any]
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`ok` or `error`."""
        return str(self.reply["status"])

    def stream(self, name: str = "stdout") -> str:
        """All text of a stream."""
        return "".join(c["text"] for kind, c in self.messages if kind == "stream" and c["name"] == name)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The contents of all messages of these types."""
        return [content for kind, content in self.messages if kind in kinds]

    @property
    def result(self) -> dict[str, Any]:
        """The MIME bundle of the value, or {}."""
        found = self.of("execute_result")
        return found[0]["data"] if found else {}

    @property
    def error(self) -> str:
        """Name, value and traceback of the error, without colours."""
        import re

        found = self.of("error")
        if not found:
            return ""
        text = "\n".join([found[0]["ename"], found[0]["evalue"], *found[0]["traceback"]])
        return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Kernel:
    """Start a kernel as Jupyter does and run cells in it.

    Args:
        first: a cell that it runs first, also when it is started anew because a cell did not end.
        name: the name of its kernelspec.
    """

    def __init__(self, first: str = "", name: str = "python3") -> None:
        self.first = first
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(stderr=subprocess.DEVNULL)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self._begin()

    def _begin(self) -> None:
        self.client.wait_for_ready(timeout=60)
        if self.first:
            assert self.run(self.first).status == "ok"

    def run(self, code: str, timeout: float = 60, **kwargs: Any) -> Cell:
        """Run a cell to its end; a kernel that cannot is started anew, so that only one test pays for it."""
        cell = Cell({})

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] not in ("status", "execute_input"):
                cell.messages.append((message["msg_type"], message["content"]))

        try:
            reply = self.client.execute_interactive(code, output_hook=take, timeout=timeout, **kwargs)
        except BaseException:  # pytest's time limit may come first
            self.manager.restart_kernel(now=True)
            self._begin()
            raise
        cell.reply = reply["content"]
        return cell

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
