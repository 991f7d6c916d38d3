"""How long an untrusted companion may keep this session waiting for what no user code decides (host).

What a user asks for, a cell or a call, lasts as long as the policy says. Beside that the host asks questions
of its own and hands things over; a companion that leaves these lie is ended. While it is at work on a
request of another thread it may: it has one thread to answer with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isolate_magic.watch import watch

SEND = 10.0
"""Seconds without any progress after which a companion that does not read is ended."""

_OWN = 30.0  # only our code runs there
_THEIRS = 120.0  # a `__repr__`, a property or a default of the user's may run
_COPY = 300.0
ANSWER = {
    "describe": _OWN, "reserve": _OWN, "accept": _OWN, "attach": _OWN, "variables": _OWN, "ahead": _OWN,
    "advance": _OWN, "cancel": _OWN, "freeze": _OWN, "settle": _OWN, "show": _THEIRS, "keys": _THEIRS,
    "signature": _THEIRS, "after_cell": _THEIRS, "array_items": _THEIRS, "complete": _THEIRS,
    "inspect": _THEIRS, "is_complete": _THEIRS, "copy": _COPY,
    "told": _OWN, "piece": _OWN,
}  # fmt: skip
"""Seconds for the answer to each question of the host's own; what is not listed is the user's request."""

_FETCH = 30.0
_SPEED = 50e6  # bytes a second: a hundredth of what a copy takes


class Deadline:
    """End a companion that does not answer one question.

    Args:
        talk: the conversation.
        number: the request.
        name: what is asked of the service.
    """

    def __init__(self, talk: Any, number: int, name: str) -> None:
        self._talk = talk
        self._number = number
        self._name = name
        self._seconds = min(ANSWER[name], talk.process.policy.wall or ANSWER[name])
        self._alarm = watch().later(self._seconds, self._look)

    def _look(self) -> None:
        talk, slot = self._talk, self._talk.slots.get(self._number)
        if slot is None or slot.frame is not None or talk.closed:
            return
        if not talk.alone(self._number):
            self._alarm = watch().later(self._seconds, self._look)
            return
        reason = f"protocol error: it has not answered {self._name!r} within {self._seconds:g} s"
        talk.process.kill("protocol", reason)

    def cancel(self) -> None:
        """Forget it; the answer is there."""
        self._alarm.cancel()


@contextmanager
def copying(talk: Any, length: int) -> Iterator[None]:
    """End an untrusted companion whose memory cannot be copied in time; a page of it can wait for ever.

    Args:
        talk: the conversation.
        length: how many bytes are copied, in either direction.
    """
    if talk.process.trusted:
        yield
        return
    reason = "protocol error: a copy from or to its memory does not end"
    alarm = watch().later(_FETCH + length / _SPEED, lambda: talk.process.kill("protocol", reason))
    try:
        yield
    finally:
        alarm.cancel()
