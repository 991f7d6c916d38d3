"""Mirror classes: a host class for each remote class, with the same bases and special methods (host).

The mirror of a class is the type of the proxies of its instances, so `isinstance(x, mod.C)` needs no
round trip. The mirror of an exception class is a real exception class, so `except mod.Error:` works;
the mirror of a namedtuple class is a real tuple class.
"""

from __future__ import annotations

import copyreg
import opcode
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

from isolate_magic.errors import NotSupported, TransferError
from isolate_magic.link import awaiting, lookalike
from isolate_magic.link.attributes import Attribute, attributes
from isolate_magic.link.deriving import derive
from isolate_magic.link.description import Description
from isolate_magic.link.foreign import ufuncs
from isolate_magic.link.prefetch import ITERATORS, Iterating
from isolate_magic.link.proxy import BLOCKED, Function, ModuleName, Proxy, annotations_of, signature
from isolate_magic.link.records import record
from isolate_magic.link.refs import Claim
from isolate_magic.link.standard import standard_error

_MOST_NAMES = 100_000  # of a class, however many its `__dir__` goes on to give
_OPERATION = opcode.opmap["BINARY_OP"]
_IN_PLACE = [name for name, _ in opcode._nb_ops].index("NB_INPLACE_ADD")  # type: ignore[attr-defined]
_UNARY = (
    "neg pos abs invert int float complex index trunc floor ceil len length_hint next reversed bool hash iter"
)
_BINARY = (
    "lt le eq ne gt ge add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor radd "
    "rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor iadd isub imul "
    "imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor getitem delitem contains missing "
    "round"
)
_OTHER = "setitem enter exit call bytes fspath"
SPECIAL = frozenset(f"__{name}__" for name in f"{_UNARY} {_BINARY} {_OTHER}".split())
"""The special methods that a proxy forwards where the remote class defines them."""


