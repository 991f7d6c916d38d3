"""How all companions are right now, and how they were in the last minute (host)."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from isolate_magic.companion import Companion
from isolate_magic.session import companions

MINUTE = 60.0
"""Seconds that are remembered."""

_BRIEF = 0.05  # seconds between two looks, below which a share of the processor is noise


@dataclass(frozen=True)
class Sample:
    """One companion at one moment.

    Attributes:
        name: the companion's.
        state: `new`, `idle`, `busy`, `dead` or `stopped`.
        policy: the name of its policy.
        why: what it died of, if it is dead.
        pid: its process; None, as all of the following, without one.
        cpu: percent of one processor since the look before; None at the first.
        calls: requests a second since the look before; None at the first.
        memory: bytes as its limit counts them.
        limit: bytes; None without a limit.
        processes: how many.
        open_files: how many; None where the kernel does not tell.
        history: seconds before now, memory in bytes and cpu in percent, oldest first.
    """

    name: str
    state: str
    policy: str
    why: str = ""
    pid: int | None = None
    cpu: float | None = None
    calls: float | None = None
    memory: int | None = None
    limit: int | None = None
    processes: int | None = None
    open_files: int | None = None
    history: tuple[tuple[float, int, float], ...] = ()


class Recorder:
    """Look at all companions of this session whenever asked to, and remember a minute."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._lock = threading.Lock()

    def look(self) -> list[Sample]:
        """Return how they are, in the order in which they were made."""
        with self._lock:
            now = time.monotonic()
            found = companions()
            tracks = self._tracks
            self._tracks = {one.name: tracks.get(one.name) or _Track() for one in found}
            return [self._tracks[one.name].look(one, now) for one in found]


class _Track:
    """What is remembered of one companion."""

    def __init__(self) -> None:
        self._before: tuple[int, float, float, int] | None = None  # process, time, seconds of cpu, calls
        self._rates: tuple[float | None, float | None] = (None, None)
        self._points: deque[tuple[float, int, float]] = deque()

    def look(self, companion: Companion, now: float) -> Sample:
        process = companion._alive()
        state, policy = companion.state, companion.policy.name
        stats: dict[str, Any] = process.meter.look() if process is not None else {}
        if process is None or not stats["processes"]:  # it died this very moment
            self._before, self._rates = None, (None, None)
            self._remember(now, 0, 0.0)
            why = companion.crash.reason if state == "dead" and companion.crash else ""
            return Sample(companion.name, state, policy, why, history=self._history(now))
        self._rate(process.pid, now, stats["cpu"], stats["calls"])
        cpu, calls = self._rates
        self._remember(now, stats["memory"], cpu or 0.0)
        return Sample(
            companion.name, state, policy, "", process.pid, cpu, calls, stats["memory"], stats["limit"],
            stats["processes"], stats["open_files"], self._history(now),
        )  # fmt: skip

    def _rate(self, pid: int, now: float, cpu: float, calls: int) -> None:
        """Find out how much a second it was since the look before, unless that was just now."""
        before = self._before
        if before is None or before[0] != pid:
            self._rates = (None, None)
        elif now - before[1] < _BRIEF:
            return
        else:
            seconds = now - before[1]
            self._rates = 100 * (cpu - before[2]) / seconds, (calls - before[3]) / seconds
        self._before = (pid, now, cpu, calls)

    def _remember(self, now: float, memory: int, cpu: float) -> None:
        self._points.append((now, memory, cpu))
        while now - self._points[0][0] > MINUTE:
            self._points.popleft()

    def _history(self, now: float) -> tuple[tuple[float, int, float], ...]:
        return tuple((now - at, memory, cpu) for at, memory, cpu in self._points)
