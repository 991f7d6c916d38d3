"""`byvalue` as data: containers, the standard collections, dataclasses, arrays, tables (both sides).

`Copier` runs in the companion and turns an object into frame values; `rebuild` runs in the host and
makes the object again from a fixed list of types. Nothing here imports or looks up a class by name,
but dataclasses that the host has imported already.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

from isolate_magic.errors import TransferError
from isolate_magic.link import frames as f
from isolate_magic.link import values
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.foreign import pandas as foreign_pandas
from isolate_magic.link.foreign import torch as foreign_torch

_FACTORIES: dict[str, type] = {cls.__name__: cls for cls in (list, dict, set, int, float, str, bool, tuple)}


class NoData(TypeError):
    """Say that an object is no data; the copy then goes by pickle, or is refused."""


class UnknownClass(TransferError):
    """Say that a dataclass came whose class this session has not imported, or knows otherwise."""


class Copier:
    """Turn one object, with all that is in it, into frame values.

    Args:
        park: keeps a buffer in this process and returns where it lies.
        record: returns the number of a namedtuple's class.
        lend: if given, wraps what is no data; without it such an object makes the whole copy fail.
    """

    def __init__(
        self,
        park: Callable[[Any], Any],
        record: Callable[[Any], int | None],
        lend: Callable[[Any], Any] | None = None,
    ) -> None:
        self.park = park
        self.record = record
        self.lend = lend
        self._seen: dict[int, Any] = {}  # the objects too, or a number could be used again

    def copy(self, value: Any) -> Any:
        """Return the frame value of `value`.

        Raises:
            NoData: some object in it is no data, or is in it twice, or lies too deep.
        """
        try:
            return values.wrap(value, self._other)
        except (RecursionError, ValueError) as error:
            raise NoData(str(error)) from error

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is bytes:
            return f.ByteArray(self.park(value), True)
        if kind.__module__ == "numpy" or kind.__module__.partition(".")[0] in ("pandas", "torch"):
            return self._foreign(value, lambda item: values.wrap(item, self._other, depth + 1))
        if issubclass(kind, tuple) and (number := self.record(value)) is not None:
            return f.Record(number, tuple(values.wrap(item, self._other, depth + 1) for item in value))
        maker = _COPY.get(kind)
        if maker is None and dataclasses.is_dataclass(kind):
            maker = _dataclass
        if maker is None:
            if self.lend is not None:
                return self.lend(value)
            raise NoData(f"{kind.__module__}.{kind.__qualname__}")
        if id(value) in self._seen:
            raise NoData(f"the same {kind.__name__} twice")
        self._seen[id(value)] = value
        return maker(value, lambda item: values.wrap(item, self._other, depth + 1), self.park)

    def _foreign(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        kind = type(value)
        if kind.__name__ == "ndarray":
            if id(value) in self._seen:
                raise NoData("the same array twice")
            self._seen[id(value)] = value
            return foreign_numpy.wrap_array(value, inner, self.park)
        made: Any = None
        if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
            made = foreign_numpy.wrap_scalar(value)
        elif foreign_torch.is_tensor(value):
            if id(value) in self._seen:
                raise NoData("the same tensor twice")
            self._seen[id(value)] = value
            made = foreign_torch.wrap_tensor(value, inner)
        elif kind.__module__.startswith("pandas"):
            made = foreign_pandas.wrap_table(value, inner)
        if made is None and self.lend is not None:
            return self.lend(value)
        if made is None:
            raise NoData(f"{kind.__module__}.{kind.__qualname__}")
        return made


_Inner = Callable[[Any], Any]


def _pairs(value: Any, inner: _Inner) -> tuple[Any, ...]:
    return tuple((inner(key), inner(item)) for key, item in value.items())


def _defaultdict(value: Any, inner: _Inner, _park: Any) -> Any:
    factory = value.default_factory
    if factory is not None and _FACTORIES.get(factory.__name__) is not factory:
        raise NoData("a defaultdict with a factory of its own")
    return f.Dict(_pairs(value, inner), "defaultdict", None if factory is None else factory.__name__)


def _dataclass(value: Any, inner: _Inner, _park: Any) -> Any:
    kind = type(value)
    names = [field.name for field in dataclasses.fields(value)]
    if set(getattr(value, "__dict__", names)) - set(names):
        raise NoData(f"{kind.__qualname__} with attributes beside its fields")
    pairs = tuple((name, inner(getattr(value, name))) for name in names)
    return f.Data(kind.__module__, kind.__qualname__, pairs)


_COPY: dict[type, Callable[[Any, _Inner, Any], Any]] = {
    list: lambda v, inner, park: f.List(tuple(map(inner, v))),
    dict: lambda v, inner, park: f.Dict(_pairs(v, inner)),
    set: lambda v, inner, park: f.Set(tuple(map(inner, v))),
    bytearray: lambda v, inner, park: f.ByteArray(park(v)),
    collections.OrderedDict: lambda v, inner, park: f.Dict(_pairs(v, inner), "OrderedDict"),
    collections.Counter: lambda v, inner, park: f.Dict(_pairs(v, inner), "Counter"),
    collections.defaultdict: _defaultdict,
    collections.deque: lambda v, inner, park: f.Deque(tuple(map(inner, v)), v.maxlen),
    collections.ChainMap: lambda v, inner, park: f.Dict((), "ChainMap", f.Tuple(tuple(map(inner, v.maps)))),
}


def rebuild(value: Any, inner: _Inner, body: Callable[[Any], Any], fill: Callable[..., Any]) -> Any:
    """Make a copied container, array or table again (host).

    Args:
        value: the struct.
        inner: makes the values inside it.
        body: returns the bytes of a buffer.
        fill: copies a buffer to an address of ours.

    Raises:
        UnknownClass: a dataclass that this process has not imported.
        ValueError, TypeError: the parts do not fit each other.
    """
    maker = _REBUILD.get(type(value))
    if maker is not None:
        return maker(value, inner)
    if isinstance(value, f.ByteArray):
        data = body(value.data)
        return bytes(data) if value.frozen else bytearray(data)
    if isinstance(value, f.Array):
        return foreign_numpy.unwrap_array(value, inner, fill)
    if isinstance(value, f.Scalar):
        return foreign_numpy.unwrap_scalar(value)
    if isinstance(value, f.Tensor):
        return foreign_torch.unwrap_tensor(value, inner)
    if isinstance(value, f.Table):
        return foreign_pandas.unwrap_table(value, inner)
    raise ValueError(f"a {type(value).__name__} where a value belongs")


def _dict(value: f.Dict, inner: _Inner) -> Any:
    pairs = [(inner(key), inner(item)) for key, item in value.pairs]
    if value.kind == "dict":
        return values.gathered({}, pairs)
    if value.kind == "OrderedDict":
        return values.gathered(collections.OrderedDict(), pairs)
    if value.kind == "Counter":
        return collections.Counter(values.gathered({}, pairs))
    if value.kind == "defaultdict":
        factory = _FACTORIES[value.extra] if isinstance(value.extra, str) else None
        return values.gathered(collections.defaultdict(factory), pairs)
    if value.kind == "ChainMap":
        return collections.ChainMap(*inner(value.extra))
    raise ValueError(f"{value.kind[:60]!r} is no mapping that travels")


def parts(value: Any) -> Iterator[Any]:
    """Yield a frame value and everything inside it."""
    yield value
    inside = value if isinstance(value, tuple) else ()
    if isinstance(value, f.Wire):
        inside = tuple(getattr(value, name) for name in value.__struct_fields__)
    elif isinstance(value, dict):
        inside = tuple(value.values())
    for part in inside:
        yield from parts(part)


def class_of(value: f.Data) -> type:
    """Return the dataclass that a value names; raises UnknownClass if this session has not imported it."""
    found: Any = sys.modules.get(value.module)
    for part in value.name.split("."):
        found = vars(found).get(part) if found is not None else None
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise UnknownClass(f"{value.module}.{value.name} is no dataclass that this session has imported")
    names = {field.name for field in dataclasses.fields(found)}
    if names != {name for name, _ in value.fields}:
        raise UnknownClass(f"{value.module}.{value.name} has other fields here")
    return found


def _data(value: f.Data, _inner: _Inner) -> Any:
    found = class_of(value)
    made: Any = object.__new__(found)
    for name, item in value.fields:
        object.__setattr__(made, name, _inner(item))
    return made


_REBUILD: dict[type, Callable[[Any, _Inner], Any]] = {
    f.List: lambda v, inner: list(map(inner, v.items)),
    f.Set: lambda v, inner: values.gathered(set(), list(map(inner, v.items))),
    f.Deque: lambda v, inner: collections.deque(map(inner, v.items), v.maxlen),
    f.Dict: _dict,
    f.Data: _data,
}
