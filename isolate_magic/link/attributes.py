"""Methods and properties of remote classes, as who looks statically finds them in a mirror (host).

jedi, pydoc and `inspect.getattr_static` look into the class first, and leave alone what has a `__get__`
there: so Tab runs no property of the companion, and `help` lists what a class has.
"""

from __future__ import annotations

from typing import Any

from isolate_magic.link.proxy import BLOCKED, Method


class Attribute:
    """Stand for a descriptor of a remote class; Python passes it by and asks the proxy's `__getattr__`.

    Args:
        name: its name.
    """

    __slots__ = ("__name__", "original")

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.original: Any = None  # the remote descriptor, once the class's attribute has been set from here

    def __get__(self, proxy: Any, kind: Any = None) -> Any:
        raise AttributeError(self.__name__)


class Routine(Attribute):
    """Stand for a method of a remote class; on a proxy it is a `Method`, without a round trip."""

    __slots__ = ()

    def __get__(self, proxy: Any, kind: Any = None) -> Any:
        if proxy is None:
            raise AttributeError(self.__name__)
        return Method(proxy, self.__name__)


def attributes(methods: tuple[str, ...], descriptors: tuple[str, ...]) -> dict[str, Attribute]:
    """Return what the mirror of a class shall have for these names, which the companion has chosen."""
    return {
        name: kind(name)
        for kind, names in ((Routine, methods), (Attribute, descriptors))
        for name in names
        if name.isidentifier() and not name.startswith("_") and name not in BLOCKED
    }
