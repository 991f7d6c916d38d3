"""The stop button of a kernel: an interrupt comes in only where it ends no more than a cell (host).

ipykernel lets KeyboardInterrupt be raised anywhere while it handles a request; in the wrong moment the reply
is lost with it, and the page waits for ever.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from isolate_magic.interrupts import in_main_thread


class Button:
    """Say when it may be pressed.

    Attributes:
        open: whether an interrupt is raised now. CPython looks for signals when it calls and when it jumps
            back, not when it assigns; so none comes between the end of what was under way and `open = False`.
    """

    def __init__(self) -> None:
        self.open = False
        self._early = False

    def take(self) -> Any:
        """Take SIGINT over, since a request begins, and return the handler before."""
        self.open = self._early = False
        return signal.signal(signal.SIGINT, self._press)

    def listen(self) -> None:
        """Raise KeyboardInterrupt from now on, and at once if it was pressed since the request began."""
        if in_main_thread():  # where signals arrive; a subshell's cell cannot be told from it
            self.open = True
            if self._early:
                raise KeyboardInterrupt

    def guarded(self, serve: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that serves a request which can be interrupted from its beginning to its end."""

        def guarded(*message: Any) -> None:
            try:
                self.listen()
                serve(*message)
            finally:
                self.open = False

        return guarded

    def _press(self, _number: int, _frame: Any) -> None:
        if self.open:
            raise KeyboardInterrupt
        self._early = True