class Mirror(type):
    """Be the class of all mirrors: a mirror is also the proxy of the remote class itself."""

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], **options: Any) -> Any:
        """Make a mirror; a class statement that derives from one makes its class over there."""
        __tracebackhide__ = True
        if "_isolate_class_" not in space:
            return derive(name, bases, space, options)
        return super().__new__(mcs, name, bases, space)

    def __init__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any], **_options: Any) -> None:
        super().__init__(name, bases, space)

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        """Make an instance there."""
        __tracebackhide__ = True
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.call(claim, "", args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        __tracebackhide__ = True
        if name in BLOCKED or name.startswith(("_ipython_", "_repr_", "_isolate_", "__array_", "__abstract")):
            raise AttributeError(f"the proxy of a class does not forward {name!r}")
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.get(claim, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        __tracebackhide__ = True
        known = cls.__dict__.get(name)
        if isinstance(known, Attribute) and known.original is None:
            known.original = getattr(cls, name)
        if isinstance(value, Attribute):  # `mock.patch` puts back what it has found in `__dict__`
            value = value.original
        if name == "__dataclass_params__":
            raise NotSupported(
                f"@dataclass of this session cannot make {cls.__qualname__}, a class of a companion; "
                "use the companion's: import_isolated('dataclasses').dataclass"
            )
        claim = cls.__dict__["_isolate_class_"]
        claim.owner.call(claim, "__setattr__", (name, value), {})
        if name in SPECIAL and issubclass(cls, Proxy):
            type.__setattr__(cls, name, None if value is None else _forward(name))

    def __delattr__(cls, name: str) -> None:
        __tracebackhide__ = True
        claim = cls.__dict__["_isolate_class_"]
        claim.owner.call(claim, "__delattr__", (name,), {})

    def __dir__(cls) -> list[str]:
        claim = cls.__dict__["_isolate_class_"]
        return list(islice(claim.owner.call(claim, "__dir__", (), {}), _MOST_NAMES))

    def __getitem__(cls, key: Any) -> Any:
        __tracebackhide__ = True
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.call(claim, "__getitem__", (key,), {})

    def __iter__(cls) -> Any:
        __tracebackhide__ = True
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.call(claim, "__iter__", (), {})

    def __len__(cls) -> int:
        __tracebackhide__ = True
        claim = cls.__dict__["_isolate_class_"]
        length: int = claim.owner.call(claim, "__len__", (), {})
        return length

    def __bool__(cls) -> bool:
        return True

    @property
    def __annotations__(cls) -> Any:  # type: ignore[override]
        return annotations_of(cls)

    @property
    def __signature__(cls) -> Any:
        """Give the signature of the constructor."""
        return signature(cls)

    def __instancecheck__(cls, thing: Any) -> bool:
        kind = type(thing)
        if type.__instancecheck__(cls, thing) or cls in _line(kind) or cls._isolate_asks_(kind):
            return True
        return isinstance(thing, Mirror) and thing is not cls and _is_metaclass(cls, thing)

    def __subclasscheck__(cls, kind: type) -> bool:
        # Classes from here never make a call: the ABCs here look at every registered mirror.
        return (
            type.__subclasscheck__(cls, kind)
            or cls in _line(kind)
            or (isinstance(kind, Mirror) and kind not in _registering and cls._isolate_asks_(kind))
        )

    def _isolate_asks_(cls, kind: type) -> bool:
        """Let a class with a `__subclasscheck__` of its own, such as an ABC, answer for itself."""
        claim = cls.__dict__["_isolate_class_"]
        if not cls.__dict__["_isolate_checks_"] or claim.owner.death:
            return False
        try:
            return bool(claim.owner.call(claim, "__subclasscheck__", (kind,), {}))
        except TransferError:  # a class that cannot travel, or of another companion
            return False


def _ordinary(cls: type) -> list[type]:
    """Return the classes of this session's own above a class."""
    return [up for up in cls.__mro__ if not isinstance(up, Mirror)]


def _is_metaclass(cls: Any, thing: Any) -> bool:
    """Return whether a mirror is an instance of another one, a metaclass, over there."""
    claim = cls.__dict__["_isolate_class_"]
    if (
        not any((up.__module__, up.__qualname__) == ("builtins", "type") for up in _line(cls))
        or claim.owner.death
    ):
        return False
    return bool(claim.owner.call(claim, "__instancecheck__", (thing,), {}))


_registering: set[type] = set()
"""Mirrors that are being registered with ABCs here, which first look whether they need to. The mirror of a
remote ABC would say yes to that, and `match` would not take the new one for a sequence or a mapping."""


def _line(kind: type) -> frozenset[type]:
    """Return the mirrors above a mirror, also those that Python could not have as its bases."""
    line: frozenset[type] = kind.__dict__.get("_isolate_line_", frozenset())
    return line


def _refuse(cls: Mirror) -> Any:
    raise TypeError(f"class {cls.__qualname__} lives in a companion and cannot be pickled; pickle byvalue(x)")


copyreg.pickle(Mirror, _refuse)


def build(told: Description, claim: Claim) -> type:
    """Make the mirror of a class.

    Args:
        told: what the companion says of the class.
        claim: the claim on the class.
    """
    line = {up for base in told.bases for up in (base, *_line(base))}
    space: dict[str, Any] = {
        "__module__": told.module,
        "__qualname__": told.name,
        "_isolate_class_": claim,
        "_isolate_line_": frozenset(line),
        "_isolate_checks_": told.checks,
    }
    if not told.callable_text:
        space["__doc__"] = told.text
    exceptions = tuple(base for base in told.bases if issubclass(base, BaseException))
    ours = standard_error(told.module, told.name) if exceptions else None
    if ours is not None and all(issubclass(ours, up) for base in exceptions for up in _ordinary(base)):
        exceptions = (ours, *(base for base in exceptions if isinstance(base, Mirror)))
    if told.origin is not None and issubclass(told.origin, BaseException):
        exceptions, space["_isolate_origin_"] = (told.origin,), told.origin
    if exceptions:
        return _make(told, exceptions, space | {"__str__": _text, "__getattr__": _fault_attribute})
    if told.fields is not None:
        return _make(told, (tuple,), space | record(told, SPECIAL))
    return _make_proxy(told, space)


def learn(made: type, told: Description) -> None:
    """Give a mirror what its class has got since it was described, from a decorator, say."""
    if not issubclass(made, Proxy):
        return
    for name in told.special:
        if name.lstrip("-") in SPECIAL and name.lstrip("-") not in vars(made):
            type.__setattr__(made, name.lstrip("-"), None if name[0] == "-" else _forward(name))
    for name, attribute in attributes(told.methods, told.descriptors).items():
        if name not in vars(made):
            type.__setattr__(made, name, attribute)


def _make_proxy(told: Description, space: dict[str, Any]) -> type:
    """Make the mirror of a class whose instances are proxies."""
    space |= {"__slots__": (), **attributes(told.methods, told.descriptors)}
    full = f"{told.module}.{told.name}"
    real = told.origin or lookalike.REAL.get(full)
    like = real or next((found for base in told.bases if (found := _likeness(base))), None)
    names = [name for name in told.special if name.lstrip("-") in SPECIAL]
    for name in names:
        space[name.lstrip("-")] = None if name[0] == "-" else _forward(name)
    if real in lookalike.CONCATENATED and "__radd__" not in names:
        space["__radd__"] = _concatenate
    space |= ufuncs.protocols(told.special) | awaiting.methods(told.special)
    bases = tuple(base for base in told.bases if issubclass(base, Proxy))
    base = Iterating if full in ITERATORS else awaiting.BASES.get(full)
    if base is not None:
        bases = (base,)
        for name in vars(base).keys() & (told.methods + told.special):
            space.pop(name, None)  # the base does that itself: a step of a loop, a part of an `await`
    elif not bases:
        bases = (Function if told.callable_text else Proxy,)
    if told.callable_text:
        space |= {"__module__": ModuleName(told.module), "__doc__": Function.__dict__["__doc__"]}
    elif "__call__" in space:
        space["__signature__"] = property(signature)
    inherited: set[str] = set().union(*(base._isolate_methods_ for base in bases))
    space["_isolate_methods_"] = frozenset(told.methods) | inherited
    space["_isolate_like_"] = like
    space["__class__"] = property(lambda self: like) if like else property(type)
    made = _make(told, bases, space)
    names_above = {full, *(f"{up.__module__}.{up.__qualname__}" for up in space["_isolate_line_"])}
    _registering.add(made)
    for abstract in lookalike.abstracts(names_above, real):
        abstract.register(made)
    _registering.discard(made)
    return made


def _likeness(base: type) -> type | None:
    """Return the class here that instances of a base pass for: its lookalike, or a class both sides have."""
    if issubclass(base, Proxy):
        return base.__dict__.get("_isolate_like_")
    if isinstance(base, Mirror):
        return tuple if issubclass(base, tuple) else None
    return base


def _make(told: Description, bases: tuple[type, ...], space: dict[str, Any]) -> type:
    made: type = Mirror(told.name.rpartition(".")[2], bases, space)
    return made


def _forward(name: str) -> Callable[..., Any]:
    if name == "__call__":

        def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            claim = self._isolate_
            return claim.owner.call(claim, "", args, kwargs)

        return call

    def forward(self: Any, /, *args: Any) -> Any:
        __tracebackhide__ = True
        claim = self._isolate_
        return claim.owner.call(claim, name, args, {})

    def compare(self: Any, other: Any) -> Any:
        claim = self._isolate_
        try:
            return claim.owner.call(claim, name, (other,), {})
        except TransferError:  # what cannot even travel there is not equal to anything there
            return NotImplemented

    made = compare if name in ("__eq__", "__ne__") else forward
    made.__name__ = name
    return made


def _concatenate(self: Any, left: Any) -> Any:
    """Answer `[1] + p`, since a list knows no proxy; leave `items += p` to it: it extends itself."""
    __tracebackhide__ = True
    code, at = sys._getframe(1).f_code.co_code, sys._getframe(1).f_lasti
    if code[at] == _OPERATION and code[at + 1] == _IN_PLACE and hasattr(type(left), "__iadd__"):
        return NotImplemented
    return self._isolate_.owner.call(self._isolate_, "__radd__", (left,), {})


def _text(self: Any) -> Any:
    return self.__dict__.get("_isolate_text_", "")


def _fault_attribute(self: Any, name: str) -> Any:
    claim = self.__dict__.get("_isolate_")
    if claim is None or name.startswith("_") or claim.owner.death:
        raise AttributeError(name)
    return claim.owner.get(claim, name)
