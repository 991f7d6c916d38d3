"""The lane: the main session's socket to the supervisor of a companion, read in the background (host).

The supervisor runs no user code, but what it passes on is the companion's: addresses that it wants and
paths that it opens. So each packet is decoded as typed data, and an address is judged here.
"""

from __future__ import annotations

import itertools
import json
import logging
import socket
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from isolate_magic.dialer import Dialer
from isolate_magic.watch import watch

MOST_RECORDS = 10_000
"""Different records that one tape keeps."""

_PACKET = 1 << 16
_PATIENCE = 5.0  # seconds for an answer of the supervisor, which has nothing else to do
_log = logging.getLogger(__name__)


class Records(msgspec.Struct, tag_field="do", tag="records", forbid_unknown_fields=True):
    """What a traced companion has tried: kind (`read`, `write`, `start`, `connect`), target, how often."""

    records: list[tuple[str, str, int]]


class Traced(msgspec.Struct, tag_field="do", tag="traced", forbid_unknown_fields=True):
    """The answer to `trace`, behind all records until then; one with the number 0 comes at the end.

    Attributes:
        number: the number of the question.
        dropped: how many records were lost so far, in all traces together.
    """

    number: int
    dropped: int


_decode = msgspec.json.Decoder(Records | Traced).decode


class Tape:
    """What a companion has tried during one trace.

    Attributes:
        tried: how often, by kind and target; in the order of the first time.
        dropped: how many were not kept.
    """

    def __init__(self) -> None:
        self.tried: dict[tuple[str, str], int] = {}
        self.dropped = 0

    def take(self, kind: str, target: str, times: int) -> None:
        """Keep a record, if there is room."""
        key = (kind, target)
        if key in self.tried or len(self.tried) < MOST_RECORDS:
            self.tried[key] = self.tried.get(key, 0) + times
        else:
            self.dropped += times


class Lane:
    """Talk to one supervisor.

    Args:
        sock: our end.
        dialer: makes the connections that the policy allows.
    """

    def __init__(self, sock: socket.socket, dialer: Dialer) -> None:
        self.sock = sock
        self.dialer = dialer
        self._tapes: list[Tape] = []
        self._numbers = itertools.count(1)
        self._answers: dict[int, threading.Event] = {}
        self._dropped = 0
        self._reading = threading.RLock()
        self._turning = threading.RLock()  # one thread at a time switches the trace
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

    # ------------------------------------------------------------ the trace

    def start(self) -> Tape:
        """Let the supervisor record; return the tape for all that happens from now on."""
        tape = Tape()
        with self._turning:
            tape.dropped = -self._turn(True)
            self._tapes.append(tape)
        return tape

    def stop(self, tape: Tape) -> None:
        """End a tape; all that has happened until now is on it."""
        with self._turning:
            try:
                tape.dropped += self._turn(len(self._tapes) > 1)
            finally:
                self._tapes.remove(tape)

    def _turn(self, on: bool) -> int:
        """Switch the recording and wait for all records until now; return how many were lost so far."""
        number, come = next(self._numbers), threading.Event()
        self._answers[number] = come
        if self.say({"do": "trace", "on": on, "number": number}):
            come.wait(_PATIENCE)
        self._answers.pop(number, None)
        return self._dropped

    # ------------------------------------------------------------ what has come

    def _read(self) -> None:
        """Take what has come (background thread)."""
        with self._reading:
            there = self._take_some(100)
        if there:
            watch().arm(self.sock.fileno())

    def drain(self) -> None:
        """Take all that a supervisor has said before its end."""
        with self._reading:
            self._take_some(1 << 20)

    def _take_some(self, most: int) -> bool:
        """Take at most so many packets; return whether the socket is worth another look later."""
        for _ in range(most):
            try:
                packet = self.sock.recv(_PACKET, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not packet:
                self._despair()
                return False
            self._take(packet)
        return True

    def _take(self, packet: bytes) -> None:
        try:
            told = _decode(packet)
        except msgspec.MsgspecError:
            self._attend(packet)
            return
        if isinstance(told, Traced):
            self._dropped = told.dropped
            come = self._answers.pop(told.number, None)
            if come is not None:
                come.set()
            return
        for tape in tuple(self._tapes):
            for kind, target, times in told.records:
                tape.take(kind, target, times)

    def _attend(self, packet: bytes) -> None:
        try:
            self.dialer.attend(packet, self._send)
        except (ValueError, msgspec.MsgspecError) as error:  # the lane must outlive a packet that is none
            _log.warning("a supervisor said what nobody understands: %s", error)

    def _despair(self) -> None:
        """Let nobody wait for a supervisor that has gone."""
        for come in tuple(self._answers.values()):
            come.set()

    def close(self) -> None:
        """Let go of the socket."""
        if self.sock.fileno() >= 0:
            watch().remove(self.sock.fileno())
            self.sock.close()
        self._despair()
