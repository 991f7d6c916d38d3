"""What arrives from a companion: frames read, handed out or refused, and its end noticed (host)."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import msgspec

from isolate_magic import deadlines
from isolate_magic.desk import Desk
from isolate_magic.errors import DEATHS, ProcessTerminationError, TransferError
from isolate_magic.link import frames as f
from isolate_magic.link import values, weight
from isolate_magic.link.peer import GLANCE, Peer, Slot
from isolate_magic.link.refs import Lent
from isolate_magic.revival import Revival

_TRIES = 64
_DATA = values.PLAIN | {f.Ref}
_PATIENCE = 0.2
_NAMED = {
    "load_module": "an import",
    "push": "the binding of names",
    "pull": "the look-up of a name",
    "copy": "a copy",
    "show": "a display",
    "variables": "the list of names",
    "complete": "Tab",
    "inspect": "the look at a docstring",
    "after_cell": "what follows a cell",
    "comm": "a message of a widget",
    "freeze": "a snapshot",
    "keep": "a checkpoint",
    "regain": "the restoring of a checkpoint",
}
UNSEEN = tuple(_NAMED[name] for name in ("complete", "inspect", "after_cell", "comm", "freeze"))
"""What was asked of a companion where nobody sees it fail."""


class Inbox(Peer):
    """Read one companion's frames.

    Args:
        process: the `Process` that it belongs to.
        sock: our end of the channel.
    """

    revival: Revival
    desk: Desk
    lent: Lent
    drops: Any
    wall: Any

    def __init__(self, process: Any, sock: socket.socket) -> None:
        super().__init__(sock)
        self.process = process
        self.death = ""
        self._fd = sock.fileno()
        self._tries = _TRIES
        self._abandoned: set[int] = set()
        self._freed: list[object] = []
        self.pumped = False  # whether output has come since somebody left

    # ------------------------------------------------------------ reading

    def receive(self) -> Any:
        """Wait for the next frame and return it; None when output came instead, or the end.

        Output that was written before a reply is shown before the reply is taken.
        """
        ready = self.spin.wait() or self._sleep()  # both look at all descriptors together
        if (len(ready) > 1 or ready[0][0] != self._fd) and not self._show({fd for fd, _ in ready}):
            return None
        self._tries = _TRIES
        try:
            size = self.sock.recv_into(self._packet)
        except ConnectionError:  # it left with requests of ours unread (unix(7))
            size = 0
        if not size:
            return self._end()
        try:
            frame = f.decode(self._view[:size])
            if type(frame) is f.Spilled:
                frame = self._fetched(frame)
            if type(frame) is f.Failure or (type(frame) is f.Reply and type(frame.value) not in _DATA):
                # Its thread takes it up later, when another may have read that the companion drops these.
                self.lent.find(frame)
        except (
            msgspec.MsgspecError,
            ValueError,
            KeyError,
            RecursionError,
            TransferError,
            MemoryError,
        ) as error:
            if not self.process.dead(_PATIENCE):
                self.process.kill("protocol", f"protocol error: a frame that cannot be read ({error})")
            return self._end()
        return frame

    def _sleep(self) -> Any:
        self.process.curve.wake()
        while not (ready := self.process.poll.poll(GLANCE * 1000)):
            pass
        return ready

    def _fetched(self, spilled: f.Spilled) -> Any:
        """Return the frame that was too large for a packet."""
        body = self.revival.body(spilled.body)
        if self.process.trusted:
            return f.decode(body)
        weight.check(body)
        frame = f.decode(body)
        if type(frame) is f.Call:
            self.desk.weigh(frame, len(body))
        return frame

    def _show(self, ready: set[int]) -> bool:
        """Show output, or notice the end; return whether a frame may be taken now."""
        if self.process.pidfd in ready:
            self._end()
            return False
        found = self.process.pump()
        self.pumped = self.pumped or found
        if found and self._tries and self._fd in ready:
            self._tries -= 1  # a flood of output may not hold back a frame for ever
            return False
        return self._fd in ready

    def _end(self) -> None:
        """Take what the dead companion has left, and close; call it as the reader."""
        while True:
            try:
                packet = self.sock.recv(f.PACKET, socket.MSG_DONTWAIT)
                frame = f.decode(packet) if packet else None
            except (OSError, msgspec.MsgspecError):
                break
            if frame is None:
                break
            if type(frame) in (f.Reply, f.Failure, f.Event):
                self.route(frame, None)
        self.process.bury()
        self.let_go(self.process.report.story)

    def let_go(self, death: str) -> None:
        """Close the conversation; `death` is what stale proxies say."""
        self.death = death
        self.drops.rung = True  # nobody is told of them any more
        self.wall.forget()
        self.revival.forget()
        self.close()

    def orphaned(self, reason: str) -> None:
        """Close in a forked copy of the main session, where none of the waiting threads exists."""
        self._followers.clear()
        self.let_go(reason)

    def idle(self) -> bool:
        """Take what has come while nobody waits (background thread, as the reader).

        Returns:
            whether there may be more.
        """
        for _ in range(100):
            if self.closed or not self.process.poll.poll(0):
                return False
            frame = self.receive()
            if frame is not None:
                self.route(frame, None)
        return True

    def left(self) -> None:
        """Wake the next reader, and let the background thread watch again if it has stood back."""
        if self._followers:
            self._wake()
        if self.process.looking:
            self.process.arm()
        if self.pumped:
            self.pumped = False
            self.process.look_again()  # we may have read the ring of a frame that we have not read
        while self._freed:
            self._freed.pop()  # a `__del__` may call the companion, which the reader could not

    # ------------------------------------------------------------ handing out

    def crowd(self) -> None:
        """End a companion that floods us with calls."""
        self.process.kill("protocol", "protocol error: too many calls at a time")

    def event(self, frame: Any) -> None:
        """Show an output, or take back what we lent."""
        try:
            if type(frame) is f.Event:
                if not self.process.trusted:
                    weight.check_json(frame.content)
                self.process.output.event(frame.barrier, frame.kind, frame.content)
            elif type(frame) is f.Release:
                self._freed += self.lent.drop(frame.drops)
            else:
                raise ValueError(f"a {type(frame).__name__} out of place")
        except (ValueError, KeyError, RecursionError) as error:
            self.process.kill("protocol", f"protocol error: {error}")

    def stray(self, frame: Any) -> None:
        """Take a reply that nobody waits for: dropped if somebody did once, else an attack or a fault."""
        if frame.number in self._abandoned:
            self._abandoned.discard(frame.number)
            value = getattr(frame, "value", None)
            if type(value) is f.Ref and value.kind in (0, 2, 3):
                self.drops.append((value.id, 1))
            return
        self.process.kill(
            "protocol", f"protocol error: a reply to request {frame.number}, which was never made"
        )

    def abandon(self, number: int, slot: Slot) -> None:
        """Interrupt a request that nobody waits for any more, and refuse its callbacks."""
        self._abandoned.add(number)
        self.process.interrupt(number)
        while slot.requests:
            self.desk.refuse(slot.requests.popleft())

    # ------------------------------------------------------------ sending

    def deliver(self, packet: bytes, number: int) -> None:
        """Send a packet; a companion that is gone is found out by whoever reads next.

        Args:
            packet: the encoded frame.
            number: the request of ours that led to it; 0 if none did.
        """
        try:
            self.sock.send(packet)
        except BlockingIOError:
            self.blocked(number, packet)
        except OSError:  # it is dying
            return

    def blocked(self, number: int, packet: bytes) -> None:
        """Go on sending to a companion that does not read; end one that is not trusted and has no excuse."""
        while not self.closed:
            if not self.process.trusted and self.alone(number):
                reason = f"protocol error: it has not read its channel for {deadlines.SEND:g} s"
                self.process.kill("protocol", reason)
                return
            try:
                self.sock.send(packet)
            except BlockingIOError:
                continue
            except OSError:  # it is dying, and whoever reads next finds out how
                pass
            return

    def alone(self, number: int) -> bool:
        """Return whether the companion works for nobody but this request and those that led to it."""
        chain = {0}
        while number not in chain:
            chain.add(number)
            slot = self.slots.get(number)
            number = slot.what[2] if slot is not None else 0
        return all(n in chain or slot.frame is not None for n, slot in list(self.slots.items()))

    def answer(self, frame: Any) -> None:
        """Serve a request of the companion in this thread."""
        self.desk.answer(frame)

    def orphan(self, frame: Any) -> None:
        """Serve a thread of the companion that calls back of its own accord."""
        self.desk.answer_aside(frame)

    # ------------------------------------------------------------ the end

    def gone(self) -> Exception:
        """Return the error for a request that the companion did not live to answer."""
        report = self.process.report
        if report is None:
            return ProcessTerminationError(f"companion {self.process.name!r} was let go: {self.death}")
        kind = DEATHS.get(report.kind, ProcessTerminationError)
        return kind(report.story, report)

    def fail(self) -> NoReturn:
        """Raise the error of a companion that has died under a request."""
        # Nothing is wrong here: the companion died. The crash report tells how.
        raise self.gone()

    def break_off(self, reason: str) -> Exception:
        """Kill a companion that broke the protocol, unless its death is the reason; return the error."""
        if not self.process.dead(_PATIENCE):
            self.process.kill("protocol", f"protocol error: {reason}")
        self.find_death()
        return self.gone()

    def lost(self) -> None:
        """Find the death of a companion to which nothing can be sent."""
        self.find_death()

    def find_death(self) -> None:
        """Wait for the end of a companion that is dying, and bury it."""
        with self.reader:
            while not self.closed:
                self._end()
        self.left()

    def innermost(self) -> int:
        """Return the number of the request that the companion is at work on; 0 if there is none.

        It serves one thread's request after the other, so that is the oldest, or the request that a
        callback of that one has made, and so on.
        """
        open_ = [(number, slot) for number, slot in list(self.slots.items()) if slot.frame is None]
        calls = [(number, slot) for number, slot in open_ if not slot.later]
        waiting = {number: slot.what[2] for number, slot in calls or open_}
        number = min((number for number, outer in waiting.items() if outer not in waiting), default=0)
        while inner := [inside for inside, outer in waiting.items() if outer == number]:
            number = max(inner)
        return number

    def chain(self) -> list[int]:
        """Return the numbers of the request that the companion is at work on, and of those it is inside."""
        found: list[int] = []
        number = self.innermost()
        while number and number not in found:
            found.append(number)
            slot = self.slots.get(number)
            number = slot.what[2] if slot is not None else 0
        return found

    def activity(self) -> str:
        """Tell what the companion was doing, for the report."""
        slot = self.slots.get(self.innermost())
        if slot is None:
            return ""
        return title(slot.what)


def title(what: tuple[Any, str, int]) -> str:
    """Say what a request is, in the words of a report."""
    claim, name, _ = what
    if claim.number == 1:
        return str(claim.label) if name in ("execute", "run") else _NAMED.get(name, name)
    return f"{claim.label}.{name}" if name else f"{claim.label}()"
