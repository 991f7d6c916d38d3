"""From a dead companion's conversation to that of the snapshot that goes on in its place (host).

What existed when the snapshot was made is there again, so proxies of it move over; what is younger went with
the dead process, and its proxies stay stale.
"""

from __future__ import annotations

import socket
from array import array
from functools import partial
from typing import Any

from isolate_magic.link.proxy import Module, claim_of, remembered
from isolate_magic.link.refs import Claim
from isolate_magic.watch import watch

_WAKING = 10.0  # seconds for a snapshot to wake, which takes less than one millisecond


def succeed(old: Any, new: Any, snapshot: Any) -> None:
    """Let a conversation with a snapshot that is awake take over from the one with the dead process.

    Args:
        old: the conversation that has ended.
        new: the one that has begun.
        snapshot: what the process was woken from.

    Raises:
        ProcessTerminationError: it died at once.
    """
    _wake(old, new, snapshot.number)
    new.lent = snapshot.lent
    new.awaits.inherit(old.awaits)
    things = {n: thing for n, thing in list(old.revival.proxies.items()) if n <= snapshot.mark}
    mirrors = {n: cls for n, cls in list(old.revival.mirrors.items()) if n <= snapshot.mark}
    segments = {s: c for s, c in list(old.arguments.segments.items()) if c.number <= snapshot.mark}
    claims = [_claim(thing) for thing in (*things.values(), *mirrors.values())]
    claims += segments.values()
    held = array("q")
    for claim in claims:
        if claim.times:
            held.extend((claim.number, claim.times))
    new.ask("settle", snapshot.mark, held.tobytes())
    for claim in claims:
        claim.owner = new
    _hand_over(old.revival, new.revival, things, mirrors)
    new.arguments.segments.update(segments)


def accompany(old: Any, new: Any, snapshot: Any) -> None:
    """Let a conversation with a scout begin, beside the one with the process that it is a fork of.

    Args:
        old: the conversation with the process.
        new: the one with the scout.
        snapshot: what the scout was woken from.
    """
    _wake(old, new, snapshot.number)
    new.kin, new.mark = old, snapshot.mark
    new.lent = snapshot.lent
    new.awaits.inherit(old.awaits)


def _wake(old: Any, new: Any, number: int) -> None:
    """Wake the snapshot, which goes on in the request that it was forked in; ours count on from there."""
    new.numbers, new.desk.tokens = old.numbers, old.desk.tokens
    new.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    late = partial(new.process.kill, "protocol", "protocol error: a snapshot that does not wake")
    alarm = watch().later(_WAKING, late)
    try:
        new.exchange(number, b'{"do": "wake"}', (new.service, "freeze", 0))
    finally:
        alarm.cancel()


def _claim(thing: Any) -> Claim:
    claim = claim_of(thing)
    assert claim is not None
    return claim


def _hand_over(old: Any, new: Any, things: dict[int, Any], mirrors: dict[int, type]) -> None:
    new.ration = old.ration
    new.mirrors.update(mirrors)
    for number, thing in things.items():
        new.proxies[number] = thing
        old.proxies.pop(number, None)
        if issubclass(type(thing), Module):
            new.modules.add(thing)
            remembered(thing).clear()  # members that the dead process had loaded are stale
