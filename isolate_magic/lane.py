"""The lane: the main session's socket to the supervisor of a companion, read in the background (host).

The supervisor runs no user code, but what it passes on is the companion's: addresses that it wants and
paths that it opens. So each packet is decoded as typed data, and an address is judged here.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from isolate_magic.dialer import Dialer
from isolate_magic.watch import watch

_PACKET = 1 << 16
_MOST = 10_000  # records of one trace


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """What a traced companion has tried: `kind` is `read`, `write`, `start` or `connect`."""

    do: str
    kind: str
    target: str
    pid: int = 0


_record = msgspec.json.Decoder(Record)


class Lane:
    """Talk to one supervisor.

    Args:
        sock: our end.
        dialer: makes the connections that the policy allows.
    """

    def __init__(self, sock: socket.socket, dialer: Dialer) -> None:
        self.sock = sock
        self.dialer = dialer
        self.records: deque[Record] = deque(maxlen=_MOST)
        watch().add(sock.fileno(), self._read)

    def say(self, message: Mapping[str, Any]) -> bool:
        """Tell the supervisor something; return whether it was there to take it."""
        try:
            self._send(json.dumps(message).encode(), None)
        except OSError:  # it is gone, as the pidfd tells
            return False
        return True

    def _send(self, packet: bytes, made: socket.socket | None) -> None:
        fds = [] if made is None else [made.fileno()]
        socket.send_fds(self.sock, [packet], fds, socket.MSG_DONTWAIT)

    def _read(self) -> None:
        """Take what has come (background thread)."""
        for _ in range(100):
            try:
                packet = self.sock.recv(_PACKET, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                return
            if not packet:
                return
            self._take(packet)
        watch().arm(self.sock.fileno())

    def _take(self, packet: bytes) -> None:
        try:
            record = _record.decode(packet)
        except msgspec.MsgspecError:
            self.dialer.attend(packet, self._send)
            return
        self.records.append(record)

    def close(self) -> None:
        """Let go of the socket."""
        if self.sock.fileno() >= 0:
            watch().remove(self.sock.fileno())
            self.sock.close()
