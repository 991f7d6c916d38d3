"""The time that a cell or a call may take: interrupted when it is over, then killed (host).

A request has two limits, each may be missing: the one that the user gave it, and the policy's `wall`. The
second holds for whatever this session asks of a companion, so it costs next to nothing until it strikes:
one alarm serves all requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from isolate_magic.errors import CellTimeout
from isolate_magic.link import frames as f
from isolate_magic.watch import Alarm, watch

GRACE = 2.0
"""Seconds between the interrupt and the kill."""


class Limit:
    """Interrupt a request after some seconds, and kill its process if that does not help.

    Args:
        process: the `isolate_magic.process.Process`.
        seconds: how long it may take.
        number: the request.
    """

    def __init__(self, process: Any, seconds: float, number: int) -> None:
        self.process = process
        self.number = number
        self.seconds = seconds
        self.struck = False
        self.alarm = watch().later(seconds, self._strike)

    def _strike(self) -> None:
        self.struck = True
        self.process.interrupt(self.number)
        self.alarm = watch().later(GRACE, self._kill)

    def _kill(self) -> None:
        self.process.kill("timeout", f"killed at its time limit of {self.seconds:g} s", hanging=True)

    def cancel(self) -> None:
        """Forget the limit; the request is answered."""
        self.alarm.cancel()


class Wall:
    """Hold the requests of one companion to its policy's `wall`.

    The companion serves one request after the other, so only the oldest can be late: the time of each counts
    from when those before it were answered.

    Args:
        process: the `isolate_magic.process.Process`.
    """

    def __init__(self, process: Any) -> None:
        self.process = process
        self._since: dict[int, float] = {}  # when each request was made, in the order of their numbers
        self._free = 0.0  # when the last one was answered
        self._struck: set[int] = set()
        self._alarm: Alarm | None = None
        self._due = math.inf  # when it goes off

    def ask(self, number: int, name: str, send: Callable[[], Any]) -> Any:
        """Make a request within the limit; return the frame that answers it.

        Args:
            number: its number.
            name: what the error calls it.
            send: makes it.

        Raises:
            CellTimeout: it was interrupted at the limit.
        """
        __tracebackhide__ = True
        self._since[number] = time.monotonic()
        left = self._left(number)
        if time.monotonic() + left < self._due:
            self._set(left)
        try:
            frame = send()
            if number in self._struck and type(frame) is f.Failure:
                self.process.talk.result(frame)  # which raises what it was
            return frame
        except KeyboardInterrupt:
            if number not in self._struck:
                raise
            raise self.late(name) from None
        finally:
            self._since.pop(number, None)
            self._free = time.monotonic()
            self._struck.discard(number)

    def late(self, name: str) -> CellTimeout:
        """Return the error for what was interrupted at the limit."""
        policy = self.process.policy
        return CellTimeout(
            f"{name} was interrupted after {policy.wall or 0:g} s, the `wall` of policy "
            f"{policy.name or '(unnamed)'!r}; the companion lives on"
        )

    def forget(self) -> None:
        """Let go of the companion, which has ended; an alarm would hold it until it goes off."""
        if self._alarm is not None:
            self._alarm.cancel()

    def again(self) -> None:
        """Look again: the policy has changed."""
        if self._since:
            self._set(0.0)

    def _set(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._due = time.monotonic() + seconds
        self._alarm = watch().later(seconds, self._look)

    def _left(self, number: int) -> float:
        """Return how many seconds a request has left; those without a limit, for ever."""
        wall = self.process.policy.wall
        begun = max(self._since.get(number, 0.0), self._free)
        return math.inf if wall is None else begun + wall - time.monotonic()

    def _look(self) -> None:
        """Interrupt the oldest request if it is late, and look again when the next can be (background)."""
        self._due = math.inf
        oldest = min(tuple(self._since), default=0)
        if not oldest:
            return
        left = self._left(oldest)
        if left == math.inf:
            return
        if left > 0 and oldest not in self._struck:
            self._set(left)
        elif oldest not in self._struck:
            self._struck.add(oldest)
            self.process.interrupt(oldest)
            self._set(GRACE)
        else:
            policy = self.process.policy
            name = policy.name or "(unnamed)"
            reason = f"killed at its time limit of {policy.wall or 0:g} s (wall of policy {name!r})"
            self.process.kill("timeout", reason, hanging=True)
