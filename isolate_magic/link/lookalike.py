"""Classes of this session that proxies pass for: `isinstance(proxy, list)` says yes (host)."""

from __future__ import annotations

import collections
import collections.abc
import numbers
import types
from collections.abc import Iterable, Iterator
from typing import Any

_CLASSES: tuple[Any, ...] = (
    list, dict, set, frozenset, tuple, bytearray, collections.deque, collections.OrderedDict,
    collections.defaultdict, collections.Counter, collections.ChainMap, type({}.keys()), type({}.values()),
    type({}.items()), types.MappingProxyType, types.GeneratorType, types.FunctionType,
    types.BuiltinFunctionType, types.MethodType, types.CoroutineType, types.AsyncGeneratorType,
)  # fmt: skip
REAL: dict[str, type] = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in _CLASSES}
"""By the full name of the remote class, the class here that its instances pass for."""

CONCATENATED = frozenset({list, tuple, bytearray, collections.deque})
"""Those whose `+` is in C and does not know the proxy on its right."""

_ABSTRACT: dict[str, Any] = {
    f"{home.__name__}.{name}": getattr(home, name)
    for home, names in (
        (collections.abc, collections.abc.__all__),
        (numbers, ("Number", "Complex", "Real", "Rational", "Integral")),
    )
    for name in names
}


def abstracts(names: Iterable[str], real: type | None) -> Iterator[Any]:
    """Yield the abstract classes here that a mirror shall be registered with.

    Args:
        names: the full names of the remote class and those above it; standard ABCs have twins here.
        real: the class here that its instances pass for, or None.
    """
    yield from (_ABSTRACT[name] for name in names if name in _ABSTRACT)
    if real is not None:
        yield from (abstract for abstract in _ABSTRACT.values() if issubclass(real, abstract))
