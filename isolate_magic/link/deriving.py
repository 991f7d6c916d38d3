"""Class statements that derive from a class of a companion: the new class is made there (host).

Its methods travel as functions do: they run in the companion, beside the code that calls them, or are
called back where they use something of this session. What the statement leaves here is the mirror.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from isolate_magic.errors import NotSupported
from isolate_magic.link.attributes import Attribute
from isolate_magic.link.functions import travels
from isolate_magic.link.proxy import Proxy, claim_of

_GENERAL = (
    "__init__", "__repr__", "__str__", "__format__", "__setattr__", "__delattr__", "__dir__", "__sizeof__",
)  # fmt: skip


def derive(name: str, bases: tuple[type, ...], space: dict[str, Any], options: dict[str, Any]) -> Any:
    """Make a class in the companion of its bases and return its mirror.

    Args:
        name: the class's name.
        bases: its bases; those of this session travel as copies.
        space: what the class body has defined.
        options: the keyword arguments of the class statement.

    Raises:
        NotSupported: a method of an exception or a tuple uses `super()` and cannot travel.
        TransferError: the bases live in two companions, or something in `space` cannot travel.
        StaleProxyError: the companion of a base is dead.
    """
    __tracebackhide__ = True
    cell = space.pop("__classcell__", None)
    staying = [key for key, function in _functions(space) if _calls_super(function) and not travels(function)]
    if staying and not all(issubclass(base, Proxy) for base in bases if claim_of(base) is not None):
        raise NotSupported(
            f"method {staying[0]!r} of class {name} uses super() and something that stays in this session, "
            "a list, say, or a global it writes. Define a class of exceptions or tuples in an %%isolated cell"
        )
    claim = next(found for base in bases if (found := claim_of(base)) is not None)
    if claim.owner.closed:
        claim.owner.refuse(claim)
    made = claim.owner.ask("derive", name, bases, space, options)
    if staying and not _is_of(claim.owner, made):  # it would be a class of this session that is changed
        raise claim.owner.break_off(f"what it made of the statement of class {name} is no class of its own")
    if cell is not None:
        cell.cell_contents = made
    if staying:
        _teach(made, space)
    return made


def _functions(space: dict[str, Any]) -> Iterator[tuple[str, types.FunctionType]]:
    for key, value in space.items():
        parts = [getattr(value, part, None) for part in ("__func__", "fget", "fset", "fdel", "func")]
        yield from ((key, part) for part in (value, *parts) if type(part) is types.FunctionType)


def _calls_super(function: types.FunctionType) -> bool:
    return "__class__" in function.__code__.co_freevars


class Upward:
    """Be a name of a base class, which `super()` in a method that runs here finds: it is looked up there.

    Args:
        name: the name.
        home: the mirror of the base class.
        usual: what the mirror had before, for everybody but `super()`.
    """

    def __init__(self, name: str, home: type, usual: Any) -> None:
        self.__name__ = name
        self._home = home
        self._usual = usual

    def __get__(self, proxy: Any, kind: Any = None) -> Any:
        name = self.__name__
        first = next(vars(up)[name] for up in kind.__mro__ if name in vars(up))
        if proxy is None or first is self:
            return self._usual.__get__(proxy, kind)
        return proxy._isolate_.owner.ask("upward", self._home, proxy, name)


def _is_of(owner: Any, made: Any) -> bool:
    """Return whether this is the mirror of a class of a companion, whose instances are proxies."""
    claim = claim_of(made) if issubclass(type(made), type) and issubclass(made, Proxy) else None
    return claim is not None and claim.owner is owner


def _teach(made: Any, space: dict[str, Any]) -> None:
    """Let `super()` work here in the methods of a class: the mirrors above it tell who is asking."""
    for name in _GENERAL:
        if name in space:
            type.__setattr__(made, name, getattr(Proxy, name))
    for home in made.__mro__[1:]:
        if claim_of(home) is None or not issubclass(home, Proxy):
            continue
        for name, usual in list(vars(home).items()):
            if isinstance(usual, (Attribute, types.FunctionType)):
                type.__setattr__(home, name, Upward(name, home, usual))
        for name in _GENERAL:
            if name not in vars(home):
                type.__setattr__(home, name, Upward(name, home, getattr(Proxy, name)))
