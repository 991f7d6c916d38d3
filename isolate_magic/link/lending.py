"""Objects of the main session that are used in place: iterators, open files, sort keys (both sides).

A copy of them would not do: a generator does not pickle, and what a copied file reads or writes would
be lost here. The companion gets a stand-in. It may use the methods listed below and nothing else: the
host looks its own object up in this list, whatever the companion asks for.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Generator, Iterator
from typing import Any

_ORDER = frozenset({"__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"})
_FILE = frozenset({
    "read", "read1", "readline", "readlines", "write", "writelines", "seek", "tell", "truncate", "flush",
    "close", "isatty", "readable", "writable", "seekable", "getvalue", "closed", "name", "mode", "encoding",
    "errors", "newlines", "__next__",
})  # fmt: skip
_OFFERS: dict[str, frozenset[str]] = {
    "iterator": frozenset({"__next__", "__length_hint__"}),
    "generator": frozenset({"__next__", "send", "throw", "close"}),
    "sort key": _ORDER,
    "file": _FILE,
}
_KEY: Any = type(functools.cmp_to_key(lambda a, b: 0))


def kind_of(thing: Any) -> str:
    """Return which kind of object used in place this is; "" if it is none.

    >>> kind_of(iter([1])), kind_of([1])
    ('iterator', '')
    """
    kind = type(thing)
    if kind is _KEY:
        return "sort key"
    if issubclass(kind, io.IOBase):
        return "file"
    if not hasattr(kind, "__next__"):
        return ""
    if issubclass(kind, Generator):
        return "generator"
    return "iterator" if issubclass(kind, Iterator) else ""


def offers(thing: Any) -> frozenset[str]:
    """Return the names of the methods and attributes of `thing` that the companion may use."""
    return _OFFERS.get(kind_of(thing), frozenset())
