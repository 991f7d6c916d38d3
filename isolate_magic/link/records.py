"""Mirrors of namedtuple classes: real tuple classes, whose methods run over there (host)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from isolate_magic.link.description import Description
from isolate_magic.link.proxy import BLOCKED

_FIELD = re.compile(r"[^\W_]\w*|_\d+")  # the second form is what `namedtuple(..., rename=True)` makes


def record(told: Description, forwarded: frozenset[str]) -> dict[str, Any]:
    """Return what a namedtuple's mirror needs: fields by name; the rest is computed over there."""
    fields = told.fields or ()
    space: dict[str, Any] = {
        "__slots__": (), "_fields": fields, "__new__": _record_new, "__repr__": _record_repr,
        "__getnewargs__": lambda self: tuple(self),
        "__getattr__": _record_attribute,
    }  # fmt: skip
    for index, field in enumerate(fields):
        if not _FIELD.fullmatch(field):  # no namedtuple has one, and Python and IPython act on such names
            raise ValueError(f"a namedtuple with a field {field[:60]!r}")
        space[field] = property(operator.itemgetter(index))
    for name in {name for name in told.special if name in forwarded and name not in tuple.__dict__}:
        space[name] = _record_method(name)
    return space


def _record_new(cls: type, *items: Any) -> Any:
    return tuple.__new__(cls, items)  # for `copy` and `pickle`; a call of the class goes to the companion


def _record_repr(self: Any) -> str:
    parts = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=False))
    return f"{type(self).__name__}({parts})"


def _record_attribute(self: Any, name: str) -> Any:
    if name in BLOCKED or name.startswith(("__", "_ipython_", "_repr_", "_isolate_")):
        raise AttributeError(name)
    claim = type(self).__dict__["_isolate_class_"]
    return claim.owner.call(claim.owner.service, "attribute", (self, name), {})


def _record_method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        __tracebackhide__ = True
        claim = type(self).__dict__["_isolate_class_"]
        return claim.owner.call(claim.owner.service, "method_of", (self, name, *args), {})

    method.__name__ = name
    return method
