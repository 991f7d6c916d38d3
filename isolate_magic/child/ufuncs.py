"""Functions of numpy that the host calls with proxies (companion)."""

from __future__ import annotations

import importlib
import operator
from typing import Any

_OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "true_divide": operator.truediv, "floor_divide": operator.floordiv, "remainder": operator.mod,
    "power": operator.pow, "matmul": operator.matmul, "bitwise_and": operator.and_,
    "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "left_shift": operator.lshift,
    "right_shift": operator.rshift, "divmod": divmod, "equal": operator.eq, "not_equal": operator.ne,
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
}  # fmt: skip


def ufunc(name: tuple[str, str], method: str, inputs: Any, options: dict[str, Any]) -> Any:
    """Call a ufunc, given by module and name, or one of its methods.

    `array + x` with an `x` that is a stranger to ufuncs, such as a tensor, is its operator in Python.
    """
    numpy = importlib.import_module("numpy")
    stranger = any(not hasattr(x, "__array_ufunc__") and hasattr(x, "__array_priority__") for x in inputs)
    if stranger and method == "__call__" and name[0] == "numpy" and not options and name[1] in _OPERATORS:
        return _OPERATORS[name[1]](*inputs)
    if options.get("out") is not None and not isinstance(options["out"], tuple):
        options = {**options, "out": (options["out"],)}
    module = numpy if name[0] == "numpy" else importlib.import_module(name[0])
    return getattr(getattr(module, name[1]), method)(*inputs, **options)


def function(module: str, name: str, args: Any, options: dict[str, Any]) -> Any:
    """Call a function given by module and name."""
    return getattr(importlib.import_module(module), name)(*args, **options)


def items(array: Any) -> Any:
    """Return the shape and the items of an array of objects, in the order C; None for anything else."""
    numpy = importlib.import_module("numpy")
    if not isinstance(array, numpy.ndarray) or array.dtype != object:
        return None
    return array.shape, tuple(array.ravel().tolist())
