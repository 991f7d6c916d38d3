"""Objects of the main session that the user gives by reference: `byref(x)` (host)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from isolate_magic.link.mirror import SPECIAL
from isolate_magic.link.proxy import isproxy
from isolate_magic.link.restoring import mutable
from isolate_magic.link.values import PLAIN

_ATTRIBUTE: dict[str, Callable[..., Any]] = {
    "__getattr__": getattr, "__setattr__": setattr, "__delattr__": delattr,
}  # fmt: skip
_TEXT = ("__repr__", "__str__", "__format__")


class ByRef:
    """Say of an object that a companion shall use it in place.

    Args:
        thing: the object.
    """

    __slots__ = ("__weakref__", "thing")

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def specials(self) -> tuple[str, ...]:
        """Return the special methods of the object that its stand-in shall have."""
        kind = type(self.thing)
        return tuple(sorted(name for name in (*SPECIAL, *_TEXT) if getattr(kind, name, None) is not None))

    def use(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Do what the companion asks: a public attribute, or a special method.

        Raises:
            AttributeError: the attribute is a private one.
        """
        if name in _ATTRIBUTE:
            attribute, *value = args
            if not isinstance(attribute, str) or attribute.startswith("_"):
                raise AttributeError(f"{str(attribute)[:60]!r} is not used by reference: it is private")
            return _further(_ATTRIBUTE[name](self.thing, attribute, *value))
        return _further(getattr(type(self.thing), name)(self.thing, *args, **kwargs))


def _further(found: Any) -> Any:
    """Give by reference what an object leads to, where a change of a copy would be lost."""
    return byref(found) if mutable(type(found)) else found


_made: weakref.WeakValueDictionary[int, ByRef] = weakref.WeakValueDictionary()


def byref(thing: Any) -> Any:
    r"""Mark an argument that shall stay here and be used from there, instead of being copied.

    The companion gets a stand-in: attributes without a leading underscore, method calls and operators
    reach the object itself, each with a call back; so do those of the lists, dicts and plain objects that
    it leads to. It comes back as the very object.

    Args:
        thing: any object; plain values and proxies are returned as they are.

    >>> class Tally:
    ...     count = 0
    >>> tally = Tally()
    >>> from isolate_magic import Companion
    >>> with Companion("byref-demo") as companion:
    ...     companion.run("def add(t): t.count += 1; return t\nadd")(byref(tally)) is tally
    True
    >>> tally.count
    1
    """
    if type(thing) in PLAIN or isproxy(thing) or type(thing) is ByRef:
        return thing
    found = _made.get(id(thing))
    if found is None:
        _made[id(thing)] = found = ByRef(thing)
    return found
