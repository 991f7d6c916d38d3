"""Host to companion: anything that pickles; proxies and callbacks go by number (both sides).

The companion may trust the host, so this direction is cloudpickle; the other one never is. The host
packs, the companion unpacks.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from typing import Any

import cloudpickle

from isolate_magic.errors import TransferError
from isolate_magic.link import shared
from isolate_magic.link.awaiting import asynchronous
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.foreign import torch as foreign_torch
from isolate_magic.link.functions import may_stay, shape, travels
from isolate_magic.link.lending import kind_of
from isolate_magic.link.proxy import Method, claim_of
from isolate_magic.link.reference import ByRef
from isolate_magic.link.refs import Claim

_ADVICE = "Make the object there instead, or pass the plain data it is made from"
_FAILURES = (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError)


class Travelling:
    """Mark a function that shall run in the companion whatever it refers to."""

    __slots__ = ("function",)

    def __init__(self, function: Any) -> None:
        self.function = function


class HostError(Exception):
    """Stand for an exception of the main session that cannot travel as itself."""


class Packer(cloudpickle.Pickler):
    """Pickle host objects for one companion.

    Args:
        file: where the pickle goes.
        owner: the conversation; it lends functions and knows its own proxies.
        beside: gets the buffers that travel beside the pickle.
        careful: whether an exception that does not pickle shall travel as a `HostError`.
    """

    def __init__(
        self, file: Any, owner: Any, beside: list[pickle.PickleBuffer], careful: bool = True
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=beside.append)
        self.owner = owner
        self.lent: list[int] = []
        self.scattered: dict[int, Any] = {}
        self._careful = careful
        self._sent: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what pickle would get wrong: proxies, functions that must stay, arrays."""
        if type(obj) is Method:
            obj = obj.fetch()
        claim = claim_of(obj)
        if claim is not None:
            return _own, (self.owner.number_of(claim),)
        if type(obj) is ByRef or kind_of(obj):
            return self._in_place(obj)
        if may_stay(obj) and id(obj) not in self._sent and not travels(obj):
            kind = "async function" if asynchronous(obj) else "function"
            return _stand_in, (self._lend(obj), kind, _name(obj), shape(obj))
        foreign = self._foreign(obj)
        if foreign is not None:
            return foreign
        special = _SPECIAL.get(type(obj))
        if special is not None:
            return special(self, obj)
        if isinstance(obj, BaseException):
            return self._error(obj)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and reduced is not NotImplemented and obj.__module__ != "builtins":
            maker, args, *rest = reduced
            return _copied_class, (self._lend(obj), maker, args), *rest
        if type(obj) is types.FunctionType and reduced is not NotImplemented and id(obj) not in self._sent:
            maker, args, *rest = reduced
            return _copied_function, (self._lend(obj), maker, args), *rest
        return reduced

    def roll_back(self) -> None:
        """Take back what was lent for a pickle that is not sent."""
        for number in self.lent:
            self.owner.lent.drop((number, 1))

    def _lend(self, obj: Any) -> int:
        number: int = self.owner.lend(obj)
        self.lent.append(number)
        return number

    def _travelling(self, obj: Travelling) -> Any:
        self._sent.add(id(obj.function))
        return _same, (obj.function,)

    def _in_place(self, obj: Any) -> Any:
        if type(obj) is ByRef:
            return _stand_in, (self._lend(obj), "object", type(obj.thing).__name__, obj.specials())
        kind = kind_of(obj)
        if kind == "file" and (isinstance(obj, io.TextIOBase) or hasattr(obj, "encoding")):
            kind = "text"
        return _stand_in, (self._lend(obj), kind, f"{kind} {getattr(obj, 'name', type(obj).__name__)}")

    def _foreign(self, obj: Any) -> Any:
        """Reduce an array or a tensor, or return None for all else; NotImplemented leaves it to pickle."""
        if type(obj).__name__ == "ndarray" and type(obj).__module__ == "numpy":
            reduced = shared.reduce_array(obj) or foreign_numpy.reduce_array(obj, self.scattered)
            return reduced or NotImplemented
        if foreign_torch.is_tensor(obj):
            return foreign_torch.reduce_tensor(obj) or NotImplemented
        return None

    def _segment(self, obj: Any) -> Any:
        return _own, (self.owner.arguments.number_of_segment(obj),)

    def _error(self, error: BaseException) -> Any:
        """Reduce an exception so that it is the same object again when it comes back."""
        text = f"{type(error).__name__}: {error}"
        reduced: Any = error.__reduce_ex__(5)
        maker, args, *rest = reduced
        if rest and isinstance(rest[0], dict):
            rest[0] = {name: value for name, value in rest[0].items() if not name.startswith("_isolate_")}
        if self._careful:
            trial = Packer(io.BytesIO(), self.owner, [], careful=False)
            try:
                trial.dump((maker, args, rest))
            except _FAILURES:
                maker, args, rest = HostError, (text,), []
            finally:
                trial.roll_back()
        return _host_error, (self._lend(error), text, maker, args), *rest


