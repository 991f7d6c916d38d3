"""One end of the conversation: numbered requests, nested both ways, many threads (both sides).

The thread that waits for a reply reads the socket itself; a reader thread would cost more than the
whole call. When several threads wait, one reads and hands out, the others sleep; who stops reading
wakes the next. While a thread waits it serves the requests that belong to its own: a callback runs
in the thread whose call led to it.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from itertools import count
from typing import Any, NoReturn

from isolate_magic.link import frames as f
from isolate_magic.link.spin import Spin

GLANCE = 0.5
"""Seconds after which who sleeps looks up: a signal that came right before the sleep has not ended it."""
_CROWD = 1000
_BROKEN = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)


class Slot:
    """Hold what has arrived for one waiting thread.

    Attributes:
        frame: the reply, once it is there.
        requests: requests of the other side that this thread shall serve.
        what: what was asked, for the crash report.
        later: whether an event loop waits for it instead of a thread.
    """

    __slots__ = ("bell", "frame", "requests", "what")
    later = False

    def __init__(self, what: Any = None) -> None:
        self.frame: Any = None
        self.requests: deque[Any] = deque()
        self.bell: Any = None
        self.what = what


class Peer:
    """Exchange frames with the other side; `receive`, `answer`, `event` and `stray` differ by side.

    Args:
        sock: one end of a SOCK_SEQPACKET pair.

    Attributes:
        spin: looks for a frame before `receive` sleeps.
    """

    spin: Spin

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.closed = False
        self.slots: dict[int, Slot] = {}
        self.numbers = count(1)
        self.reader = threading.Lock()
        self._packet = bytearray(f.PACKET)
        self._view = memoryview(self._packet)
        self.home: Slot | None = None  # takes the requests that belong to no waiting thread
        self._followers: deque[Slot] = deque()

    def next_packet(self) -> Any:
        """Wait for a packet and return a view of it, empty at the end; call it as the reader.

        The view holds until the next packet; decoding copies all that it keeps.
        """
        return self._view[: self.sock.recv_into(self._packet)]

    def receive(self) -> Any:
        """Wait for the next frame and return it decoded; None when something else came instead."""
        raise NotImplementedError

    def answer(self, frame: Any) -> None:
        """Serve one request of the other side and send the reply."""
        raise NotImplementedError

    def event(self, frame: Any) -> None:
        """Take a frame that wants no answer."""
        raise NotImplementedError

    def stray(self, frame: Any) -> None:
        """Take a reply that nobody waits for."""
        raise NotImplementedError

    def gone(self) -> Exception:
        """Return the error for a conversation that has ended."""
        raise NotImplementedError

    def fail(self) -> NoReturn:
        """Raise `gone()`."""
        raise self.gone()

    def exchange(self, number: int, packet: bytes, what: Any = None) -> Any:
        """Send a request and wait for its reply.

        Args:
            number: the request's number, as in the packet.
            packet: the encoded frame.
            what: what is asked, for the crash report.

        Returns:
            the `Reply` or `Failure`.
        """
        __tracebackhide__ = True
        slot = Slot(what)
        self.slots[number] = slot
        try:
            try:
                self.sock.send(packet)
            except BlockingIOError:  # the time limit of the socket has passed
                self.blocked(number, packet)
            except OSError as error:
                if error.errno not in _BROKEN:  # a signal handler has raised a TimeoutError, say
                    raise
                self.lost()
            return self.wait(slot)
        finally:
            del self.slots[number]
            if slot.frame is None and not self.closed:
                self.abandon(number, slot)

    def blocked(self, number: int, packet: bytes) -> None:
        """Send a packet that the other side has not taken for a while."""
        raise NotImplementedError

    def lost(self) -> None:
        """Find out why nothing can be sent any more."""
        raise NotImplementedError

    def abandon(self, number: int, slot: Slot) -> None:
        """Take note that an exception, of a signal handler say, has ended the wait for a reply."""

    def wait(self, slot: Slot) -> Any:
        """Read, hand out and serve until the slot has its reply, then return it."""
        __tracebackhide__ = True
        reader = self.reader
        while slot.frame is None:
            if self.closed:
                self.fail()
            if reader.acquire(False):
                try:
                    while slot.frame is None and not slot.requests and not self.closed:
                        frame = self.receive()
                        if frame is not None:
                            self.route(frame, slot)
                finally:
                    reader.release()
                    self.left()
            elif not slot.requests:
                self._follow(slot)
            if slot.requests and self._followers and not reader.locked():
                self._wake()  # whoever should read next may have woken us, and we are busy now
            while slot.requests and not self.closed:  # nobody waits for what a dead one still wants
                self.answer(slot.requests.popleft())
        if self._followers:
            self._wake()
        return slot.frame

    def left(self) -> None:
        """Let another waiting thread read; called whenever a thread has stopped reading."""
        if self._followers:
            self._wake()

    def route(self, frame: Any, mine: Slot | None) -> None:
        """Give a frame to the thread that it is for.

        Args:
            frame: what has arrived.
            mine: the slot of the reading thread, which needs no bell.
        """
        kind = type(frame)
        if kind is f.Reply or kind is f.Failure:
            slot = self.slots.get(frame.number)
            if slot is None or slot.frame is not None:
                self.stray(frame)
                return
            slot.frame = frame
        elif kind is f.Call or kind is f.Get:
            slot = (self.slots.get(frame.within) if frame.within else None) or self.home
            if slot is None:
                self.orphan(frame)
                return
            slot.requests.append(frame)
            if len(slot.requests) > _CROWD:
                self.crowd()
        else:
            self.event(frame)
            return
        if slot is not mine and slot.bell is not None:
            slot.bell.release()

    def crowd(self) -> None:
        """Act on more requests at a time than anybody can want."""

    def orphan(self, frame: Any) -> None:
        """Serve a request that belongs to no waiting thread; only without a `home`."""
        self.answer(frame)

    def close(self) -> None:
        """End the conversation: every waiting thread gets `gone()`."""
        self.closed = True
        while self._followers:
            self._wake()
        for slot in tuple(self.slots.values()):
            if slot.later:
                slot.bell.release()

    def _follow(self, slot: Slot) -> None:
        """Sleep until the reader has something for this slot, or stops reading."""
        if slot.bell is None:
            slot.bell = threading.Semaphore(0)
        self._followers.append(slot)
        # Looked at again after joining the queue, so that no wake-up falls between.
        if slot.frame is None and not slot.requests and self.reader.locked() and not self.closed:
            while not slot.bell.acquire(timeout=GLANCE):
                pass
        try:
            self._followers.remove(slot)
        except ValueError:  # the one who woke us has taken us out already
            return

    def _wake(self) -> None:
        try:
            slot = self._followers.popleft()
        except IndexError:  # another thread was faster
            return
        assert slot.bell is not None
        slot.bell.release()
