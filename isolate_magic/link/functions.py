"""Which functions of the main session may travel as code, and which stay and are called back (host).

A function that travels runs fast, but it is a copy: what it appends to a list here would be lost.
So a function goes as code only where nobody could tell the difference: everything it refers to is
constant, a module, a class, or another such function. All others stay and are called back.
"""

from __future__ import annotations

import builtins
import datetime as dt
import decimal
import dis
import functools
import inspect
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from isolate_magic.link.proxy import isproxy

_CONSTANT = (
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), types.ModuleType,
    dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal, re.Pattern,
    types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType,
)  # fmt: skip
_CACHED = type(functools.lru_cache(lambda: None))
_FUNCTIONS = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType,
    functools.partial, _CACHED,
)  # fmt: skip
_STORES = ("STORE_ATTR", "DELETE_ATTR")


def may_stay(thing: Any) -> bool:
    """Return whether a thing is a function of some kind, so that `travels` has to be asked.

    A callable object is one if its class is defined in the notebook: it may count its calls, say. One
    of a class in a module is taken for data, as a model or a colour map is.
    """
    kind = type(thing)
    return kind in _FUNCTIONS or ("__call__" in kind.__dict__ and not _by_name(kind))


def travels(function: Any) -> bool:
    """Return whether a copy of this function in the companion behaves like the function itself.

    Args:
        function: a thing for which `may_stay` says yes.
    """
    return _pure(function, set())


def shape(function: Any) -> tuple[tuple[str, int, bool], ...] | None:
    """Return the parameters of a Python function: name, kind as in `inspect`, whether there is a default.

    Libraries look at the signature of a callback: `scipy.optimize.curve_fit` counts its parameters.
    """
    bound = type(function) is types.MethodType
    plain = function.__func__ if bound else function
    if type(plain) is not types.FunctionType:
        return None
    code, names = plain.__code__, plain.__code__.co_varnames
    free, placed = code.co_posonlyargcount, code.co_argcount
    first_default = placed - len(plain.__defaults__ or ())
    rows = [(names[n], 0 if n < free else 1, n >= first_default) for n in range(placed)]
    end = placed + code.co_kwonlyargcount
    if code.co_flags & inspect.CO_VARARGS:
        rows.append((names[end], 2, False))
    rows += [(name, 3, name in (plain.__kwdefaults__ or ())) for name in names[placed:end]]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        rows.append((names[end + bool(code.co_flags & inspect.CO_VARARGS)], 4, False))
    return tuple(rows[1:] if bound and rows and rows[0][1] < 2 else rows)


def _pure(thing: Any, seen: set[int]) -> bool:
    if id(thing) in seen or isinstance(thing, (*_CONSTANT, type)) or isproxy(thing):
        return True
    seen.add(id(thing))
    kind = type(thing)
    if kind in (tuple, frozenset):
        return all(_pure(item, seen) for item in thing)
    if kind is types.FunctionType:
        return _by_name(thing) or _pure_code(thing, seen)
    if kind is _CACHED:
        return _by_name(thing)
    if kind in (types.BuiltinFunctionType, types.MethodWrapperType):
        return thing.__self__ is None or _pure(thing.__self__, seen)
    if kind is types.MethodType:
        return isinstance(thing.__self__, type) and _pure(thing.__func__, seen)
    if kind is functools.partial:
        parts = (thing.func, *thing.args, *thing.keywords.values())
        return all(_pure(part, seen) for part in parts)
    call = kind.__dict__.get("__call__")
    if type(call) is types.FunctionType and not _by_name(kind):
        state = getattr(thing, "__dict__", {}).values()
        return not _stores(call.__code__) and _pure(call, seen) and all(_pure(item, seen) for item in state)
    return "__qualname__" in getattr(thing, "__dict__", {}) and _by_name(thing)


def _pure_code(function: types.FunctionType, seen: set[int]) -> bool:
    parts = [*_references(function)]
    if _stores(function.__code__, own=False) and any(map(_copied, parts)):
        return False  # `Config.hits += 1`: the copy of the class would be counted up
    return all(_pure(part, seen) for part in parts)


def _copied(part: Any) -> bool:
    return isinstance(part, (type, types.FunctionType)) and not isproxy(part) and not _by_name(part)


@functools.lru_cache(1000)
def _stores(code: types.CodeType, own: bool = True) -> bool:
    """Return whether code sets attributes; those of its arguments count only with `own`."""
    steps = list(dis.get_instructions(code))
    found = any(
        step.opname in _STORES and (own or not _of_argument(steps, place, code))
        for place, step in enumerate(steps)
    )
    inside = (inner for inner in code.co_consts if isinstance(inner, types.CodeType))
    return found or any(_stores(inner, own) for inner in inside)


def _of_argument(steps: list[dis.Instruction], place: int, code: types.CodeType) -> bool:
    """Return whether the object of a STORE_ATTR is an argument: `self.x = 1`, `self.x += 1`."""
    place -= 1
    if steps[place].opname == "SWAP":
        while place > 0 and steps[place].opname != "COPY":
            place -= 1
        place -= 1
    load = steps[place]
    if place < 0 or not load.opname.startswith("LOAD_FAST"):
        return False
    name = load.argval[-1] if isinstance(load.argval, tuple) else load.argval
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return name in arguments and not any(
        "STORE_FAST" in step.opname and name in (step.argval, *_both(step.argval)) for step in steps
    )


def _both(names: Any) -> tuple[str, ...]:
    return names if isinstance(names, tuple) else ()


def _by_name(function: Any) -> bool:
    """Return whether the companion finds the same function, class or callable, as `np.mean`, by its name."""
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
    yield from function.__dict__.values()
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell: filled later, so it is no constant; but for that of `super()`
            if name != "__class__":
                yield object()
    for name in _names(code, code.co_freevars):
        if name in function.__globals__:
            yield function.__globals__[name]
        elif not hasattr(builtins, name):
            yield object()  # not defined yet: whoever calls it finds out, here. Or it is written to


_WRITTEN = "a name that is written to"


@functools.lru_cache(1000)
def _names(code: types.CodeType, free: tuple[str, ...]) -> tuple[str, ...]:
    """Return the globals that code reads, and `_WRITTEN` if it binds a name outside of itself."""
    found = dict[str, None]()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") or (
            step.opname == "STORE_DEREF"
            and step.argval in free  # nonlocal: the outer function would not see it
        ):
            found[_WRITTEN] = None
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found[step.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= dict.fromkeys(_names(constant, free))
    return tuple(found)
