"""Mirror classes: a host class for each remote class, with the same bases and special methods (host).

The mirror of a class is the type of the proxies of its instances, so `isinstance(x, mod.C)` needs no
round trip. The mirror of an exception class is a real exception class, so `except mod.Error:` works;
the mirror of a namedtuple class is a real tuple class.
"""

from __future__ import annotations

import collections
import collections.abc
from collections.abc import Callable
from typing import Any, NamedTuple

from isolate_magic.errors import NotSupported
from isolate_magic.link.proxy import Function, Proxy, signature
from isolate_magic.link.refs import Claim


class Description(NamedTuple):
    """What the companion tells about one of its classes; all plain data.

    Attributes:
        module, name, text: `__module__`, `__qualname__` and `__doc__`.
        bases: the base classes without `object`, already mirrored.
        special: the special methods that the class itself defines; a leading `-` marks one set to None.
        methods: the names of its ordinary methods.
        fields: the names of a namedtuple's fields, or None.
        callable_text: whether instances have a `__doc__` of their own (functions, modules).
    """

    module: str
    name: str
    text: str | None
    bases: tuple[type, ...]
    special: tuple[str, ...]
    methods: tuple[str, ...]
    fields: tuple[str, ...] | None
    callable_text: bool


_UNARY = "neg pos abs invert int float complex index trunc floor ceil len length_hint next reversed bool hash iter"
_BINARY = (
    "lt le eq ne gt ge add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor radd "
    "rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor iadd isub imul "
    "imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor getitem delitem contains missing round"
)
_OTHER = "setitem enter exit call bytes instancecheck subclasscheck"
SPECIAL = frozenset(f"__{name}__" for name in f"{_UNARY} {_BINARY} {_OTHER}".split())
"""The special methods that a proxy forwards where the remote class defines them."""

LOOKALIKE: dict[str, type] = {
    f"{cls.__module__}.{cls.__qualname__}": cls
    for cls in (
        list, dict, set, frozenset, tuple, bytearray, collections.deque, collections.OrderedDict,
        collections.defaultdict, collections.Counter,
    )
}  # fmt: skip
"""Builtin classes: their proxies answer `isinstance(x, list)` with yes."""

_making = False


class Mirror(type):
    """Be the class of all mirrors: a mirror is also the proxy of the remote class itself."""

    _isolate_class_: Claim

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
        if not _making:
            raise NotSupported(
                f"class {name} cannot derive from a class that lives in a companion; "
                "define it there, in an %%isolated cell or with companion.run"
            )
        return super().__new__(mcs, name, bases, space)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.call(claim, "", args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith(("_ipython_", "_repr_", "_isolate_", "__array_", "__abstract", "__set_name__")):
            raise AttributeError(name)
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.get(claim, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        claim = cls.__dict__["_isolate_class_"]
        claim.owner.call(claim, "__setattr__", (name, value), {})

    def __delattr__(cls, name: str) -> None:
        claim = cls.__dict__["_isolate_class_"]
        claim.owner.call(claim, "__delattr__", (name,), {})

    def __dir__(cls) -> list[str]:
        claim = cls.__dict__["_isolate_class_"]
        return sorted(claim.owner.call(claim, "__dir__", (), {}))

    def __getitem__(cls, key: Any) -> Any:
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.call(claim, "__getitem__", (key,), {})

    def __iter__(cls) -> Any:
        claim = cls.__dict__["_isolate_class_"]
        return claim.owner.call(claim, "__iter__", (), {})

    def __len__(cls) -> int:
        claim = cls.__dict__["_isolate_class_"]
        length: int = claim.owner.call(claim, "__len__", (), {})
        return length

    def __bool__(cls) -> bool:
        return True

    @property
    def __signature__(cls) -> Any:
        """Give the signature of the constructor."""
        return signature(cls)


def build(told: Description, claim: Claim) -> type:
    """Make the mirror of a class.

    Args:
        told: what the companion says of the class.
        claim: the claim on the class.
    """
    space: dict[str, Any] = {
        "__module__": told.module,
        "__qualname__": told.name,
        "_isolate_class_": claim,
    }
    if not told.callable_text:
        space["__doc__"] = told.text
    exceptions = [base for base in told.bases if issubclass(base, BaseException)]
    if exceptions:
        return _make(told, tuple(exceptions), space | {"__str__": _text, "__getattr__": _fault_attribute})
    if told.fields is not None:
        return _make(told, (tuple,), space | _record(told))
    space["__slots__"] = ()
    for name in told.special:
        if name.lstrip("-") in SPECIAL:
            space[name.lstrip("-")] = None if name[0] == "-" else _forward(name)
    full = f"{told.module}.{told.name}"
    if full == "numpy.ndarray":
        space |= _ARRAY
    bases = tuple(base for base in told.bases if issubclass(base, Proxy))
    if not bases:
        bases = (Function if told.callable_text else Proxy,)
    inherited: set[str] = set().union(*(base._isolate_methods_ for base in bases))
    space["_isolate_methods_"] = frozenset(told.methods) | inherited
    real = LOOKALIKE.get(full)
    space["__class__"] = property(lambda self: real) if real else property(type)
    cls: type = _make(told, bases, space)
    if real:
        _register(cls, real)
    return cls


def _make(told: Description, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
    global _making
    _making = True
    try:
        return Mirror(told.name.rpartition(".")[2], bases, space)
    finally:
        _making = False


def _register(cls: type, real: type) -> None:
    """Let the abstract classes of a builtin hold for its mirror too."""
    for name in collections.abc.__all__:
        abstract: Any = getattr(collections.abc, name)
        if issubclass(real, abstract):
            abstract.register(cls)


def _forward(name: str) -> Callable[..., Any]:
    if name == "__call__":

        def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            claim = self._isolate_
            return claim.owner.call(claim, "", args, kwargs)

        return call

    def forward(self: Any, /, *args: Any) -> Any:
        claim = self._isolate_
        return claim.owner.call(claim, name, args, {})

    forward.__name__ = name
    return forward


def _text(self: Any) -> Any:
    return self.__dict__.get("_isolate_text_", "")


def _fault_attribute(self: Any, name: str) -> Any:
    claim = self.__dict__.get("_isolate_")
    if claim is None or name.startswith("_") or claim.owner.death:
        raise AttributeError(name)
    return claim.owner.get(claim, name)


def _record(told: Description) -> dict[str, Any]:
    """Return what a namedtuple's mirror needs: fields by name, and its own repr."""
    fields = told.fields or ()
    space: dict[str, Any] = {"__slots__": (), "_fields": fields, "__repr__": _record_repr}
    for index, field in enumerate(fields):
        space[field] = property(lambda self, index=index: self[index])
    for name in set(told.methods) - set(space):
        space[name] = _record_method(name)
    return space


def _record_repr(self: Any) -> str:
    parts = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=False))
    return f"{type(self).__name__}({parts})"


def _record_method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        claim = type(self).__dict__["_isolate_class_"]
        return claim.owner.call(claim, name, (self, *args), kwargs)

    method.__name__ = name
    return method


def _as_array(self: Any, dtype: Any = None, copy: Any = None) -> Any:
    if copy is False:
        raise ValueError("an array in a companion cannot be had here without a copy")
    array = self._isolate_.owner.copy(self)
    return array if dtype is None else array.astype(dtype, copy=False)


# numpy of the host must leave `host_array + proxy` to the proxy (NEP 13), and may ask for a copy.
_ARRAY = {"__array__": _as_array, "__array_ufunc__": None}
