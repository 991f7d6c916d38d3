"""What a traced companion has tried, until it is told to the host (supervisor).

Equal records are counted here, so that a flood of them costs the host nothing.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable

import msgspec

MOST = 10_000
"""Different records of one trace."""

_LONGEST = 1000  # characters of a target
_PACKET = 1 << 15
_MANY = 100  # records that are sent without being asked for


class Notes:
    """Gather records.

    Args:
        send: sends one packet to the host without waiting; raises OSError where that cannot be.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._pending: dict[tuple[str, str], int] = {}
        self._known: set[tuple[str, str]] = set()
        self._dropped = 0

    @property
    def lost(self) -> int:
        """Tell how many were not kept, in all traces together, with those that the host has not taken."""
        return self._dropped + sum(self._pending.values())

    def clear(self) -> None:
        """Forget everything, for a new trace."""
        self._dropped += sum(self._pending.values())
        self._pending.clear()
        self._known.clear()

    def take(self, kind: str, target: str) -> None:
        """Note one try; never waits."""
        key = (kind, _readable(target))
        if key in self._pending:
            self._pending[key] += 1
            return
        if key not in self._known:
            if len(self._known) >= MOST:
                self._dropped += 1
                return
            self._known.add(key)
        self._pending[key] = 1
        if len(self._pending) % _MANY == 0:
            self.flush(None)

    def flush(self, lane: socket.socket | None, patience: float = 0.0) -> None:
        """Send what is pending; what the host does not take stays.

        Args:
            lane: the socket, if it shall be waited for.
            patience: seconds to wait for it.
        """
        deadline = time.monotonic() + patience
        while self._pending:
            batch = self._batch()
            told = [[kind, target, times] for (kind, target), times in batch.items()]
            try:
                self._send(msgspec.json.encode({"do": "records", "records": told}))
            except BlockingIOError:
                if lane is None or not _writable(lane, deadline):
                    return
                continue
            except OSError:  # nobody is there to read
                self._pending.clear()
                return
            for key in batch:
                del self._pending[key]

    def _batch(self) -> dict[tuple[str, str], int]:
        """Return as much as goes into one packet."""
        batch: dict[tuple[str, str], int] = {}
        size = 0
        for key, times in self._pending.items():
            size += len(msgspec.json.encode(key[1])) + 40
            if size > _PACKET and batch:
                break
            batch[key] = times
        return batch


def _readable(target: str) -> str:
    """Return a target that JSON can carry, cut if it is very long."""
    text = os.fsencode(target).decode("utf-8", "replace")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _writable(lane: socket.socket, deadline: float) -> bool:
    poll = select.poll()
    poll.register(lane, select.POLLOUT)
    left = deadline - time.monotonic()
    return left > 0 and bool(poll.poll(left * 1000))
