"""Class statements that derive from a class of a companion: the new class is made there (host).

Its methods travel as functions do: they run in the companion, beside the code that calls them, or are
called back where they use something of this session. What the statement leaves here is the mirror.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from isolate_magic.errors import NotSupported
from isolate_magic.link.functions import travels
from isolate_magic.link.proxy import claim_of


def derive(name: str, bases: tuple[type, ...], space: dict[str, Any], options: dict[str, Any]) -> Any:
    """Make a class in the companion of its bases and return its mirror.

    Args:
        name: the class's name.
        bases: its bases; those of this session travel as copies.
        space: what the class body has defined.
        options: the keyword arguments of the class statement.

    Raises:
        NotSupported: a method uses `super()` and cannot travel.
        TransferError: the bases live in two companions, or something in `space` cannot travel.
        StaleProxyError: the companion of a base is dead.
    """
    __tracebackhide__ = True
    cell = space.pop("__classcell__", None)
    for key, function in _functions(space):
        if "__class__" in function.__code__.co_freevars and not travels(function):
            raise NotSupported(
                f"method {key!r} of class {name} uses super() and something that must stay in this session: "
                "a list, dict or instance of yours, or a global it writes. Give it that as an argument, or "
                "define the class in an %%isolated cell"
            )
    claim = next(found for base in bases if (found := claim_of(base)) is not None)
    if claim.owner.closed:
        claim.owner.refuse(claim)
    made = claim.owner.ask("derive", name, bases, space, options)
    if cell is not None:
        cell.cell_contents = made
    return made


def _functions(space: dict[str, Any]) -> Iterator[tuple[str, types.FunctionType]]:
    for key, value in space.items():
        parts = [getattr(value, part, None) for part in ("__func__", "fget", "fset", "fdel", "func")]
        yield from ((key, part) for part in (value, *parts) if type(part) is types.FunctionType)
