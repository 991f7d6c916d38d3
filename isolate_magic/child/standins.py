"""Stand-ins of objects that stay in the main session: functions, iterators, files, sort keys (companion)."""

from __future__ import annotations

import asyncio
import inspect
import io
import types
from collections.abc import Callable
from typing import Any

from isolate_magic.link.refs import Claim

_KINDS = list(inspect._ParameterKind)
_FILE = ("name", "mode", "closed", "encoding", "errors", "newlines")


class StandIn:
    """Stand for one object of the main session.

    Args:
        claim: the claim on the object.
    """

    def __init__(self, claim: Claim) -> None:
        self._isolate_ = claim

    def __repr__(self) -> str:
        return f"<{self._isolate_.label} of the main session>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"{self._isolate_.label} belongs to the main session and cannot be pickled")


def _ask(thing: StandIn, name: str, *args: Any, **kwargs: Any) -> Any:
    claim = thing._isolate_
    return claim.owner.call_host(claim.number, name, args, kwargs)


def _method(name: str) -> Any:
    def method(self: StandIn, /, *args: Any, **kwargs: Any) -> Any:
        return _ask(self, name, *args, **kwargs)

    method.__name__ = name
    return method


class HostFunction(StandIn):
    """Stand for a function: calling it runs it there. As a method of a class it binds like any other."""

    def __init__(self, claim: Claim, shape: Any = None) -> None:
        super().__init__(claim)
        self.__name__ = self.__qualname__ = claim.label
        if shape is not None:
            self.__signature__ = inspect.Signature([
                inspect.Parameter(name, _KINDS[kind], default=... if default else inspect.Parameter.empty)
                for name, kind, default in shape
            ])  # fmt: skip

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function there."""
        return _ask(self, "", *args, **kwargs)

    def __get__(self, thing: Any, kind: Any = None) -> Any:
        return self if thing is None else types.MethodType(self, thing)

    def __repr__(self) -> str:
        return f"<function {self.__name__} of the main session>"


class AsyncHostFunction(HostFunction):
    """Stand for an async function of the main session: it runs in an event loop there."""

    _is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)  # asyncio.iscoroutinefunction
    _is_coroutine_mark = getattr(inspect, "_is_coroutine_mark", None)  # inspect.iscoroutinefunction, 3.12

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function there; the loop here goes on meanwhile."""
        claim = self._isolate_
        return await claim.owner.tasks.call_host(claim.number, args, kwargs)


class HostIterator(StandIn):
    """Stand for an iterator; each item is asked for when it is wanted, so both sides see one order."""

    __next__ = _method("__next__")

    def __iter__(self) -> HostIterator:
        return self

    def __length_hint__(self) -> Any:
        return _ask(self, "__length_hint__")


class HostGenerator(StandIn):
    """Stand for a generator."""

    __next__, send, throw, close = map(_method, ("__next__", "send", "throw", "close"))

    def __iter__(self) -> HostGenerator:
        return self


class HostKey(StandIn):
    """Stand for what `functools.cmp_to_key` has made: the key function, or the key of an item."""

    __lt__, __le__, __gt__, __ge__, __eq__, __ne__ = map(
        _method, ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")
    )
    __call__ = _method("")
    __hash__ = None  # type: ignore[assignment]


class HostFile(StandIn):
    """Stand for an open file or a buffer: what is read and written there is the main session's."""

    read, read1, readline, readlines, truncate = map(
        _method, ("read", "read1", "readline", "readlines", "truncate")
    )
    seek, tell, flush, close, getvalue, __next__ = map(
        _method, ("seek", "tell", "flush", "close", "getvalue", "__next__")
    )
    isatty, readable, writable, seekable = map(_method, ("isatty", "readable", "writable", "seekable"))

    def write(self, data: Any) -> Any:
        """Write text or bytes; any other buffer goes as bytes, a proxy of it would be none there."""
        return _ask(self, "write", data if isinstance(data, str) else bytes(memoryview(data)))

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        _ask(self, "writelines", list(lines))

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a writable buffer and return how many."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def fileno(self) -> int:
        """Refuse: the descriptor is the main session's."""
        raise io.UnsupportedOperation("an open file of the main session has no descriptor here")

    def __iter__(self) -> HostFile:
        return self

    def __enter__(self) -> HostFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name not in _FILE:
            raise AttributeError(f"an open file of the main session has no {name!r} here")
        return _ask(self, name)


class HostText(HostFile):
    """Stand for a text file; `isinstance(x, io.TextIOBase)` says yes."""


class HostBytes(HostFile):
    """Stand for a file of bytes; `isinstance(x, io.BufferedIOBase)` says yes."""


class HostObject(StandIn):
    """Stand for an object that the user gave by reference; each use of it is a call back."""

    def __init__(self, claim: Claim) -> None:
        object.__setattr__(self, "_isolate_", claim)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name!r} is not used by reference: it is private")
        return _ask(self, "__getattr__", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "__setattr__", name, value)

    def __delattr__(self, name: str) -> None:
        _ask(self, "__delattr__", name)


_object_classes: dict[Any, type[HostObject]] = {}


def _host_object(claim: Claim, specials: tuple[str, ...]) -> HostObject:
    """Make a stand-in of a class that has the special methods of the object's class."""
    key = (claim.label, specials)
    if key not in _object_classes:
        _object_classes[key] = type(claim.label, (HostObject,), {name: _method(name) for name in specials})
    return _object_classes[key](claim)


io.TextIOBase.register(HostText)
io.BufferedIOBase.register(HostBytes)

MAKERS: dict[str, Callable[..., StandIn]] = {
    "function": HostFunction, "async function": AsyncHostFunction, "iterator": HostIterator,
    "generator": HostGenerator,
    "sort key": HostKey, "text": HostText, "file": HostBytes, "object": _host_object,
}  # fmt: skip
