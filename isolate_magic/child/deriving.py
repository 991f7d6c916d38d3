"""Classes that a class statement of the main session asks for (companion)."""

from __future__ import annotations

import sys
import types
from typing import Any


def derive(name: str, bases: tuple[type, ...], space: dict[str, Any], options: dict[str, Any]) -> type:
    """Make a class, as the class statement would have here.

    Args:
        name: its name.
        bases: its bases, or what stands for them through `__mro_entries__`.
        space: its namespace.
        options: the keyword arguments of the class statement; `metaclass` among them.
    """

    def fill(namespace: Any) -> None:
        for key, value in space.items():
            namespace[key] = value  # one by one: the namespace of an Enum counts
        if namespace.get("__module__") not in sys.modules:
            namespace["__module__"] = "__main__"  # where dataclasses, say, look for the names in annotations

    made = types.new_class(name, bases, options, fill)
    for value in space.values():
        _tie(value, made, set())
    return made


def upward(home: type, target: Any, name: str) -> Any:
    """Return what `super()` finds in a method of the class below `home`: the attribute from there on up.

    Raises:
        AttributeError: no class from `home` on has it.
    """
    line = type(target).__mro__
    for up in line[line.index(home) :]:
        if name in vars(up):
            found = vars(up)[name]
            return found.__get__(target, type(target)) if hasattr(type(found), "__get__") else found
    raise AttributeError(f"'super' object has no attribute {name!r}")


def _tie(value: Any, made: type, seen: set[int]) -> None:
    """Fill the empty cells through which the methods' `super()` finds its class."""
    if id(value) in seen:
        return
    seen.add(id(value))
    for part in ("__func__", "__wrapped__", "fget", "fset", "fdel", "func"):
        inner = getattr(value, part, None)
        if inner is not None:
            _tie(inner, made, seen)
    if type(value) is not types.FunctionType:
        return
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            _tie(cell.cell_contents, made, seen)
        except ValueError:  # an empty cell
            if name == "__class__":
                cell.cell_contents = made
