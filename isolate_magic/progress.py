"""Say how far a step is that takes over a second: copies of gigabytes, imports before a fork (host).

Nothing is shown before a second has passed, and nothing is left when the step is over. All words are ours,
all numbers are counted here; a companion that is not trusted cannot make anything appear.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from isolate_magic.defaults import defaults

LATE = 1.0
"""Seconds after which a step is shown."""

EVERY = 0.25
"""Seconds between two looks at a step, and between two changes of what is shown."""

SMALL = 64 << 20
"""Bytes that are moved in less than a second on any machine: nobody counts them."""


class Shown(Protocol):
    """Show one step somewhere."""

    def show(self, text: str, part: float | None) -> None:
        """Show how far it is: in words, and as a part of 1, or None where nobody knows."""

    def hide(self) -> None:
        """Take it away."""


class Line:
    """Show a step in one line of the terminal; nowhere if stderr is none."""

    def __init__(self) -> None:
        self._terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None

    def show(self, text: str, part: float | None) -> None:
        """Write the line anew."""
        if self._terminal is not None:
            self._terminal.write(f"\r\x1b[K{text}" + ("" if part is None else f" ({part:.0%})"))
            self._terminal.flush()

    def hide(self) -> None:
        """Clear the line."""
        if self._terminal is not None:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()


_make: Callable[[], Shown] = Line


def use(make: Callable[[], Shown]) -> Callable[[], Shown]:
    """Show steps by what a function makes from now on; return the function before."""
    global _make
    before, _make = _make, make
    return before


class Step:
    """Follow one step, and show it once it is late.

    Args:
        title: what is done.
        total: bytes that are to be moved; 0 if it is not about bytes.
    """

    def __init__(self, title: str, total: int = 0) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._start = time.monotonic()
        self._due = self._start + LATE
        self._shown: Shown | None = None

    def add(self, count: int) -> None:
        """Take note of bytes that were moved."""
        self._done += count
        self.look()

    def look(self) -> None:
        """Show how far it is, if it is time."""
        now = time.monotonic()
        if now < self._due or not defaults.progress:
            return
        self._due = now + EVERY
        if self._shown is None:
            self._shown = _make()
        took = now - self._start
        if not self._total:
            self._shown.show(f"{self._title} ({took:.0f} s)", None)
            return
        done = min(self._done, self._total)
        speed = f"{done / took / 2**20:,.0f} MiB/s"
        text = f"{self._title}: {done / 2**30:.2f} of {self._total / 2**30:.2f} GiB, {speed}"
        self._shown.show(text, done / self._total)

    def end(self) -> None:
        """Show it no more."""
        if self._shown is not None:
            self._shown.hide()
            self._shown = None


_here = threading.local()


@contextmanager
def waiting(title: str) -> Iterator[Step]:
    """Follow a step of unknown length; whoever does it calls `look` now and then."""
    step = Step(title)
    try:
        yield step
    finally:
        step.end()


@contextmanager
def moving(title: str, total: int, asked: bool = True) -> Iterator[None]:
    """Follow the bytes that this thread moves meanwhile, as `moved` tells; inside of another as part of it.

    Args:
        title: what is moved where.
        total: how many bytes.
        asked: whether the user has asked for it, and not a companion that is not trusted.
    """
    if total < SMALL or getattr(_here, "step", None) is not None:
        yield
        return
    _here.step = step = Step(title, total) if asked else _Silent()
    try:
        yield
    finally:
        _here.step = None
        step.end()


def moved(count: int) -> None:
    """Take note of bytes that this thread has moved."""
    step = getattr(_here, "step", None)
    if step is not None:
        step.add(count)


def incoming(talk: Any, total: int) -> Any:
    """Follow a copy out of a companion, as `moving`."""
    return moving(f"copying from companion {talk.name!r}", total, _asked(talk))


def outgoing(talk: Any, total: int) -> Any:
    """Follow a copy into a companion, as `moving`."""
    return moving(f"copying to companion {talk.name!r}", total, _asked(talk))


def _asked(talk: Any) -> bool:
    """Tell whether this thread does what the user wants: not if it serves a companion that is not trusted."""
    return bool(talk.process.trusted or not talk.desk.within()[0])


class _Silent:
    """Follow a step that nobody shall see."""

    def add(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass
