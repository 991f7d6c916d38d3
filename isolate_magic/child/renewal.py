"""What a woken copy gets anew, because a fork shares or drops it: event loop and timers (companion).

A fork shares the loop's epoll instance and its wake-up pipe with the original: what the original registers
and what wakes it would show in the copy. Interval timers are not inherited at all, fork(2).
"""

from __future__ import annotations

import selectors
import signal
from collections.abc import Sequence
from typing import Any

Timers = Sequence[tuple[int, float, float]]
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def timers() -> Timers:
    """Return the interval timers that run, with what is left of each; call it before the fork."""
    found = ((which, *signal.getitimer(which)) for which in _TIMERS)
    return [timer for timer in found if timer[1]]


def restart(running: Timers) -> None:
    """Start the timers of the original in this copy, with what was left at the fork.

    Args:
        running: what `timers` has returned.
    """
    for which, left, interval in running:
        signal.setitimer(which, left, interval)


def renew(loop: Any) -> None:
    """Give a loop of asyncio a selector and a wake-up pipe of its own; its tasks and timers stay.

    It may be running: call it in the woken copy, in the loop's own thread, before the loop's next round.

    Args:
        loop: an `asyncio.SelectorEventLoop`.
    """
    old, pipe, waker = loop._selector, loop._ssock, loop._csock
    new = selectors.DefaultSelector()
    for key in old.get_map().values():
        if key.fileobj != pipe.fileno() and key.fileobj is not pipe:
            try:
                new.register(key.fileobj, key.events, key.data)
            except OSError:  # it was closed without a word to the loop
                continue
    old.close()  # this descriptor only: to unregister anything would take it from the original, too
    loop._selector = new
    signals = signal.set_wakeup_fd(-1)
    # From Python 3.12 on asyncio takes the descriptor back in every fork.
    handles_signals = signals == waker.fileno() or (signals < 0 and bool(loop._signal_handlers))
    pipe.close()
    waker.close()
    loop._internal_fds -= 1
    loop._make_self_pipe()
    if handles_signals:
        signals = loop._csock.fileno()
    signal.set_wakeup_fd(signals)
