"""The memory of a companion over time, looked at while somebody waits for it (host).

A companion with a supervisor is watched by that. For the others the background thread looks ten times a
second, while a cell or a call is under way that is not over at once: an idle companion costs nothing.
"""

from __future__ import annotations

import mmap
import threading
import time
from typing import Any

from isolate_magic.watch import watch

_EVERY = 0.1  # seconds between two looks
_MOST = 200  # samples; then every second one goes


class Curve:
    """Sample the resident memory of a process.

    Args:
        process: the `isolate_magic.process.Process`.

    Attributes:
        samples: pairs of seconds since its start and bytes, in order of time.
    """

    def __init__(self, process: Any) -> None:
        self._process = process
        self._turn = threading.Lock()  # held while a look is due
        self._every = _EVERY
        self._seen = 0
        self.samples: list[tuple[float, int]] = []

    def wake(self) -> None:
        """Begin to look, if nobody does; whoever goes to sleep until an answer comes calls this."""
        if self._process.lane is None and self._turn.acquire(False):
            watch().later(self._every, self._look)

    def _look(self) -> None:
        """Look once, and again later if there was something to do meanwhile (background thread)."""
        talk, bytes_ = self._process.talk, self._resident()
        if bytes_:
            self.samples.append((time.monotonic() - self._process.started, bytes_))
            if len(self.samples) >= _MOST:
                pairs = zip(self.samples[::2], self.samples[1::2], strict=True)
                self.samples = [max(pair, key=lambda sample: sample[1]) for pair in pairs]
                self._every *= 2
        busy, self._seen = bool(talk.slots) or talk.latest != self._seen, talk.latest
        if bytes_ and busy and not talk.closed:
            watch().later(self._every, self._look)
        else:
            self._turn.release()

    def _resident(self) -> int:
        """Return the resident memory in bytes (proc(5), statm); 0 of one that is dead."""
        if self._process.pidfd < 0:  # then its pid may be another's
            return 0
        try:
            with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as statm:
                return int(statm.read().split()[1]) * mmap.PAGESIZE
        except (OSError, ValueError, IndexError):
            return 0
