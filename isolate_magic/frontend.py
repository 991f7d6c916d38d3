"""What companions may have of the user's frontend: its input box, its widgets, the cell under way (host).

The face puts the notebook's in place; without it there is the terminal of this process.
"""

from __future__ import annotations

import builtins
import getpass
import threading
from signal import SIGINT, pthread_kill
from typing import Any, Protocol

from isolate_magic.errors import NotSupported
from isolate_magic.interrupts import in_main_thread

MOST_PROMPT = 10_000
"""Characters of a prompt that are shown."""

_ELSEWHERE = (
    "input() reaches the notebook from a cell that runs in the foreground, not from a thread or a cell in "
    "the background"
)


class Frontend(Protocol):
    """Do for trusted companions what only the main session can."""

    def ask(self, prompt: str, password: bool) -> str:
        """Ask the user for a line of text; called in the main thread.

        Raises:
            NotSupported: nobody can be asked; the text says why.
        """

    def parent(self, process: Any) -> dict[str, Any]:
        """Return the notebook's message that a call of this process belongs to, or {}."""

    def comm(self, process: Any, kind: str, content: dict[str, Any]) -> None:
        """Take what a comm of this process says: a message of the Jupyter protocol, or `comm_under`."""

    def settle(self, process: Any) -> None:
        """Wait until this process has taken what the notebook has told its comms; a cell comes next."""

    def succeed(self, dead: Any, process: Any) -> None:
        """Let the comms of a dead process be those of the one that goes on in its place."""

    def gone(self, process: Any) -> None:
        """Take note that this process has ended."""


class Terminal:
    """Ask on the terminal of this process."""

    def ask(self, prompt: str, password: bool) -> str:
        """Ask as `input` and `getpass` do."""
        return getpass.getpass(prompt) if password else builtins.input(prompt)

    def parent(self, process: Any) -> dict[str, Any]:
        """Return nothing: there are no messages."""
        return {}

    def comm(self, process: Any, kind: str, content: dict[str, Any]) -> None:
        """Drop it: there is nobody to show a widget."""

    def settle(self, process: Any) -> None:
        """Wait for nothing."""

    def succeed(self, dead: Any, process: Any) -> None:
        """Do nothing."""

    def gone(self, process: Any) -> None:
        """Do nothing."""


current: Frontend = Terminal()


def use(frontend: Frontend) -> Frontend:
    """Let all companions use `frontend` from now on; return the one before."""
    global current
    before, current = current, frontend
    return before


class Box:
    """Ask the user what one companion wants to know, and stop asking when it can no longer be told.

    Args:
        name: the policy's.
        trusted: whether its companion may ask at all.
    """

    def __init__(self, name: str, trusted: bool) -> None:
        self._name = name
        self._trusted = trusted
        self._asking = False
        self._lock = threading.RLock()

    def ask(self, prompt: str, password: bool) -> tuple[str, str]:
        """Return what has come of the question, and a text.

        Returns:
            `line` and what the user has typed, `refused` and why nobody was asked, `interrupted` by the
            user or by the end of the companion, or `end` where there is nothing more to read.
        """
        if not self._trusted:
            return "refused", off(self._name)
        if not in_main_thread():
            return "refused", _ELSEWHERE
        self._asking = True
        try:
            return "line", current.ask(str(prompt)[:MOST_PROMPT], bool(password))
        except NotSupported as error:
            return "refused", str(error)
        except KeyboardInterrupt:
            return "interrupted", "Interrupted by user"
        except EOFError:
            return "end", ""
        finally:
            with self._lock:
                self._asking = False

    def take_back(self) -> None:
        """Interrupt the question, if there is one; from any thread."""
        with self._lock:  # so that the signal comes while the question is still there to end
            main = threading.main_thread().ident
            if self._asking and main is not None:
                pthread_kill(main, SIGINT)


def off(policy: str) -> str:
    """Say that a policy lets nobody be asked."""
    return f"input() is off under {f'policy {policy!r}' if policy else 'the policy of this companion'}"
