"""What a companion may free, collected until the next request tells it (host)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from isolate_magic import watch as watches


class Drops(deque[tuple[int, int]]):
    """Collect what the companion may free; ring the background thread at the first."""

    def __init__(self, flush: Callable[[], None]) -> None:
        super().__init__()
        self.flush = flush
        self.rung = False

    def append(self, drop: tuple[int, int]) -> None:
        """Add a pair of number and count; runs in finalizers, so it takes no lock."""
        super().append(drop)
        if not self.rung:
            self.rung = True
            watches.rung.add(self.flush)
            if watches._watch is not None:
                watches._watch.ring()
