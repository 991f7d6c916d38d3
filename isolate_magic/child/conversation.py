"""The companion's end of the channel: values in and out, and calls of the host (companion).

What goes out is data only; objects that are no data are lent by number.
"""

from __future__ import annotations

import os
import threading
import types
import weakref
from typing import Any

from isolate_magic.child.service import Raw
from isolate_magic.child.serving import Serving
from isolate_magic.child.standins import MAKERS, StandIn
from isolate_magic.link import bulk, descriptors, packing, values
from isolate_magic.link import frames as f
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.refs import Claim, take
from isolate_magic.link.restoring import Watch

_CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType)
_PLAIN = values.PLAIN
_NOTHING: dict[str, Any] = {}


class Conversation(Serving):
    """Answer the host from this process, and call it back.

    Args:
        sock: our end of the channel.
        door: the socket on which memfds of the host arrive.
        board: a shared page; it names the request that the last SIGINT of the host was meant for.
        start: what the host told at the fork: `numpy` (whether it has one), `copies` (how large
            bodies travel: `direct` or `memfd`), `trusted` (if not, the host takes no heavy frames).
        kernel: the kernel that cells run in.
    """

    name = "host"
    death = ""

    def __init__(self, sock: Any, door: Any, board: Any, start: dict[str, Any], kernel: Any) -> None:
        super().__init__(sock, board, kernel)
        self.door = door
        self.direct = start["copies"] == "direct"
        self.frugal = not start.get("trusted", True)
        self.host_has_numpy = start["numpy"]
        self.adopted: weakref.WeakKeyDictionary[type, Claim] = weakref.WeakKeyDictionary()
        self._standins: weakref.WeakValueDictionary[int, StandIn] = weakref.WeakValueDictionary()
        self.copies: weakref.WeakKeyDictionary[Any, Claim] = weakref.WeakKeyDictionary()
        self._copied: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._fds: dict[bytes, int] = {}
        self._door = threading.Lock()
        packing.here = self

    # ------------------------------------------------------------ arguments

    def _arguments(self, frame: f.Call, watched: list[Watch]) -> tuple[Any, dict[str, Any]]:
        args, kwargs = frame.args, frame.kwargs
        for value in args:
            if type(value) not in _PLAIN:
                break
        else:
            if not kwargs:
                return args, kwargs
        if len(args) == 1 and type(args[0]) is f.Pickled:
            packed: tuple[Any, dict[str, Any]] = self._unpack(args[0])
            if not (frame.target == 1 and frame.name == "push"):  # which makes them the companion's own
                watched.append(Watch(packed, self.lent.identities))
            return packed
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

    # ------------------------------------------------------------ values

    def wrap(self, value: Any) -> Any:
        """Turn a value into data, or lend it."""
        return values.plain(value) if type(value) in _PLAIN else values.wrap(value, self._outgoing)

    def _outgoing(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is Raw:
            return value.value
        if kind is bytes:
            return f.ByteArray(self.park(value), True)
        if issubclass(kind, type):
            return self._class(value)
        if issubclass(kind, StandIn):
            return f.Own(value._isolate_.number)
        if issubclass(kind, BaseException):
            return self.faults.fault(value)
        if kind is types.FunctionType and value in self.copies:
            return f.Own(self.copies[value].number)
        made = foreign_numpy.wrap_item(value, self.wrap) if self.host_has_numpy else None
        if made is not None:
            return made
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
        kind = 5 if self.service.described.get(value, vars(value).keys()) != vars(value).keys() else 1
        return f.Ref(self.lent.pin(value), 0, kind, f"{value.__module__}.{value.__qualname__}")

    def park(self, buffer: Any) -> Any:
        """Keep a buffer until the host has it, and return where it lies."""
        size = memoryview(buffer).nbytes
        if size <= f.INLINE // 4:
            return f.Inline(bytes(buffer))
        if self.direct:
            return f.Remote(bulk.address(buffer), size, self.lent.lend(_Parked(buffer)))
        return self.pour(buffer)

    def pour(self, buffer: Any) -> f.Poured:
        """Put a buffer into a memfd of the host's."""
        size = memoryview(buffer).nbytes
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
                came, fds = descriptors.receive(self.door, 8, 1)
                self._fds[came] = fds[0]
            return self._fds.pop(key)

    # ------------------------------------------------------------ calling the host

    def stand_in(self, number: int, kind: str, name: str, *told: Any) -> Any:
        """Return the stand-in of a host object; the same one for the same object."""
        found = self._standins.get(number)
        if found is None:
            self._standins[number] = found = MAKERS[kind](Claim(self, number, name), *told)
        else:
            found._isolate_.times += 1
        return found

    def copied(self, number: int, maker: Any, args: Any) -> Any:
        """Return the copy of a host function: a new one only where there is none yet."""
        found = self._copied.get(number)
        if found is None:
            self._copied[number] = found = maker(*args)
            self.copies[found] = Claim(self, number, found.__qualname__)
        else:
            self.copies[found].times += 1
        return found

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
            result = self.outcome(self._ask(target, name, args, kwargs))
        finally:
            if here:
                self.interruptible = interruptible
        if interruptible:
            self.deliver()
        return result

    def _ask(self, target: int, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        return self.exchange(*self.request(self.tasks.within(), target, name, args, kwargs))

    def request(
        self, within: int, target: int, name: str, args: Any, kwargs: dict[str, Any]
    ) -> tuple[int, bytes]:
        """Make a call of the host ready: return its number and its packet."""
        number = next(self.numbers)
        wrapped = {key: self.wrap(value) for key, value in kwargs.items()}
        packet = f.encode(
            f.Call(number, within, target, name, tuple(map(self.wrap, args)), wrapped, take(self.drops))
        )
        return number, self.fitting(packet)

    def outcome(self, reply: Any) -> Any:
        """Return what the host has answered, or raise it."""
        if type(reply) is f.Failure:
            raise self.faults.revive(reply.fault)
        result = values.unwrap(reply.value, self._incoming)
        self._taken(reply.value)
        return result

    def _taken(self, value: Any) -> None:
        """Free the memory that the host has put a callback's result into."""
        if type(value) is f.Pickled:
            for part in (value.data, *value.buffers):
                if type(part) is f.Reserved:
                    self.lent.drop((part.owner, 1))  # one number stands for all of them
                    return


class _Parked:
    """Keep a buffer alive under a number of its own."""

    __slots__ = ("buffer",)

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
