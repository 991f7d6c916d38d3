"""`input`, `getpass` and the debugger's prompt: the main session asks the user (companion)."""

from __future__ import annotations

import builtins
import getpass
import pdb  # noqa: T100 - its prompt is what this is about
from typing import Any

from IPython.core import debugger
from IPython.core.error import StdinNotImplementedError


def install(talk: Any, kernel: Any, trusted: bool, policy: str) -> None:
    """Let all that reads a line from the user ask the main session.

    Args:
        talk: the conversation.
        kernel: the kernel, which puts its own `raw_input` and `getpass` in place for the length of a cell.
        trusted: whether the main session lets itself be asked.
        policy: the policy's name.
    """

    def ask(prompt: object, password: bool) -> str:
        __tracebackhide__ = True
        if not trusted:
            shown = f"policy {policy!r}" if policy else "the policy of this companion"
            raise StdinNotImplementedError(f"input() is off under {shown}")
        came, text = talk.ask_host("ask", str(prompt), password)
        if came == "refused":
            raise StdinNotImplementedError(text)
        if came == "interrupted":
            talk.due.difference_update(talk.active)  # the interrupt that was on its way is this one
            raise KeyboardInterrupt(text)
        if came == "end":
            raise EOFError
        return str(text)

    def input_(prompt: object = "", /) -> str:
        """Ask the user for a line."""
        __tracebackhide__ = True
        return ask(prompt, False)

    def getpass_(prompt: str = "Password: ", *_: Any, **__: Any) -> str:
        """Ask the user for a line that nobody sees; the notebook's box decides how."""
        __tracebackhide__ = True
        return ask(prompt, True)

    builtins.input = kernel.raw_input = input_
    getpass.getpass = kernel.getpass = getpass_
    # As ipykernel's own application does; the other one would read from fd 0.
    pdb.Pdb = debugger.Pdb  # type: ignore[misc]
    pdb.set_trace = debugger.set_trace
    # SIGINT stays the conversation's: `continue` of a debugger would take it for good.
    debugger.Pdb.nosigint = property(lambda self: True, lambda self, value: None)
