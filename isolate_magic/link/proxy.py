"""Proxies: the local stand-ins of objects that live in a companion (host).

`__tracebackhide__`, here and elsewhere, keeps our frames out of the tracebacks that IPython shows.
The class of a proxy is made by `mirror` from the remote class: special methods are there exactly
where the remote class has them. Everything else goes through `__getattr__`.
"""

from __future__ import annotations

import sys
import types
from itertools import islice
from typing import Any

from isolate_magic.errors import TransferError
from isolate_magic.link.refs import Claim

_set = object.__setattr__
_MOST_NAMES = 100_000  # of one object; a `__dir__` over there may go on for ever
_REFERENCES = 16 if sys.version_info >= (3, 12) else 0
"""What `sys.getsizeof` adds for the place where a proxy's weak references stand, ahead of it
(Objects/object.c, `_PyType_PreHeaderSize`)."""

BLOCKED = frozenset({
    "__wrapped__", "__array_interface__", "__array_struct__", "__array_priority__", "__array_wrap__",
    "__array_finalize__", "__cuda_array_interface__", "__dlpack__", "__dlpack_device__", "__buffer__",
    "__arrow_c_stream__", "__arrow_c_array__", "__arrow_c_schema__", "__dataframe__", "__getstate__",
    "__reduce__", "__reduce_ex__", "__copy__", "__deepcopy__", "__await__", "__aiter__", "__anext__",
    "__aenter__", "__aexit__", "__mro_entries__", "__set_name__", "__objclass__", "__array_function__",
    "__array__", "_asyncio_future_blocking",
})  # fmt: skip
"""Names that a proxy never forwards: they hand out addresses, or would change how Python sees it."""


class _OnClass:
    """Show a method on the class only, where `copy.copy` looks for it.

    `itertools.tee` looks for `__copy__` on the iterator, and a generator has none.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __get__(self, proxy: Any, kind: Any = None) -> Any:
        if proxy is not None:  # Python goes on to `__getattr__`
            raise AttributeError("a proxy copies by `copy.copy` only")
        return self._function


class Proxy:
    """Stand for one object of a companion.

    Every use is a call there. `byvalue(proxy)` copies the object; `isproxy` tells a proxy apart.
    """

    __slots__ = ("__weakref__", "_isolate_")
    _isolate_methods_: frozenset[str] = frozenset()
    _isolate_claim_ = Claim
    _isolate_: Claim

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        # Only who calls it by name comes here: an object is made over there, and its proxy without this.
        __tracebackhide__ = True
        claim = self._isolate_
        claim.owner.call(claim, "__init__", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in BLOCKED or name.startswith(("_ipython_", "_repr_", "_isolate_")):
            raise AttributeError(f"a proxy does not forward {name!r}")
        if name in type(self)._isolate_methods_:
            return Method(self, name)
        claim = self._isolate_
        return claim.owner.get(claim, name)

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        _invoke(self, "__setattr__", name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        _invoke(self, "__delattr__", name)

    def __repr__(self) -> str:
        __tracebackhide__ = True
        claim = self._isolate_
        if claim.owner.death:
            return f"<stale proxy of {claim.label}: {claim.owner.death}>"
        text: str = claim.owner.shown(_invoke(self, "__repr__"))
        return text

    def __str__(self) -> str:
        __tracebackhide__ = True
        if self._isolate_.owner.death:
            return repr(self)
        text: str = self._isolate_.owner.shown(_invoke(self, "__str__"))
        return text

    def __format__(self, spec: str) -> str:
        __tracebackhide__ = True
        text: str = self._isolate_.owner.shown(_invoke(self, "__format__", spec))
        return text

    def __dir__(self) -> list[str]:
        __tracebackhide__ = True
        return list(islice(_invoke(self, "__dir__"), _MOST_NAMES))

    def __sizeof__(self) -> int:
        size: int = _invoke(self, "__sizeof__")
        return size - _REFERENCES

    def __reduce_ex__(self, protocol: Any) -> Any:
        __tracebackhide__ = True
        try:
            return _itself, (copied(self),)
        except TransferError as error:
            raise TypeError(f"a proxy is pickled as a copy of its object, and {error}") from error

    @_OnClass
    def __copy__(self) -> Any:
        __tracebackhide__ = True
        return self._isolate_.owner.ask("shallow_copy", self)

    def __deepcopy__(self, memo: Any) -> Any:
        __tracebackhide__ = True
        return self._isolate_.owner.ask("deep_copy", self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        claim = self._isolate_
        if claim.owner.death:
            return {"text/plain": repr(self)}
        return claim.owner.show(self)

    def _ipython_key_completions_(self) -> list[str]:
        keys = self._isolate_.owner.ask("keys", self)
        return list(keys) if type(keys) is tuple else []


class Function(Proxy):
    """Stand for something with a name, a signature and a text of its own: a function, a ufunc."""

    __slots__ = ()

    @property
    def __signature__(self) -> Any:
        """Give the signature, as `inspect.signature` reads it."""
        return signature(self)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self.__getattr__("__doc__")


class ModuleName(str):
    """Be the `__module__` of a mirror of functions; their own `__module__` is asked for over there."""

    __slots__ = ()

    def __get__(self, proxy: Any, kind: Any = None) -> Any:
        return str(self) if proxy is None else proxy.__getattr__("__module__")


class _Remembering(Proxy):
    __slots__ = ("__dict__",)


def annotations_of(thing: Any) -> dict[str, Any]:
    """Return the annotations of a remote object in a dict of ours, as `functools.wraps` wants them."""
    told = claim_of(thing).owner.get(claim_of(thing), "__annotations__")  # type: ignore[union-attr]
    return {name: told[name] for name in islice(told, _MOST_NAMES)}


for _class in (Proxy, Function):  # Python makes empty ones for a class without, at the first look
    _class.__annotations__ = property(annotations_of)  # type: ignore[assignment]
Proxy.__doc__ = None  # `inspect.getdoc` climbs up to it from a class without a text


remembered: Any = _Remembering.__dict__["__dict__"].__get__
"""Return what a module proxy remembers; its `__dict__` is the remote module's."""


