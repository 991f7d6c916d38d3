"""A short look before a sleep: the next frame of a loop of calls is mostly there at once (both sides).

Waking a sleeping CPU takes longer than a whole call, so whoever waits for a frame looks for it again
and again for a moment before he sleeps. He does so only while it pays; `docs/architecture.md` has the
figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

LIMIT = 50e-6
"""Longest spin, in seconds: about what it costs to be woken instead, so it can at most double a wait."""

_MOST = 8


class Spin:
    """Spin for one end of a conversation.

    Args:
        look: says what is there, without waiting; nothing is falsy. It must let go of the GIL, as system
            calls do, so that a spin keeps no other thread from work.
        other: the pid of the process at the other end.

    Attributes:
        spun: how many times it has looked in vain.
    """

    __slots__ = ("_failures", "_look", "_other", "_paid", "_rest", "spun")

    def __init__(self, look: Callable[[], Any], other: int) -> None:
        self._look = look
        self._other = other
        self._rest = 0
        self._failures = 0
        self._paid = False
        self.spun = 0

    def wait(self) -> Any:
        """Return what `look` has found, or nothing when the caller shall sleep until there is something.

        After n spins in vain, one after the other, the next 2**n waits sleep at once, 2**8 at most. Where
        both processes must share one CPU, a spin would keep the other from answering, so there is none.
        """
        if self._rest:
            self._rest -= 1
            return None
        if not self._paid and self._share_one_cpu():
            self._rest = 1 << _MOST
            return None
        look = self._look
        found = None
        end = perf_counter() + LIMIT
        while perf_counter() < end:
            found = look()
            if found:
                break
            self.spun += 1
        if perf_counter() < end:
            self._paid = True
            self._failures = 0
        else:  # in vain, or late: this thread had to wait for the GIL or its CPU, which others need more
            self._paid = False
            self._failures = min(self._failures + 1, _MOST)
            self._rest = 1 << self._failures
        return found

    def _share_one_cpu(self) -> bool:
        try:
            return len(os.sched_getaffinity(0) | os.sched_getaffinity(self._other)) == 1
        except OSError:  # the other one has ended, as the next read tells
            return False
