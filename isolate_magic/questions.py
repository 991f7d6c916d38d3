"""Questions that wait for nobody: what Tab asks a companion is answered soon, or from memory (host).

A companion that works is not asked. One that does not answer in time keeps nobody: its answer is remembered
when it comes, and after a while the question is interrupted, so that the user's next cell need not wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from isolate_magic.crew import Crew
from isolate_magic.watch import watch

PATIENCE = 0.3
"""Seconds that a front end is kept waiting."""

_ENOUGH = 2.0  # seconds after which a question is interrupted
_AGAIN = 0.5  # seconds until it is once more: IPython catches the interrupt, and goes on with another matcher
_LONGEST = 8 << 20  # characters of an answer
_crew = Crew("isolate_magic-question", 16)  # a companion keeps one of them at most: then it works

hushed: set[int] = set()
"""Threads in which proxies ask their companions for nothing, because only code that nobody runs is read."""


@contextmanager
def hush() -> Iterator[None]:
    """Let no proxy ask for anything in this thread; what it would ask for is an AttributeError."""
    thread = get_ident()
    outer = thread in hushed
    hushed.add(thread)
    try:
        yield
    finally:
        if not outer:
            hushed.discard(thread)


def works(process: Any) -> bool:
    """Return whether a companion is at work on something that a thread waits for, or dead."""
    talk = process.talk
    return talk.closed or any(not slot.later for slot in list(talk.slots.values()))


def ask(
    process: Any, name: str, args: tuple[Any, ...], take: Callable[[str], None], seconds: float = PATIENCE
) -> bool:
    """Ask a companion's service for a text, and wait for it no longer than a user does.

    Args:
        process: the companion's process.
        name: the method of its service.
        args: its arguments.
        take: called with the text, also when it comes late; in another thread.
        seconds: how long to wait.

    Returns:
        whether `take` has been called.
    """
    if works(process):
        return False
    done = threading.Event()
    taken: list[bool] = []

    def work() -> None:
        if _told(process, name, args, take):
            taken.append(True)
        done.set()

    _crew.do(work)
    done.wait(seconds)
    return bool(taken)


def _told(process: Any, name: str, args: tuple[Any, ...], take: Callable[[str], None]) -> bool:
    talk = process.talk
    number = next(talk.numbers)
    alarm = watch().later(_ENOUGH, lambda: _interrupt(process, number))
    try:
        text = talk.call(talk.service, name, args, {}, number)
        fits = type(text) is str and len(text) <= _LONGEST
        if fits:
            take(text)
    except BaseException:  # border: the companion has died, or code of its user's has raised something
        return False
    finally:
        alarm.cancel()
    return fits


def _interrupt(process: Any, number: int) -> None:
    slot = process.talk.slots.get(number)
    if slot is not None and slot.frame is None:
        process.interrupt(number)
        watch().later(_AGAIN, lambda: _interrupt(process, number))
