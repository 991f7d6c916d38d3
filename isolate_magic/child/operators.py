"""What a special method means when the host calls it by name (companion)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

_OPERATORS: dict[str, Callable[..., Any]] = {
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__contains__": operator.contains,
    "__len__": len,
    "__iter__": iter,
    "__next__": next,
    "__reversed__": reversed,
    "__bool__": bool,
    "__hash__": hash,
    "__str__": str,
    "__bytes__": bytes,
    "__repr__": repr,
    "__format__": format,
    "__dir__": lambda target: tuple(name for name in dir(target) if type(name) is str),
    "__radd__": lambda target, left: operator.add(left, target),
    "__instancecheck__": lambda target, thing: isinstance(thing, target),
    "__setattr__": setattr,
    "__delattr__": delattr,
}
"""Special methods whose function knows more than the method: `len` of an Enum class, say."""

_REFLECTED = {
    "__eq__": "__eq__", "__ne__": "__ne__", "__lt__": "__gt__", "__le__": "__ge__", "__gt__": "__lt__",
    "__ge__": "__le__",
    **{f"__{name}__": f"__r{name}__" for name in (
        "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift",
        "and", "xor", "or",
    )},
}  # fmt: skip
"""For an operator's method, that of the other operand."""


def method(target: Any, name: str) -> Callable[..., Any]:
    """Return what calling the method `name` of `target` means."""
    function = _OPERATORS.get(name)
    if function is not None:
        return partial(function, target)
    if name not in _REFLECTED:
        found: Callable[..., Any] = getattr(target, name)
        return found
    return partial(_reflected, getattr(type(target), name), _REFLECTED[name], target)


def _reflected(method: Callable[..., Any], reflected: str, target: Any, other: Any, *rest: Any) -> Any:
    """Call an operator's method; ask the other operand, as Python does, where that does not know."""
    kind = type(other)
    if reflected == "__radd__" and hasattr(kind, "__radd__"):
        return operator.add(target, other)  # `list.__add__` raises where it should say NotImplemented
    answer = method(target, other, *rest)
    if answer is NotImplemented and kind is not type(target) and hasattr(kind, reflected) and not rest:
        return getattr(kind, reflected)(other, target)
    return answer
