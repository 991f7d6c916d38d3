"""Threads that do blocking work for an event loop; they end when there is none for a while (host)."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

_IDLE = 1.0  # seconds after which a thread without work ends


class Crew:
    """Do jobs in the order they come, in daemon threads: none keeps the interpreter from ending.

    Args:
        name: of the threads.
        most: how many there are at most.
    """

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self.most = most
        self.start_anew()
        _crews.add(self)

    def start_anew(self) -> None:
        """Forget all threads and jobs."""
        self._jobs: deque[Callable[[], None]] = deque()
        self._change = threading.Condition()
        self._threads = self._free = 0

    def do(self, job: Callable[[], None]) -> None:
        """Let a thread do a job, which must not raise."""
        with self._change:
            self._jobs.append(job)
            if self._free >= len(self._jobs):
                self._change.notify()
            elif self._threads < self.most:
                self._threads += 1
                threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._change:
                self._free += 1
                found = self._change.wait_for(lambda: self._jobs, _IDLE)
                self._free -= 1
                if not found:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            job()
            del job


_crews: weakref.WeakSet[Crew] = weakref.WeakSet()


def _start_anew() -> None:
    for crew in _crews:
        crew.start_anew()


os.register_at_fork(after_in_child=_start_anew)


def outcome_of(work: Callable[[], Any]) -> Callable[[], Any]:
    """Do some work and return what came of it: a function that returns its value or raises its exception."""
    try:
        value = work()
    except BaseException as error:  # border: it belongs to whoever awaits
        return raising(error)
    return returning(value)


def returning(value: Any) -> Callable[[], Any]:
    """Return a function that returns a value."""
    return lambda: value


def raising(error: BaseException) -> Callable[[], Any]:
    """Return a function that raises an exception."""

    def fail() -> Any:
        raise error

    return fail


def settle(future: asyncio.Future[Any], outcome: Callable[[], Any]) -> None:
    """Give a future its value, from any thread; nobody misses it when the loop is closed or has let go."""
    try:
        future.get_loop().call_soon_threadsafe(_set, future, outcome)
    except RuntimeError:  # the loop is closed
        return


def _set(future: asyncio.Future[Any], outcome: Callable[[], Any]) -> None:
    if not future.done():
        future.set_result(outcome)
