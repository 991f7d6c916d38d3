"""What Tab and Shift-Tab get to know of a companion: the word of its own IPython (companion).

jedi stays out of it: it runs properties, its first answer took 1.4 s where 0.3 s are left, and importing it
would cost every zygote 124 ms and 10 MiB. A cell may switch it on: `%config Completer.use_jedi = True`.
"""

from __future__ import annotations

import inspect
import keyword
import re
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.completer import provisionalcompleter, rectify_completions

from isolate_magic.link.answers import LONGEST, MOST, TEXT, Completed, Inspected, Match

_MISSING = object()
_OWNER = re.compile(r"(?:^|[^\w.\])}\"'])([^\W\d]\w*(?:\.[^\W\d]\w*)*)\.$")
_HISTORY = re.compile(r"_+|_i{1,3}|_i?\d+")  # each cell makes some
_TYPED = re.compile(r"[^\W\d]\w*$")


def names(shell: Any) -> list[str]:
    """Return the names that the cells have bound, the latest if they are very many."""
    found = [
        name
        for name in list(shell.user_ns)
        if type(name) is str and name.isidentifier() and not _HISTORY.fullmatch(name)
    ]
    return found[-2 * MOST :]


def complete(shell: Any, code: str, cursor: int, name: str, target: Any) -> Completed:
    """Complete code as the shell's own completer does.

    Args:
        shell: the shell.
        code: the code.
        cursor: the place of the cursor in it.
        name: the only name that the code may refer to; empty if it is a cell, which knows all of them.
        target: what that name stands for.
    """
    space = {name: target} if name else shell.user_ns
    with _quiet(), provisionalcompleter():
        return _answer(shell, code, cursor, space) or _further(shell, code, cursor, space)


def _answer(shell: Any, code: str, cursor: int, space: dict[str, Any]) -> Completed | None:
    """Complete code that refers to the names of a space."""
    completer = shell.Completer
    with _bound(completer, space if space is not shell.user_ns else None):
        found = list(rectify_completions(code, completer.completions(code, cursor)))[:MOST]
    if not found:
        return None
    start, end = found[0].start, found[0].end
    # Without jedi an attribute comes with its dot.
    dotted = int(start < end and code[start] == "." and all(one.text[0] == "." for one in found))
    owner = _owner(code[: start + dotted], space)
    matches = [
        Match(text, _kind(text, one.type, owner, space), _line(one.signature or ""))
        for one in found
        if (text := one.text[dotted:]).isprintable() and 0 < len(text) <= LONGEST
    ]
    return Completed(start + dotted, end, matches)


def _further(shell: Any, code: str, cursor: int, space: dict[str, Any]) -> Completed:
    """Complete an attribute where IPython gives up: a class has a `__getattr__`, which need not run."""
    found = _TYPED.search(code[:cursor])
    start = found.start() if found else cursor
    owner = _owner(code[:start], space)
    if owner is _MISSING:
        return Completed(cursor, cursor, [])
    answer = _answer(shell, f"it.{code[start:cursor]}", 3 + cursor - start, {"it": owner})
    return Completed(start, cursor, answer.matches if answer else [])


def inspect_(shell: Any, path: str, detail: int, title: str, name: str, target: Any) -> Inspected:
    """Tell about an object what the shell tells with `?`, or with `??` if `detail` is 1.

    Args:
        shell: the shell.
        path: how code refers to the object.
        detail: 0, or 1 to show the source too.
        title: how the reader refers to it.
        name: as in `complete`.
        target: as in `complete`.
    """
    with _quiet(), shell.builtin_trap:
        info = shell._ofind(path, [("Interactive", {name: target})] if name else None)
        if not info.found:
            return Inspected(False)
        bundle = shell.inspector._get_info(info.obj, title, info=info, detail_level=detail)
    text = str(bundle["text/plain"])
    if len(text) > TEXT:
        text = f"{text[: TEXT // 2]}\n... {len(text) - TEXT} characters left out ...\n{text[-TEXT // 2 :]}"
    return Inspected(True, text.encode("utf-8", "replace").decode())


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing: neither warn of what nobody has used, nor show what a `__dir__` has raised."""
    hook = sys.excepthook
    sys.excepthook = _nothing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.excepthook = hook


def _nothing(*_error: object) -> None:
    return


@contextmanager
def _bound(completer: Any, space: dict[str, Any] | None) -> Iterator[None]:
    """Let the completer know the names of a space and no others; None leaves it those of the cells."""
    before = completer.namespace, completer.global_namespace
    if space is not None:
        completer.namespace, completer.global_namespace = space, {}
    try:
        yield
    finally:
        completer.namespace, completer.global_namespace = before


def _owner(before: str, space: dict[str, Any]) -> Any:
    """Return the object whose attributes are wanted, if it can be reached without running any code."""
    found = _OWNER.search(before)
    if found is None:
        return _MISSING
    head, *rest = found[1].split(".")
    thing = space.get(head, _MISSING)
    for part in rest:
        thing = inspect.getattr_static(thing, part, _MISSING)
        if hasattr(type(thing), "__get__") and not isinstance(thing, types.FunctionType):
            return _MISSING  # what it leads to is known when it has run
    return thing


def _kind(text: str, said: str, owner: Any, space: dict[str, Any]) -> str:
    """Say what kind of thing a name is in the words that front ends have pictures for."""
    if said == "variable":
        if keyword.iskeyword(text):
            return "keyword"
        thing = space.get(text, _MISSING)
    elif said == "attribute" and owner is not _MISSING:
        thing = inspect.getattr_static(owner, text, _MISSING)
    else:
        return said
    return said if thing is _MISSING else _kind_of(thing)


def _kind_of(thing: Any) -> str:
    kind = type(thing)
    if issubclass(kind, types.ModuleType):
        return "module"
    if issubclass(kind, type):
        return "class"
    if issubclass(kind, property):
        return "property"
    return "function" if callable(thing) or issubclass(kind, (classmethod, staticmethod)) else "instance"


def _line(text: str) -> str:
    return text if text.isprintable() and len(text) <= LONGEST else ""
