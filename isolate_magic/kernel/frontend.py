"""What the companion of a kernel may have of the user's frontend: its box, its widgets (host)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from isolate_magic.errors import NotSupported
from isolate_magic.face.notebook import ShellFrontend


class FrontFrontend(ShellFrontend):
    """Do for the companion what the front can do.

    Args:
        kernel: the front.
        sink: what shows output there.
    """

    def __init__(self, kernel: Any, sink: Any) -> None:
        super().__init__(SimpleNamespace(kernel=kernel), sink)
        self._kernel = kernel

    def ask(self, prompt: str, password: bool) -> str:
        """Ask the user for a line, below the cell under way."""
        if not self._kernel.in_cell:
            raise NotSupported(
                "input() was called while no cell runs; the notebook can ask inside a cell only"
            )
        if not self._kernel._allow_stdin:
            raise NotSupported(
                "input() was called, but this frontend takes no input: it has sent the cell with allow_stdin "
                "off, as nbclient and papermill do"
            )
        return str(self._kernel.getpass(prompt) if password else self._kernel.raw_input(prompt))
