"""The companion's end of the channel: serve the host's requests, call it back (companion).

All requests are served in the main thread, one inside the other while a callback is waited for. What
goes out is data only; objects that are no data are lent by number.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import types
import weakref
from collections import deque
from typing import Any

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


class Conversation(Peer):
    """Answer the host from this process.

    Args:
        sock: our end of the channel.
        door: the socket on which memfds of the host arrive.
        board: a shared page; its first 8 bytes name the request that a SIGINT is meant for.
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
        self.newest = 0
        self.due = 0
        self.interruptible = False
        self.forked = False
        self._callbacks: dict[int, Any] = {}
        packing.here = self
        os.register_at_fork(after_in_child=self._in_fork)

    def serve(self) -> None:
        """Serve requests for as long as the host is there."""
        self.wait(Slot())

    # ------------------------------------------------------------ reading

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
        (number,) = struct.unpack_from("<Q", self.board)
        if number == 0 or number in self.active:
            if self.interruptible:
                raise KeyboardInterrupt
            self.due = number if self.active else 0
        elif number > self.newest:
            self.due = number  # the request is still in the socket

    # ------------------------------------------------------------ serving

    def answer(self, frame: Any) -> None:
        """Serve one request and reply, whatever the code in it does."""
        number = frame.number
        self.newest = max(self.newest, number)
        self.active.append(number)
        failure = None
        try:
            if frame.drops:
                self.lent.drop(frame.drops)
            target = self.lent[frame.target]
            if type(frame) is f.Get:
                self.interruptible = threading.get_ident() == self.main
                if self.due == number:
                    raise KeyboardInterrupt
                value = getattr(target, frame.name)
            else:
                args, kwargs = self._arguments(frame)
                function = self.service.method(target, frame.name) if frame.name else target
                self.interruptible = threading.get_ident() == self.main
                if self.due == number:
                    raise KeyboardInterrupt
                value = function(*args, **kwargs)
            self.interruptible = False
        except BaseException as error:  # border: user code may raise anything
            self.interruptible = False
            failure = error
        self._reply(number, value if failure is None else None, failure)
        failure = None
        self.active.pop()
        self.due = 0 if not self.active else self.due
        if self.service.leaving and not self.active:
            os._exit(0)

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
        return buffer.data

    def _reply(self, number: int, value: Any, failure: BaseException | None) -> None:
        if self.forked:  # user code forked and let the copy run on; only the original may answer
            os._exit(0)
        if self.drops:
            self.sock.send(f.encode(f.Release(take(self.drops))))
        try:
            if failure is None:
                packet = f.encode(f.Reply(number, self.wrap(value)))
            else:
                packet = f.encode(f.Failure(number, self.faults.fault(failure)))
        except Exception as error:  # border: wrapping runs `__str__` and properties of user objects
            packet = f.encode(f.Failure(number, self.faults.fault(error)))
        self.send(packet)

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

    def _class(self, value: type) -> f.Ref:
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
        fd = self.door_fd()
        try:
            bulk.pour(fd, [buffer])
        finally:
            os.close(fd)
        return f.Poured(token, size)

    def door_fd(self) -> int:
        """Take the memfd that the host has just sent."""
        _, fds, _, _ = socket.recv_fds(self.door, 1, 1)
        return fds[0]

    # ------------------------------------------------------------ calling the host

    def callback(self, number: int, name: str) -> Any:
        """Return the stand-in of a host function; the same one for the same function."""
        found = self._callbacks.get(number)
        function = found() if found is not None else None
        if function is None:
            function = HostFunction(Claim(self, number, name))
            self._callbacks[number] = weakref.ref(function)
        else:
            function._isolate_.times += 1
        return function

    def ask_host(self, name: str, *args: Any) -> Any:
        """Ask the host's own service for something."""
        return self.call_host(0, name, args, _NOTHING)

    def call_host(self, target: int, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call an object of the host and wait; meanwhile serve what the host asks."""
        here = threading.get_ident() == self.main
        number = next(self.numbers)
        wrapped = {key: self.wrap(value) for key, value in kwargs.items()}
        within = self.active[-1] if here and self.active else 0
        frame = f.Call(number, within, target, name, tuple(map(self.wrap, args)), wrapped, take(self.drops))
        interruptible = self.interruptible
        if here:
            self.interruptible = False
        try:
            packet = f.encode(frame)
            if len(packet) > f.PACKET:
                raise TransferError("the arguments of a callback are larger than 128 KiB; keep them here")
            reply = self.exchange(number, packet)
        finally:
            if here:
                self.interruptible = interruptible
        if here and interruptible and self.due and self.due in self.active:
            self.due = 0
            raise KeyboardInterrupt
        if type(reply) is f.Failure:
            raise self.faults.revive(reply.fault)
        return values.unwrap(reply.value, self._incoming)

    def gone(self) -> Exception:
        """Say that the host has left; nobody will read it."""
        return ConnectionError("the main session is gone")

    def _in_fork(self) -> None:
        self.forked = True


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
