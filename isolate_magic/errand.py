"""Something under way in a thread that can be cancelled: the request that it is at is interrupted (host)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isolate_magic import awaits


class Errand:
    """Do some work for a companion in a thread, unless it is cancelled before.

    Args:
        work: does it.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self._lock = threading.Lock()
        self._cancelled = self._begun = False
        self._open: list[tuple[Any, int]] = []

    @property
    def begun(self) -> bool:
        """Tell whether a thread has taken it up."""
        return self._begun

    def begin(self) -> bool:
        """Take it up; return False if it was cancelled before."""
        with self._lock:
            self._begun = not self._cancelled
        return self._begun

    def do(self) -> Any:
        """Do the work in this thread; raises what it raises."""
        awaits.jobs[threading.get_ident()] = self
        try:
            return self.work()
        finally:
            del awaits.jobs[threading.get_ident()]

    @contextmanager
    def at(self, process: Any, number: int) -> Iterator[None]:
        """Note the request that it is at, which a cancellation interrupts.

        Raises:
            KeyboardInterrupt: it has been cancelled before; the request is not sent.
        """
        with self._lock:
            if self._cancelled:
                raise KeyboardInterrupt
            self._open.append((process, number))
        try:
            yield
        finally:
            with self._lock:
                self._open.pop()

    def cancel(self) -> bool:
        """Interrupt the work, or keep it from ever beginning; return whether it had begun."""
        with self._lock:
            self._cancelled = True
            if self._open:
                process, number = self._open[0]
                process.interrupt(number)
            return self._begun
