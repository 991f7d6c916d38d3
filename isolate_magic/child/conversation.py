"""The companion's end of the channel: serve the host's requests, call it back (companion).

All requests are served in the main thread, one inside the other while a callback is waited for. What
goes out is data only; objects that are no data are lent by number.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from isolate_magic.child import streams
from isolate_magic.child.faults import Faults
from isolate_magic.child.service import Raw, Service
from isolate_magic.errors import TransferError
from isolate_magic.link import bulk, packing, values
from isolate_magic.link import frames as f
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.peer import Peer, Slot
from isolate_magic.link.refs import Claim, Lent, take

_CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType)
_NOTHING: dict[str, Any] = {}
_BOARD = struct.Struct("<QQ")
"""What the host's board says: the number of a request, and how often it has sent SIGINT."""


class Conversation(Peer):
    """Answer the host from this process.

    Args:
        sock: our end of the channel.
        door: the socket on which memfds of the host arrive.
        board: a shared page; it names the request that the last SIGINT of the host was meant for.
        start: what the host told at the fork: `numpy` (whether it has one), `copies` (how large
            bodies travel: `direct` or `memfd`).
        kernel: the kernel that cells run in.
    """

    name = "host"
    death = ""

    def __init__(self, sock: Any, door: Any, board: Any, start: dict[str, Any], kernel: Any) -> None:
        super().__init__(sock)
        self.door = door
        self.board = board
        self.direct = start["copies"] == "direct"
        self.host_has_numpy = start["numpy"]
        self.service = Service(self, kernel)
        self.lent = Lent(self.service)
        self.faults = Faults(self)
        self.drops: deque[tuple[int, int]] = deque()
        self.main = threading.get_ident()
        self.active: list[int] = []
        self.unclaimed: deque[Any] = deque()
        self.due: set[int] = set()
        self.interruptible = False
        self.ring: Callable[[], None] = _nothing
        self._aside = threading.local()
        self._recent: deque[int] = deque(maxlen=64)
        self._serial = 0
        self._fds: dict[int, int] = {}
        self._door = threading.Lock()
        self.forked = False
        self.adopted: weakref.WeakKeyDictionary[type, Claim] = weakref.WeakKeyDictionary()
        self._callbacks: weakref.WeakValueDictionary[int, HostFunction] = weakref.WeakValueDictionary()
        packing.here = self
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
        outer, self.home = self.home, slot
        try:
            return super().wait(slot)
        finally:
            self.home = outer

    def receive(self) -> Any:
        """Wait for a frame of the host; leave when the host has closed the channel."""
        packet = self.sock.recv(f.PACKET)
        if not packet or self.forked:
            os._exit(0)
        return f.decode(packet)

    def event(self, frame: Any) -> None:
        """Take a release."""
        self.lent.drop(frame.drops)

    def stray(self, frame: Any) -> None:
        """Ignore a reply to a callback that was interrupted."""

    def interrupt(self, _signal: int, _frame: Any) -> None:
        """Handle SIGINT: raise KeyboardInterrupt, but only inside the request that it is meant for."""
        number, serial = _BOARD.unpack_from(self.board)
        if serial == self._serial:  # not from the host, so it is meant for whatever runs
            number = self.active[-1] if self.active else 0
        self._serial = serial
        if number in self.active:
            if self.interruptible:
                raise KeyboardInterrupt
            self.due.add(number)
        elif number and number not in self._recent:
            self.due.add(number)  # the request is still on its way

    # ------------------------------------------------------------ serving

    def answer(self, frame: Any) -> None:
        """Serve one request and reply, whatever the code in it does."""
        if threading.get_ident() != self.main:
            self._answer_aside(frame)
            return
        number = frame.number
        self.active.append(number)
        value = failure = None
        try:
            value = self._serve(frame)
        except BaseException as error:  # border: user code may raise anything
            self.interruptible = False
            failure = error
        self._reply(number, value, failure)
        value = failure = None
        self._recent.append(number)
        self.active.pop()
        if self.due:
            self.due.discard(number)
        if self.service.leaving and not self.active:
            os._exit(0)

    def _serve(self, frame: Any) -> Any:
        """Do what a request asks for; only meanwhile, and in the main thread, can it be interrupted."""
        if frame.drops:
            self.lent.drop(frame.drops)
        target = self.lent[frame.target]
        if type(frame) is f.Get:
            function: Any = getattr
            args: Any = (target, frame.name)
            kwargs = _NOTHING
        else:
            args, kwargs = self._arguments(frame)
            function = self.service.method(target, frame.name) if frame.name else target
        if threading.get_ident() != self.main:
            return function(*args, **kwargs)
        try:
            self.interruptible = True
            if frame.number in self.due:
                raise KeyboardInterrupt
            return function(*args, **kwargs)
        finally:
            # An interrupt in this very moment is caught by `answer`; there is none after it.
            self.interruptible = False

    def _answer_aside(self, frame: Any) -> None:
        """Serve a request that belongs to a thread of ours, which has called back and waits."""
        stack = self._stack()
        stack.append(frame.number)
        value = failure = None
        try:
            value = self._serve(frame)
        except BaseException as error:  # border: as in `answer`
            failure = error
        self._reply(frame.number, value, failure)
        stack.pop()

    def _stack(self) -> list[int]:
        """Return the requests that this thread is serving, innermost last."""
        if threading.get_ident() == self.main:
            return self.active
        if not hasattr(self._aside, "active"):
            self._aside.active = []
        stack: list[int] = self._aside.active
        return stack

    def _arguments(self, frame: f.Call) -> tuple[Any, dict[str, Any]]:
        args = frame.args
        if len(args) == 1 and type(args[0]) is f.Pickled:
            packed: tuple[Any, dict[str, Any]] = self._unpack(args[0])
            return packed
        kwargs = frame.kwargs
        if kwargs:
            kwargs = {name: values.unwrap(value, self._incoming) for name, value in kwargs.items()}
        return [values.unwrap(value, self._incoming) for value in args], kwargs

    def _incoming(self, value: Any, _depth: int) -> Any:
        kind = type(value)
        if kind is f.Own:
            return self.lent[value.id]
        if kind is f.Record:
            return self.lent[value.cls]._make(values.unwrap(item, self._incoming) for item in value.items)
        if kind is f.Scalar:
            return foreign_numpy.unwrap_scalar(value)
        if kind is f.Pickled:
            return self._unpack(value)
        raise TypeError(f"the host sent a {kind.__name__}")

    def _unpack(self, value: f.Pickled) -> Any:
        return packing.unpack(self._body(value.data), [self._body(buffer) for buffer in value.buffers])

    def _body(self, buffer: Any) -> Any:
        if isinstance(buffer, f.Reserved):
            return self.lent[buffer.owner][buffer.index]
        return bytearray(buffer.data)

    def _reply(self, number: int, value: Any, failure: BaseException | None) -> None:
        if self.forked:  # user code forked and let the copy run on; only the original may answer
            os._exit(0)
        while self.drops:
            self.sock.send(f.encode(f.Release(take(self.drops))))
        try:
            if failure is None:
                packet = f.encode(f.Reply(number, self.wrap(value)))
            else:
                packet = f.encode(f.Failure(number, self.faults.fault(failure)))
        except BaseException as error:  # border: wrapping runs `__str__` and properties of user objects
            packet = self._broken(number, error)
        self.send(packet)

    def _broken(self, number: int, error: BaseException) -> bytes:
        """Return a failure for what raised on its way out, be the exception itself sound or not."""
        try:
            return f.encode(f.Failure(number, self.faults.fault(error)))
        except BaseException:  # border: as above
            text = f"a {type(error).__name__} that cannot be told was raised while the result was made ready"
            return f.encode(f.Failure(number, f.Fault("RuntimeError", (text,), text, (), {})))

    def send(self, packet: bytes) -> None:
        """Send a frame, or where it is too large the place from which the host may fetch it."""
        if len(packet) > f.PACKET:
            packet = f.encode(f.Spilled(self.park(packet)))
        self.sock.send(packet)

    # ------------------------------------------------------------ values

    def wrap(self, value: Any) -> Any:
        """Turn a value into data, or lend it."""
        return values.wrap(value, self._outgoing)

    def _outgoing(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is Raw:
            return value.value
        if kind is bytes:
            return f.ByteArray(self.park(value), True)
        if issubclass(kind, type):
            return self._class(value)
        if kind is HostFunction:
            return f.Own(value._isolate_.number)
        if issubclass(kind, BaseException):
            return self.faults.fault(value)
        numpy = sys.modules.get("numpy")
        if numpy is not None and self.host_has_numpy and issubclass(kind, numpy.generic):
            scalar = foreign_numpy.wrap_scalar(value) if kind is value.dtype.type else None
            if scalar is not None:
                return scalar
        if issubclass(kind, tuple) and (number := self.record(value)) is not None and depth <= values.DEPTH:
            return f.Record(number, tuple(values.wrap(item, self._outgoing, depth + 1) for item in value))
        return self.lend(value)

    def record(self, value: Any) -> int | None:
        """Return the number of a namedtuple's class, or None for another tuple class."""
        kind = type(value)
        fields = getattr(kind, "_fields", None)
        if not isinstance(fields, tuple) or len(fields) != len(value) or kind.__bases__ != (tuple,):
            return None
        return self.lent.pin(kind)

    def lend(self, value: Any) -> f.Ref:
        """Lend an object: count it and tell its number, class, kind and name."""
        kind = type(value)
        number, cls = self.lent.lend(value), self.lent.pin(kind)
        if kind is types.ModuleType or issubclass(kind, types.ModuleType):
            return f.Ref(number, cls, 2, value.__name__)
        if kind in _CALLABLES or (kind.__module__ == "numpy" and kind.__name__ == "ufunc"):
            name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "?")
            return f.Ref(number, cls, 3, f"{getattr(value, '__module__', None) or ''}.{name}".lstrip("."))
        return f.Ref(number, cls)

    def _class(self, value: type) -> Any:
        if value in self.adopted:
            return f.Own(self.adopted[value].number)
        twin = self.service.twin(value)
        if twin:
            return f.Ref(0, 0, 4, twin)
        return f.Ref(self.lent.pin(value), 0, 1, f"{value.__module__}.{value.__qualname__}")

    def park(self, buffer: Any) -> Any:
        """Keep a buffer until the host has it, and return where it lies."""
        size = memoryview(buffer).nbytes
        if size <= f.INLINE // 4:
            return f.Inline(bytes(buffer))
        if self.direct:
            return f.Remote(bulk.address(buffer), size, self.lent.lend(_Parked(buffer)))
        token = self.ask_host("memfd", size)
        fd = self.door_fd(token)
        try:
            bulk.pour(fd, [buffer])
        finally:
            os.close(fd)
        return f.Poured(token, size)

    def door_fd(self, token: int) -> int:
        """Take the memfd that the host has sent under this token; those of other threads are put by."""
        key = token.to_bytes(8, "little")
        with self._door:
            while key not in self._fds:
                came, fds, _, _ = socket.recv_fds(self.door, 8, 1, socket.MSG_CMSG_CLOEXEC)
                self._fds[came] = fds[0]
            return self._fds.pop(key)

    # ------------------------------------------------------------ calling the host

    def callback(self, number: int, name: str) -> Any:
        """Return the stand-in of a host function; the same one for the same function."""
        function = self._callbacks.get(number)
        if function is None:
            self._callbacks[number] = function = HostFunction(Claim(self, number, name))
        else:
            function._isolate_.times += 1
        return function

    def adopt(self, cls: type, number: int) -> None:
        """Remember that a class is the copy of the host's class with this number."""
        claim = self.adopted.get(cls)
        if claim is None:
            self.adopted[cls] = Claim(self, number, cls.__qualname__)
        else:
            claim.times += 1

    def ask_host(self, name: str, *args: Any) -> Any:
        """Ask the host's own service for something."""
        return self.call_host(0, name, args, _NOTHING)

    def call_host(self, target: int, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call an object of the host and wait; meanwhile serve what the host asks."""
        if self.forked:
            raise RuntimeError("a forked copy of a companion cannot call the main session; the original can")
        here = threading.get_ident() == self.main
        interruptible = here and self.interruptible
        if here:
            self.interruptible = False
        try:
            reply = self._ask(target, name, args, kwargs)
            if type(reply) is f.Failure:
                raise self.faults.revive(reply.fault)
            result = values.unwrap(reply.value, self._incoming)
            self._taken(reply.value)
        finally:
            if here:
                self.interruptible = interruptible
        if interruptible and not self.due.isdisjoint(self.active):
            self.due.difference_update(self.active)
            raise KeyboardInterrupt
        return result

    def _ask(self, target: int, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        stack = self._stack()
        within = stack[-1] if stack else 0
        number = next(self.numbers)
        wrapped = {key: self.wrap(value) for key, value in kwargs.items()}
        packet = f.encode(f.Call(number, within, target, name, tuple(map(self.wrap, args)), wrapped, take(self.drops)))
        if len(packet) > f.PACKET:
            raise TransferError("the arguments of a callback are larger than 128 KiB; keep them here")
        return self.exchange(number, packet)

    def exchange(self, number: int, packet: bytes, what: Any = None) -> Any:
        """Send a request and wait for its reply; the host is woken if it waits for nothing of ours."""
        if not self._stack():
            slot = self.slots[number] = Slot(what)
            try:
                self.sock.send(packet)
                self.ring()
                return self.wait(slot)
            finally:
                del self.slots[number]
        return super().exchange(number, packet, what)

    def _taken(self, value: Any) -> None:
        """Free the memory that the host has put a callback's result into."""
        if type(value) is f.Pickled and type(value.data) is f.Reserved:
            self.lent.drop((value.data.owner, 1))

    def publish(self, order: Any, kind: str, content: bytes) -> None:
        """Send an output to the cell; an interrupt waits, so that its mark and its frame stay together."""
        if self.forked:  # the frames are the original's; a copy has text only
            text = json.loads(content).get("data", {}).get("text/plain")
            streams.put(order.pipes[0], f"{text}\n".encode() if text else b"")
            return
        here = threading.get_ident() == self.main
        interruptible = here and self.interruptible
        if here:
            self.interruptible = False
        try:
            order.show(lambda number: self.send(f.encode(f.Event(number, kind, content))))
            if not self._stack():
                self.ring()
        finally:
            if here:
                self.interruptible = interruptible
        if interruptible and not self.due.isdisjoint(self.active):
            self.due.difference_update(self.active)
            raise KeyboardInterrupt

    def lost(self) -> None:
        """Leave with the host."""
        os._exit(0)

    def gone(self) -> Exception:
        """Say that the host has left; nobody will read it."""
        return ConnectionError("the main session is gone")

    def _in_fork(self) -> None:
        self.forked = True


def _nothing() -> None:
    return


class _Parked:
    """Keep a buffer alive under a number of its own."""

    __slots__ = ("buffer",)

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer


class HostFunction:
    """Stand for a function of the main session: calling it runs it there."""

    def __init__(self, claim: Claim) -> None:
        self._isolate_ = claim
        self.__name__ = self.__qualname__ = claim.label

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        claim = self._isolate_
        return claim.owner.call_host(claim.number, "", args, kwargs)

    def __repr__(self) -> str:
        return f"<function {self.__name__} of the main session>"
