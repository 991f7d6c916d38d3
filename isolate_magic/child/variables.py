"""What the cells have bound, told without running any code of the objects' own (companion)."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

_MOST = 1000  # names
_ITEMS = 6  # of a container that are shown
_DEPTH = 2
_TEXT = 80
_DIGITS = 1 << 10  # bits of a number that is written out
_LISTS: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", deque: "[]"}
_MAPPINGS = (dict, OrderedDict, defaultdict)
_TEXTS = (str, bytes, bytearray)
OWN = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
_COUNTED = ("numpy.ndarray", "pandas.DataFrame", "pandas.Series", "pandas.core.frame.DataFrame",
            "pandas.core.series.Series", "torch.Tensor", "polars.dataframe.frame.DataFrame",
            "polars.series.series.Series")  # fmt: skip


def rows(shell: Any) -> tuple[tuple[str, str, str, str], ...]:
    """Return name, type, size and a short text of each variable, in the order of their names."""
    return tuple(
        (name, _title(type(value)), _size(value), short(value))
        for name, value in islice(sorted(_bound(shell), key=lambda pair: pair[0]), _MOST)
    )


def _bound(shell: Any) -> Iterator[tuple[str, Any]]:
    hidden = shell.user_ns_hidden
    for name, value in list(shell.user_ns.items()):
        if type(name) is str and name[:1] != "_" and name not in OWN and hidden.get(name, OWN) is not value:
            yield name, value


def _title(kind: type) -> str:
    module, name = _names(kind)
    return name if module == "builtins" else f"{module}.{name}"


def _names(kind: type) -> tuple[str, str]:
    """Return module and name of a class; a metaclass of the user's is not asked."""
    module = type.__getattribute__(kind, "__module__")
    return (module if type(module) is str else "?"), type.__dict__["__qualname__"].__get__(kind)


def _size(value: Any) -> str:
    kind = type(value)
    if kind in _LISTS or kind in _MAPPINGS:
        return _count(len(value), "item")
    if kind is str:
        return _count(len(value), "character")
    if kind in _TEXTS:
        return _count(len(value), "byte")
    if ".".join(_names(kind)) not in _COUNTED or _names(kind)[0].partition(".")[0] not in sys.modules:
        return ""
    shape = " x ".join(f"{length:,}" for length in value.shape)
    dtype = getattr(value, "dtype", None)
    return shape if dtype is None else f"{shape or 'scalar'} {dtype}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def short(value: Any, depth: int = _DEPTH) -> str:
    """Return a short text of a value; of what is not Python's own, only what it is."""
    kind = type(value)
    if kind in _TEXTS:
        text = repr(value[:_TEXT])
        return text if len(value) <= _TEXT else f"{text}..."
    if kind is int:
        return repr(value) if value.bit_length() <= _DIGITS else f"an int of {value.bit_length():,} bits"
    if kind in (bool, float, complex, type(None), type(...), range) or kind is slice:
        return repr(value)[:_TEXT]
    if kind in _LISTS:
        brackets = _LISTS[kind]
        return _few((short(item, depth - 1) for item in value), len(value), depth).join(brackets)
    if kind in _MAPPINGS:
        pairs = (f"{short(key, depth - 1)}: {short(item, depth - 1)}" for key, item in value.items())
        return _few(pairs, len(value), depth).join("{}")
    return f"<{_described(value)}>"


def _few(items: Iterator[str], length: int, depth: int) -> str:
    if depth <= 0:
        return "..." if length else ""
    return ", ".join(islice(items, _ITEMS)) + (", ..." if length > _ITEMS else "")


def _described(value: Any) -> str:
    kind = type(value)
    if kind is types.ModuleType:
        return f"module {types.ModuleType.__getattribute__(value, '__name__')}"
    if kind is types.FunctionType:
        return f"function {value.__qualname__}"
    if kind is types.BuiltinFunctionType:
        return f"built-in function {value.__qualname__}"
    if issubclass(kind, type):  # isinstance would ask the value's own `__class__`
        return f"class {_title(value)}"
    return f"{_title(kind)} object"