class Module(_Remembering):
    """Stand for a module; it imports itself again when its companion has been replaced.

    Submodules, classes and functions are remembered, so `np.linalg.svd(x)` is one round trip.
    """

    __slots__ = ()

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return self.__getattr__("__dict__")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return types.ModuleType

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self.__getattr__("__doc__")

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in BLOCKED or name.startswith(("_ipython_", "_repr_", "_isolate_")) or name == "__path__":
            raise AttributeError(f"a proxy does not forward {name!r}")
        claim = self._isolate_
        if claim.owner.death:
            claim = claim.owner.successor(self)
        value = claim.owner.get(claim, name)
        if isinstance(value, (Module, Function, type)):
            remembered(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        remembered(self).pop(name, None)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        remembered(self).pop(name, None)
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        __tracebackhide__ = True
        if self._isolate_.owner.death:
            self._isolate_.owner.successor(self)
        return super().__dir__()

    def __repr__(self) -> str:
        __tracebackhide__ = True
        return f"<module {self._isolate_.label!r} in companion {self._isolate_.owner.name!r}>"

    __str__ = __repr__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {"text/plain": repr(self)}


class Method:
    """Stand for a method of a proxy, so that calling it is one round trip."""

    __slots__ = ("__name__", "__self__", "_fetched")

    def __init__(self, proxy: Any, name: str) -> None:
        self.__self__ = proxy
        self.__name__ = name
        self._fetched: Any = None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method there."""
        __tracebackhide__ = True
        claim = self.__self__._isolate_
        return claim.owner.call(claim, self.__name__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in BLOCKED or name.startswith(("_ipython_", "_repr_", "_isolate_")):
            raise AttributeError(f"a proxy does not forward {name!r}")
        return getattr(self.fetch(), name)

    def __repr__(self) -> str:
        __tracebackhide__ = True
        return repr(self.fetch())

    def __eq__(self, other: object) -> bool:
        if type(other) is not Method:
            return NotImplemented
        return self.__self__ is other.__self__ and self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__name__))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__self__.__reduce_ex__(protocol)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # A routine for pydoc and inspect, but not one that would be taken apart by `__func__`.
        return types.BuiltinMethodType

    @property
    def __signature__(self) -> Any:
        """Give the signature, as `inspect.signature` reads it."""
        return signature(self.fetch())

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self.fetch().__doc__

    def fetch(self) -> Any:
        """Return a proxy of the bound method; it lasts as long as this, so that it can be an argument."""
        __tracebackhide__ = True
        if self._fetched is None:
            claim = self.__self__._isolate_
            self._fetched = claim.owner.get(claim, self.__name__)
        return self._fetched


def _itself(copy: Any) -> Any:
    return copy


def _invoke(proxy: Any, name: str, *args: Any) -> Any:
    __tracebackhide__ = True
    claim = proxy._isolate_
    return claim.owner.call(claim, name, args, {})


def claim_of(thing: Any) -> Claim | None:
    """Return the claim behind a proxy, a class, or an exception of a companion; None for all else."""
    if isinstance(thing, type):
        found: Claim | None = thing.__dict__.get("_isolate_class_")
    elif isinstance(thing, BaseException):
        found = thing.__dict__.get("_isolate_")
    elif issubclass(type(thing), Proxy):  # isinstance would believe `__class__`
        found = thing._isolate_
    else:
        found = None
    return found


def copied(thing: Any, pickles: bool = True) -> Any:
    """Return the copy that `byvalue` promises: of what a proxy stands for, also inside tuples.

    Args:
        thing: anything; what holds no proxy is returned as it is.
        pickles: whether copies may come as pickles, as the user has asked for copies.
    """
    __tracebackhide__ = True
    if type(thing) is Method:
        thing = thing.fetch()
    claim = None if isinstance(thing, BaseException) else claim_of(thing)
    if claim is not None:
        return claim.owner.copy(thing, pickles)
    if type(thing) is tuple or (isinstance(thing, tuple) and claim_of(type(thing)) is not None):
        items = [copied(item, pickles) for item in thing]
        if any(new is not old for new, old in zip(items, thing, strict=True)):
            return tuple.__new__(type(thing), items)
    return thing


def isproxy(thing: object) -> bool:
    """Return whether `thing` stands for an object, class or method that lives in a companion.

    >>> isproxy(5)
    False
    """
    return issubclass(type(thing), Method) or claim_of(thing) is not None


def signature(proxy: Any) -> Any:
    """Return the signature of a remote callable, with texts for defaults and annotations.

    Raises:
        AttributeError: the callable tells none; `inspect.signature` turns it into a ValueError.
    """
    import inspect

    claim = claim_of(proxy)
    assert claim is not None
    told = claim.owner.ask("signature", proxy)
    if told is None:
        raise AttributeError("__signature__")
    rows, returned = told
    kinds, empty = list(inspect._ParameterKind), inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                kinds[kind],
                default=empty if default is None else _Text(default),
                annotation=empty if annotation is None else _Text(annotation),
            )
            for name, kind, default, annotation in rows
        ],
        return_annotation=empty if returned is None else _Text(returned),
    )


class _Text(str):
    """Show a default value or an annotation as the companion shows it, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__
