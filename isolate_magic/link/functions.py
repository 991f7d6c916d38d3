"""Which functions of the main session may travel as code, and which stay and are called back (host).

A function that travels runs fast, but it is a copy: what it appends to a list here would be lost.
So a function goes as code only where nobody could tell the difference: everything it refers to is
constant, a module, a class, or another such function. All others stay and are called back.
"""

from __future__ import annotations

import builtins
import dis
import sys
import types
from collections.abc import Iterator
from typing import Any

_CONSTANT = (type(None), bool, int, float, complex, str, bytes, range, type(...), types.ModuleType, type)


def travels(function: Any) -> bool:
    """Return whether a copy of this function in the companion behaves like the function itself.

    Args:
        function: a Python function, a builtin, a bound method, a partial or a class.
    """
    return _pure(function, set())


def _pure(thing: Any, seen: set[int]) -> bool:
    if id(thing) in seen or isinstance(thing, _CONSTANT):
        return True
    seen.add(id(thing))
    if isinstance(thing, (tuple, frozenset)):
        return all(_pure(item, seen) for item in thing)
    if isinstance(thing, types.FunctionType):
        return _importable(thing) or all(_pure(item, seen) for item in _references(thing))
    if isinstance(thing, types.BuiltinFunctionType):
        return thing.__self__ is None or isinstance(thing.__self__, (types.ModuleType, type))
    if isinstance(thing, types.MethodType):
        return isinstance(thing.__self__, type) and _pure(thing.__func__, seen)
    return _is_proxy(thing)


def _is_proxy(thing: Any) -> bool:
    return "_isolate_" in dir(type(thing))


def _importable(function: types.FunctionType) -> bool:
    """Return whether the companion finds the same function by its name."""
    if function.__module__ == "__main__":
        return False
    found: Any = sys.modules.get(function.__module__ or "")
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _references(function: types.FunctionType) -> Iterator[Any]:
    """Yield what a function refers to: cells, defaults, and globals that its code reads or writes."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell: filled later, so it is no constant
            yield object()
    code = function.__code__
    yield from _globals(code, function.__globals__, code.co_freevars)


def _globals(code: types.CodeType, names: dict[str, Any], free: tuple[str, ...]) -> Iterator[Any]:
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield object()
        elif step.opname == "STORE_DEREF" and step.argval in free:
            yield object()  # nonlocal: the outer function here would not see it
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = step.argval
            if name in names:
                yield names[name]
            elif not hasattr(builtins, name):
                yield object()  # not defined yet: whoever calls it finds out, here
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant, names, free)
