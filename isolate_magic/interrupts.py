"""SIGINT while the main thread waits for a companion (host).

jupyter_client signals the main kernel's process group only, so the interrupt is passed on here. While
the main thread is inside the channel no KeyboardInterrupt is raised: that would lose a frame between
two lines of Python. The first interrupt goes to the companion; if that has no effect, a line on stderr
says so. The second kills it. Afterwards the handler that was there before is called, and raises.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes an enum of each handler: 2 us a call
import os
import sys
import threading
from typing import Any

from isolate_magic import output
from isolate_magic.watch import Alarm, watch

_SIGINT = int(_signal.SIGINT)
_PATIENCE = 1.0  # seconds for a companion to stop, before the user is told that it has not


class Hold:
    """Keep SIGINT while a request is under way.

    Args:
        process: the companion's process, which gets the interrupts; None keeps them back.
        number: the request.
    """

    __slots__ = ("_alarm", "_previous", "count", "number", "process")

    def __init__(self, process: Any = None, number: int = 0) -> None:
        self.process = process
        self.number = number
        self.count = 0
        self._previous: Any = None
        self._alarm: Alarm | None = None

    def begin(self) -> None:
        """Take SIGINT over; unusual handlers are left alone."""
        previous = _signal.getsignal(_SIGINT)
        if callable(previous):  # SIG_DFL ends the process and SIG_IGN means it: both stay
            self._previous = previous
            _signal.signal(_SIGINT, self._handle)
        else:
            self._previous = None

    def begin_again(self) -> None:
        """Take SIGINT over after `end`, also when the handler before raises in this very moment."""
        try:
            self.begin()
        except BaseException:
            self.begin()
            raise

    def end(self) -> None:
        """Give SIGINT back to the handler before."""
        if self._previous is not None:
            _signal.signal(_SIGINT, self._previous)
        if self._alarm is not None:
            self._alarm.cancel()

    def deliver(self) -> None:
        """Call the handler before, if there was an interrupt; usually raises KeyboardInterrupt."""
        if self.count and self._previous is not None:
            self._previous(_SIGINT, sys._getframe())

    def _handle(self, _signal_number: int, _frame: Any) -> None:
        self.count += 1
        if self.process is None:
            return
        if self.count == 1:
            self.process.interrupt(self.number)
            self._alarm = watch().later(_PATIENCE, self._say)
        else:
            self.process.kill("interrupt", "killed by the second interrupt", hanging=True)

    def _say(self) -> None:
        name = self.process.name
        said = f"interrupt sent to companion {name!r}; it has not stopped yet: interrupt again to kill it\n"
        output.default.stream("stderr", said)


class Postponed:
    """Keep SIGINT back while a process is started or buried, which cannot stop half-way."""

    def __enter__(self) -> None:
        self._hold = Hold() if in_main_thread() else None
        if self._hold is not None:
            self._hold.begin()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._hold is not None:
            self._hold.end()
            if kind is None:
                self._hold.deliver()


_main = threading.main_thread().ident


def in_main_thread() -> bool:
    """Return whether signals arrive in this thread."""
    return threading.get_ident() == _main


def _forked() -> None:
    global _main
    _main = threading.main_thread().ident


os.register_at_fork(after_in_child=_forked)