_SPECIAL: dict[type, Any] = {
    Travelling: Packer._travelling,
    shared.Segment: Packer._segment,
    types.TracebackType: lambda packer, obj: (_nothing, ()),  # `__exit__` gets one; its frames stay here
    memoryview: lambda packer, obj: (memoryview, (bytes(obj),)),
    types.MappingProxyType: lambda packer, obj: (types.MappingProxyType, (dict(obj),)),
    type({}.keys()): lambda packer, obj: (_view, ("keys", dict.fromkeys(obj))),
    type({}.values()): lambda packer, obj: (_view, ("values", dict(enumerate(obj)))),
    type({}.items()): lambda packer, obj: (_view, ("items", dict(obj))),
}


def pack(value: Any, owner: Any) -> tuple[bytes, list[Any]]:
    """Pickle `value` for the companion of `owner`.

    Returns:
        the pickle, and beside it flat buffers, or arrays with gaps whose bytes are meant.

    Raises:
        TransferError: something in `value` cannot travel; the text says what, and what to do.
    """
    file, beside = io.BytesIO(), list[pickle.PickleBuffer]()
    packer = Packer(file, owner, beside)
    try:
        packer.dump(value)
        return file.getvalue(), [_beside(packer, buffer) for buffer in beside]
    except BaseException as error:
        packer.roll_back()
        if isinstance(error, TransferError) or not isinstance(error, _FAILURES):
            raise
        raise TransferError(
            f"{_culprit(value, owner)} cannot travel to companion {owner.name!r}: {error}. {_ADVICE}"
        ) from error


def _beside(packer: Packer, buffer: pickle.PickleBuffer) -> Any:
    scattered = packer.scattered.get(id(buffer))
    return buffer.raw() if scattered is None else scattered


def _culprit(value: Any, owner: Any) -> str:
    """Say which argument it was; arguments come as a tuple and a dict."""
    match value:
        case (Travelling(), tuple(args), dict(named)), {}:
            pass  # `companion.call(function, ...)`: the caller counts from its own first argument
        case (tuple(args), dict(named)):
            pass
        case _:
            return "this value"
    for label, item in (*enumerate(args, 1), *named.items()):
        if not _packs(item, owner):
            kind = type(item)
            full = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
            return f"argument {label!r}, of type {full},"
    return "this value"


def _packs(value: Any, owner: Any) -> bool:
    trial = Packer(io.BytesIO(), owner, [])
    try:
        trial.dump(value)
    except _FAILURES:
        return False
    finally:
        trial.roll_back()
    return True


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


here: Any = None
"""The companion's own conversation, set once after the fork; only `unpack` needs it."""


def unpack(data: Any, buffers: list[Any]) -> Any:
    """Load what `pack` made (companion only: it trusts the host).

    Raises:
        TransferError: a class or module of the pickle cannot be had here.
    """
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:  # border: unpickling runs the classes' own code
        raise TransferError(
            f"the arguments cannot be made in the companion: {type(error).__name__}: {error}. The modules "
            "and classes they need must be importable there"
        ) from error


def _own(number: int) -> Any:
    return here.lent[number]


def _same(function: Any) -> Any:
    return function


def _nothing() -> None:
    return None


def _view(kind: str, mapping: dict[Any, Any]) -> Any:
    return getattr(mapping, kind)()


def _stand_in(number: int, kind: str, name: str, *told: Any) -> Any:
    return here.stand_in(number, kind, name, *told)


def _copied_class(number: int, maker: Any, args: Any) -> Any:
    cls = maker(*args)
    here.adopt(cls, number)
    return cls


def _copied_function(number: int, maker: Any, args: Any) -> Any:
    return here.copied(number, maker, args)


def _host_error(number: int, text: str, maker: Any, args: Any) -> BaseException:
    claim = Claim(here, number, text)
    try:
        error = maker(*args)
    except Exception:  # border: the class's own `__init__`, which may want other arguments than `args`
        error = maker.__new__(maker, *args) if isinstance(maker, type) else HostError(text)
    error.__dict__["_isolate_"] = claim
    return error  # type: ignore[no-any-return]
