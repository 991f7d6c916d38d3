"""What happens to companions, told to whoever listens: callbacks and asynchronous iterators (host).

Whoever tells an event may hold locks, so nothing of the user's runs there: callbacks run in a thread of ours,
one after the other, and iterators are woken in their own event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isolate_magic.crew import Crew, returning, settle

KINDS = ("start", "restart", "rewind", "crash", "memory", "cpu", "policy", "stop")
"""What can happen; an iterator may also give `lost`."""

MOST = 1000
"""Events that wait for one listener; the oldest are dropped then, and their number is told."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """Something that has happened to a companion.

    Attributes:
        kind: `start`, the first process; `restart`, each later one; `rewind`, a
            snapshot that went on; `crash`, it died; `memory` or `cpu`, it was ended at that limit;
            `policy`, its policy was changed; `stop`, it was stopped. And `lost`: the
            listener was too slow, and so many events before this one were dropped.
        companion: its name; "" for `lost`.
        pid: the process, or None if there was none.
        time: when, in seconds as `time.time` counts.
        details: the `CrashReport` of a death, also of the one before a restart, if any; the `Amendment` of a
            policy; the number of those that are lost; or None.
    """

    kind: str
    companion: str
    pid: int | None = None
    details: Any = None
    time: float = field(default_factory=time.time)


class Subscription:
    """Call a function at every event of a kind; made by `on`.

    Args:
        source: the companion, or None for all.
        kind: one of `KINDS`, or `*` for all.
        function: takes the `Event`.
    """

    def __init__(self, source: Any, kind: str, function: Callable[[Event], object]) -> None:
        if kind != "*" and kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of event; there are {', '.join(KINDS)}, and '*' for all")
        if not callable(function):
            raise TypeError(f"on({kind!r}, ...) wants a function that takes the event, not {function!r}")
        self.source, self.kind, self.function = source, kind, function
        self._waiting = _Queue()
        with _lock:
            _subscriptions.append(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Call it no more, also not for what has happened already; harmless twice."""
        with _lock:
            if self in _subscriptions:
                _subscriptions.remove(self)
        self._waiting.clear()

    def take(self, event: Event) -> None:
        """Let the function be called soon."""
        if self.kind in ("*", event.kind) and self._waiting.put(event):
            _caller.do(self._call)

    def end(self) -> None:
        """Be called no more, after what has happened already."""
        with _lock:
            if self in _subscriptions:
                _subscriptions.remove(self)

    def _call(self) -> None:
        """Call the function for one event (thread `isolate_magic-events`)."""
        event = self._waiting.get()
        if event is None:  # it was cancelled
            return
        if event.kind == "lost":
            _log.warning("%r is too slow: %d events were dropped", self.function, event.details)
            event = self._waiting.get()
        try:
            if event is not None:
                self.function(event)
        except Exception:  # border: the function is the user's, and its trouble is none of the companion's
            _log.exception("a function that was to hear of events failed")


class Events:
    """Give events in the order in which they happened, from when this was made on; `async for` reads them.

    Args:
        source: the companion, with whose closing it ends; or None for all.
    """

    def __init__(self, source: Any = None) -> None:
        self.source = source
        self._waiting = _Queue()
        self._sleeping: list[asyncio.Future[None]] = []
        self._ended = bool(source is not None and source.closed)
        with _lock:
            _streams.add(self)

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while True:
            future = asyncio.get_running_loop().create_future()
            self._sleeping.append(future)  # before the look, so that nothing falls between
            try:
                event = self._waiting.get()
                if event is not None:
                    return event
                if self._ended:
                    raise StopAsyncIteration
                await future
            finally:
                self._sleeping.remove(future)

    async def aclose(self) -> None:
        """End it; whoever waits for the next event is told that there is none."""
        self.end()

    def take(self, event: Event) -> None:
        """Keep an event, and wake who waits for it."""
        self._waiting.put(event)
        self._wake()

    def end(self) -> None:
        """Give what is there, and then no more."""
        with _lock:
            _streams.discard(self)
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        for future in tuple(self._sleeping):
            settle(future, returning(None))


class _Queue:
    """Keep a bounded number of events, and count those that are dropped."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._lost = 0
        self._lock = threading.RLock()

    def put(self, event: Event) -> bool:
        """Add an event; return whether it made the queue longer."""
        with self._lock:
            self._events.append(event)
            if len(self._events) <= MOST:
                return True
            self._events.popleft()
            self._lost += 1
            return False

    def get(self) -> Event | None:
        with self._lock:
            if self._lost:
                lost, self._lost = self._lost, 0
                return Event("lost", "", details=lost)
            return self._events.popleft() if self._events else None

    def clear(self) -> None:
        with self._lock:
            self._events.clear()
            self._lost = 0


_lock = threading.RLock()
_telling = threading.RLock()  # one event at a time, so that all hear them in the same order
_subscriptions: list[Subscription] = []
_streams: weakref.WeakSet[Events] = weakref.WeakSet()  # one that nobody reads any more goes away by itself
_caller = Crew("isolate_magic-events", 1)


def on(kind: str, function: Callable[[Event], object]) -> Subscription:
    """Call a function at every event of a kind, of every companion of this session.

    Args:
        kind: `start`, `restart`, `rewind`, `crash`, `memory`, `cpu`, `policy`, `stop`, or `*` for all.
        function: takes the `Event`; it runs in the thread `isolate_magic-events`.

    Returns:
        what takes it back: `.cancel()`, or the end of a `with` block.

    Raises:
        ValueError: there is no such kind.
    """
    return Subscription(None, kind, function)


def events() -> Events:
    """Return an asynchronous iterator over the events of all companions, from now on."""
    return Events()


def tell(source: Any, kind: str, pid: int | None, details: Any = None) -> None:
    """Tell everybody that something has happened; any thread may, with locks held."""
    if not _subscriptions and not _streams:
        return
    with _telling:
        event = Event(kind, source.name, pid, details)
        for listener in _listeners():
            if listener.source in (None, source):
                listener.take(event)


def finish(source: Any) -> None:
    """End what listens to a companion that was closed."""
    for listener in _listeners():
        if listener.source is source:
            listener.end()


def _listeners() -> list[Subscription | Events]:
    with _lock:
        return [*_subscriptions, *_streams]


def _forget() -> None:
    """In a forked copy of the main session: nobody listens to companions that are not its own."""
    global _lock, _telling
    _lock, _telling = threading.RLock(), threading.RLock()
    _subscriptions.clear()
    _streams.clear()


os.register_at_fork(after_in_child=_forget)
