"""The one background thread of the main session: deaths, idle output, alarms (host).

A caller reads its companion's channel itself; this thread looks after companions that nobody waits
for. Descriptors are watched once (EPOLLONESHOT, epoll(7)) and armed again by whoever has read them.
"""

from __future__ import annotations

import heapq
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from itertools import count

_log = logging.getLogger(__name__)


def readable(fd: int, seconds: float) -> bool:
    """Wait until a descriptor can be read, a pidfd until its process has ended; return whether it can."""
    found = select.poll()
    found.register(fd, select.POLLIN)
    return bool(found.poll(seconds * 1000))


class Alarm:
    """Call a function at a time, unless it is cancelled before."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        """Forget the function; harmless when it has run already."""
        self.function = None


class Watch:
    """Wait for descriptors and alarms in a thread that starts with the first of them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._serial = count()
        # One that a signal handler of the thread which holds it may take again.
        self._lock = threading.RLock()
        threading.Thread(target=self._run, name="isolate_magic-watch", daemon=True).start()

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` once when `fd` is readable or closed; `arm` makes it one more time."""
        with self._lock:
            self._callbacks[fd] = callback
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def arm(self, fd: int) -> None:
        """Watch a descriptor again after its callback has run."""
        with self._lock:
            if fd in self._callbacks:
                self._epoll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def remove(self, fd: int) -> None:
        """Forget a descriptor; call it before closing it."""
        with self._lock:
            if self._callbacks.pop(fd, None) is not None:
                self._epoll.unregister(fd)

    def later(self, seconds: float, function: Callable[[], None]) -> Alarm:
        """Call `function` in the background after so many seconds."""
        alarm = Alarm(function)
        with self._lock:
            heapq.heappush(self._alarms, (time.monotonic() + seconds, next(self._serial), alarm))
        os.eventfd_write(self._wake, 1)
        return alarm

    def ring(self) -> None:
        """Wake the thread; safe in a finalizer, since it takes no lock."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close the descriptors, in a forked copy of the main session, where no thread uses them."""
        self._epoll.close()
        os.close(self._wake)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll(self._patience()):
                if fd == self._wake:
                    os.eventfd_read(fd)
                    _flush_drops()
                else:
                    self._call(self._callbacks.get(fd))
            self._sound()

    def _patience(self) -> float:
        with self._lock:
            return max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else -1

    def _sound(self) -> None:
        while True:
            with self._lock:
                if not self._alarms or self._alarms[0][0] > time.monotonic():
                    return
                alarm = heapq.heappop(self._alarms)[2]
            self._call(alarm.function)

    def _call(self, function: Callable[[], None] | None) -> None:
        try:
            if function is not None:
                function()
        except Exception:  # border: one companion's trouble must not end the watch over the others
            _log.exception("isolate_magic's background thread met an error")


_watch: Watch | None = None
_lock = threading.RLock()
rung: set[Callable[[], None]] = set()
"""Flush functions of conversations that have something to give back; filled by finalizers."""


def watch() -> Watch:
    """Return the watch of this process, started on first use."""
    global _watch
    if _watch is None:
        with _lock:
            if _watch is None:
                _watch = Watch()
    return _watch


def _flush_drops() -> None:
    while rung:
        flush = rung.pop()
        watch().later(0.05, flush)


def _forget() -> None:
    """Start anew in a forked child: threads do not survive a fork."""
    global _watch, _lock
    if _watch is not None:
        _watch.close()
    _watch, _lock = None, threading.RLock()
    rung.clear()


os.register_at_fork(after_in_child=_forget)
