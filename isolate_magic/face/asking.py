"""`input()` of a companion in the box of the notebook, or in the IPython terminal (face)."""

from __future__ import annotations

import builtins
import getpass
from typing import Any

from isolate_magic.errors import NotSupported


def ask(shell: Any, prompt: str, password: bool) -> str:
    """Ask the user for a line, as `input` or `getpass` of the cell under way would.

    Args:
        shell: the `InteractiveShell` of the main session.
        prompt: stands before the box.
        password: whether what is typed stays unseen.

    Raises:
        NotSupported: this frontend takes no input, or no cell runs that could show the box.
    """
    if getattr(shell, "kernel", None) is not None:
        _check(shell.kernel)
    return str(getpass.getpass(prompt) if password else builtins.input(prompt))


def _check(kernel: Any) -> None:
    """Raise NotSupported where the notebook has no box to show."""
    in_cell = getattr(builtins.input, "__self__", None) is kernel
    if not in_cell:
        raise NotSupported("input() was called while no cell runs; the notebook can ask inside a cell only")
    if not kernel._allow_stdin:
        raise NotSupported(
            "input() was called, but this frontend takes no input: it has sent the cell with allow_stdin "
            "off, as nbclient and papermill do"
        )
