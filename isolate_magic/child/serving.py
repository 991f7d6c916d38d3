"""The companion's serving half: requests answered one inside the other, interrupts, outputs (companion).

All requests are served in the main thread, but those that belong to a call of another thread of ours:
that thread waits, and serves them itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from isolate_magic.child import operators, reserve, streams
from isolate_magic.child.faults import Faults
from isolate_magic.child.loop import REST, Keeper
from isolate_magic.child.service import Service
from isolate_magic.child.tasks import LATER, Tasks
from isolate_magic.child.warned import Warned
from isolate_magic.link import frames as f
from isolate_magic.link import memory, weight
from isolate_magic.link.layout import BOARD
from isolate_magic.link.peer import Peer, Slot
from isolate_magic.link.refs import Lent, take
from isolate_magic.link.restoring import Watch

_NOTHING: dict[str, Any] = {}
_FOLLOWED = ("reserve", "accept", "attach")


class Serving(Peer):
    """Serve the host's requests; `_arguments` and `wrap` say what the values in them are.

    Args:
        sock: our end of the channel.
        board: a shared page; it names the request that the last SIGINT of the host was meant for.
        kernel: the kernel that cells run in.
    """

    _arguments: Callable[[f.Call, list[Watch]], tuple[Any, dict[str, Any]]]
    wrap: Callable[[Any], Any]
    park: Callable[[Any], Any]
    frugal = False
    snapshots: Any = None

    def __init__(self, sock: Any, board: Any, kernel: Any) -> None:
        super().__init__(sock)
        self.board = board
        self.service = Service(self, kernel)
        kernel.shell.gate = self
        self.lent = Lent(self.service)
        self.faults = Faults(self)
        Warned(self, Serving._serve.__code__)
        self.drops: deque[tuple[int, int]] = deque()
        self.main = threading.get_ident()
        self.active: list[int] = []
        self.unclaimed: deque[Any] = deque()
        self._resting: deque[Any] = deque()  # requests for the time when nothing else is under way
        self.due: set[int] = set()
        self.interruptible = False
        self.ring: Callable[[], None] = _nothing
        self.forked = False
        self._aside = threading.local()
        self._recent: deque[int] = deque(maxlen=64)
        self._serial = 0
        self.keeper = Keeper(self, kernel.shell)
        self.tasks = Tasks(self, self.keeper)
        os.register_at_fork(after_in_child=self._in_fork)

    def serve(self) -> None:
        """Serve requests for as long as the host is there."""
        self.wait(Slot())

    # ------------------------------------------------------------ reading

    def wait(self, slot: Slot) -> Any:
        """Serve until the slot has its reply; what belongs to no waiting thread is the main thread's."""
        if threading.get_ident() != self.main:
            return super().wait(slot)
        # One queue for all levels: what another thread reads for us is served wherever we wait next.
        slot.requests = self.unclaimed
        slot.bell = self.keeper.bell
        outer, self.home = self.home, slot
        try:
            return super().wait(slot)
        finally:
            self.home = outer

    def receive(self) -> Any:
        """Wait for a frame of the host; leave when the host has closed the channel."""
        keeper = self.keeper
        if keeper.loop.touched and keeper.wants_to_run():
            if keeper.readable:
                keeper.readable = False
                return self.receive_now()
            self.unclaimed.append(REST)
            return None
        self.spin.wait()
        packet = self.next_packet()
        if not packet or self.forked:
            os._exit(0)
        return f.decode(packet)

    def receive_now(self) -> Any:
        """Return a frame that has come, or None; as `receive`."""
        try:
            size = self.sock.recv_into(self._packet, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:  # another thread has read it
            return None
        if not size or self.forked:
            os._exit(0)
        return f.decode(self._view[:size])

    def event(self, frame: Any) -> None:
        """Put a release by for `answer`: a `__del__` may call the host, which the reader could not."""
        home = self.home
        if home is None:
            self.lent.drop(frame.drops)
            return
        home.requests.append(frame)
        if home.bell is not None:
            home.bell.release()

    def stray(self, frame: Any) -> None:
        """Ignore a reply to a callback that was interrupted."""

    def interrupt(self, _signal: int, _frame: Any) -> None:
        """Handle SIGINT: raise KeyboardInterrupt, but only inside the request that it is meant for."""
        number, serial = BOARD.unpack_from(self.board)
        if serial == self._serial:  # not from the host, so it is meant for whatever runs
            number = self.active[-1] if self.active else 0
        self._serial = serial
        if number in self.active:
            if not self.interruptible:
                self.due.add(number)
            elif not self.keeper.strikes():
                raise KeyboardInterrupt
        elif number in self.tasks.running:
            if not self.tasks.strikes(number):
                raise KeyboardInterrupt
        elif number and number not in self._recent:
            self.due.add(number)  # the request is still on its way

    def listen_for_interrupts(self) -> None:
        """Handle SIGINT from now on, and the one that the host may have sent before."""
        signal.signal(signal.SIGINT, self.interrupt)
        if BOARD.unpack_from(self.board)[1] != self._serial:
            self.interrupt(signal.SIGINT, None)

    # ------------------------------------------------------------ serving

    def answer(self, frame: Any) -> None:
        """Serve one request and reply, whatever the code in it does."""
        if threading.get_ident() != self.main:
            self._answer_aside(frame)
            return
        if type(frame) is f.Release:
            if frame is REST:
                self.keeper.idle()
            self.lent.drop(frame.drops)
            memory.tidy()
            return
        if self.active and self._waits_for_rest(frame):
            self._resting.append(frame)
            return
        if type(frame) is f.Call and frame.target == 1 and frame.name != "run":
            reserved = reserve.use(True)  # the service is ours
            self._answer_here(frame)
            reserve.use(reserved)
        else:
            self._answer_here(frame)
        if self._resting and not self.active:
            self.answer(self._resting.popleft())

    def _answer_here(self, frame: Any) -> None:
        number = frame.number
        self.active.append(number)
        value = failure = None
        watched: list[Watch] = []
        try:
            value = self._serve(frame, watched)
        except BaseException as error:  # border: user code may raise anything
            self.interruptible = False
            failure = error
        if value is not LATER:
            self._reply(number, value, failure, watched)
            self._recent.append(number)
            if failure is not None and type(frame) is f.Call and frame.name == "begin":
                self.ring()  # no thread of the host waits for it
        value = failure = None
        if memory.waiting():
            _look_after_memory(frame)
        self.active.pop()
        if self.due:
            self.due.discard(number)

    def _waits_for_rest(self, frame: Any) -> bool:
        """Tell whether a request is a widget's, which is no affair of a cell that waits for the host.

        A cell that awaits something may await just that, as in any kernel.
        """
        return (
            type(frame) is f.Call
            and frame.target == 1
            and frame.name == "comm"
            and not self.keeper.loop.is_running()
        )

    def _serve(self, frame: Any, watched: list[Watch]) -> Any:
        """Do what a request asks for; only meanwhile, and in the main thread, can it be interrupted.

        Args:
            frame: the request.
            watched: gets the arguments whose changes the reply shall tell.
        """
        if frame.drops:
            self.lent.drop(frame.drops)
        target = self.lent[frame.target]
        if type(frame) is f.Get:
            function: Any = getattr
            args: Any = (target, frame.name)
            kwargs = _NOTHING
        else:
            args, kwargs = self._arguments(frame, watched)
            function = operators.method(target, frame.name) if frame.name else target
        if threading.get_ident() != self.main or (frame.target == 1 and frame.name == "execute"):
            return function(*args, **kwargs)  # a cell opens to interrupts itself, around the user's own code
        try:
            self.let_in()
            return function(*args, **kwargs)
        finally:
            # An interrupt in this very moment is caught by `answer`; there is none after it.
            self.interruptible = False

    def let_in(self) -> None:
        """Let interrupts raise KeyboardInterrupt from now on, and at once where one is due."""
        self.interruptible = True
        if self.due:
            self.deliver()

    def deliver(self) -> None:
        """Raise KeyboardInterrupt if one is due for a request that is under way."""
        if not self.due.isdisjoint(self.active):
            self.due.difference_update(self.active)
            raise KeyboardInterrupt

    def _answer_aside(self, frame: Any) -> None:
        """Serve a request that belongs to a thread of ours, which has called back and waits."""
        stack = self._stack()
        stack.append(frame.number)
        value = failure = None
        watched: list[Watch] = []
        try:
            value = self._serve(frame, watched)
        except BaseException as error:  # border: as in `answer`
            failure = error
        self._reply(frame.number, value, failure, watched)
        value = failure = None
        _look_after_memory(frame)
        stack.pop()

    def _stack(self) -> list[int]:
        """Return the requests that this thread is serving, innermost last."""
        if threading.get_ident() == self.main:
            return self.active
        if not hasattr(self._aside, "active"):
            self._aside.active = []
        stack: list[int] = self._aside.active
        return stack

    def _reply(
        self, number: int, value: Any, failure: BaseException | None, watched: Sequence[Watch] = ()
    ) -> None:
        if self.forked:  # user code forked and let the copy run on; only the original may answer
            os._exit(0)
        while self.drops:
            self.sock.send(f.encode(f.Release(take(self.drops))))
        try:
            changes = watched[0].changes(self.wrap) if watched else None
            if failure is None:
                packet = f.encode(f.Reply(number, self.wrap(value), changes))
            else:
                packet = f.encode(f.Failure(number, self.faults.fault(failure), changes))
            packet = self.fitting(packet)
        except BaseException as error:  # border: wrapping runs `__str__` and properties of user objects
            packet = self._broken(number, error)
        self.send(packet)

    def _broken(self, number: int, error: BaseException) -> bytes:
        """Return a failure for what raised on its way out, be the exception itself sound or not."""
        reserved = reserve.use(True)
        try:
            return f.encode(f.Failure(number, self.faults.fault(error)))
        except BaseException:  # border: as above
            text = f"a {type(error).__name__} that cannot be told was raised while the result was made ready"
            return f.encode(f.Failure(number, f.Fault("RuntimeError", (text,), text, (), {})))
        finally:
            reserve.use(reserved)

    def send(self, packet: bytes) -> None:
        """Send a frame."""
        self.sock.send(packet if len(packet) <= f.PACKET else self.fitting(packet))

    def fitting(self, packet: bytes) -> bytes:
        """Return a frame, or where it is too large the place from which the host may fetch it."""
        if len(packet) <= f.PACKET:
            return packet
        if self.frugal:
            weight.check(packet)
        return f.encode(f.Spilled(self.park(packet)))

    def exchange(self, number: int, packet: bytes, what: Any = None) -> Any:
        """Send a request and wait for its reply; the host is woken if it waits for nothing of ours."""
        if not self._stack() or self.keeper.loop.is_running():
            slot = self.slots[number] = Slot(what)
            try:
                self.sock.send(packet)
                self.ring()
                return self.wait(slot)
            finally:
                del self.slots[number]
        return super().exchange(number, packet, what)

    def publish(self, order: Any, kind: str, content: bytes) -> None:
        """Send an output to the cell; an interrupt waits, so that its mark and its frame stay together."""
        if self.forked:  # the frames are the original's; a copy has text only
            told = json.loads(content).get("data")
            text = told.get("text/plain") if isinstance(told, dict) else None
            streams.put(order.pipes[0], f"{text}\n".encode() if text else b"")
            return
        here = threading.get_ident() == self.main
        interruptible = here and self.interruptible
        if here:
            self.interruptible = False
        try:
            order.show(lambda number: self.send(f.encode(f.Event(number, kind, content))))
            if not self._stack() or self.tasks.running:
                self.ring()
        finally:
            if here:
                self.interruptible = interruptible
        if interruptible:
            self.deliver()

    def quiet(self) -> bool:
        """Return whether nothing here runs but what the host asks for."""
        return threading.active_count() == 1

    def lost(self) -> None:
        """Leave with the host."""
        os._exit(0)

    def gone(self) -> Exception:
        """Say that the host has left; nobody will read it."""
        return ConnectionError("the main session is gone")

    def _in_fork(self) -> None:
        self.forked = True


def _look_after_memory(frame: Any) -> None:
    """Do what need not be done before a reply; the request that memory was asked for comes next, though."""
    if type(frame) is f.Call and frame.name in _FOLLOWED:
        memory.populate()
    else:
        memory.tidy()


def _nothing() -> None:
    return
