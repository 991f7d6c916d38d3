"""numpy's functions of this session, called with proxies: they run where the proxies live (host).

A ufunc comes here by `__array_ufunc__` (NEP 13), any other function by `__array_function__` (NEP 18).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from isolate_magic.errors import TransferError
from isolate_magic.link.proxy import Proxy, claim_of, copied

_WRITING = frozenset({"copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis"})
"""Functions that write into their first argument, which may be an array of this session."""


def protocols(special: tuple[str, ...]) -> dict[str, Any]:
    """Return the methods by which numpy knows the proxies of a class.

    Args:
        special: the special methods of the class, as in `description.Description`.
    """
    found: dict[str, Any] = {}
    if "__array__" in special:
        found["__array__"] = as_array
    if "-__array_ufunc__" in special:
        found["__array_ufunc__"] = None  # numpy must leave `array + proxy` to the proxy
    elif "__array_ufunc__" in special or "__array_priority__" in special:
        found["__array_ufunc__"] = array_ufunc
    if "__array_function__" in special:
        found["__array_function__"] = array_function
    return found


def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """Call a ufunc, or a method of it such as `reduce`, in the companion of `self`."""
    __tracebackhide__ = True
    name = _name(ufunc)

    def call(**given: Any) -> Any:
        __tracebackhide__ = True
        return self._isolate_.owner.ask("ufunc", name, method, inputs, given)

    return _into(call, options, ufunc.nout)


def array_function(self: Any, function: Any, types: Any, args: Any, options: Any) -> Any:
    """Call a function of numpy's in the companion of `self`."""
    __tracebackhide__ = True
    import numpy as np

    if not all(issubclass(kind, (Proxy, np.ndarray)) for kind in types):
        return NotImplemented
    if function.__name__ in _WRITING and type(args[0]) is np.ndarray:
        here = {name: _data(value) for name, value in options.items()}
        return function(args[0], *map(_data, args[1:]), **here)

    def call(**given: Any) -> Any:
        __tracebackhide__ = True
        return self._isolate_.owner.ask("array_function", function.__module__, function.__name__, args, given)

    return _into(call, options, 1)


def as_array(self: Any, dtype: Any = None, copy: Any = None) -> Any:
    """Return a copy of an object there as an array here; numpy calls it for `np.asarray(p)`."""
    if copy is False:
        raise ValueError("an array in a companion cannot be had here without a copy")
    array = _data(self._isolate_.owner.ask("array_of", self))
    return array if dtype is None else array.astype(dtype, copy=False)


def _data(thing: Any) -> Any:
    """Return a copy without a pickle, which nobody has asked for; objects in an array come as results do."""
    __tracebackhide__ = True
    import numpy as np

    try:
        return copied(thing, pickles=False)
    except TransferError:
        claim = claim_of(thing)
        told = claim.owner.ask("array_items", thing) if claim is not None else None
        if type(told) is not tuple or len(told) != 2 or type(told[1]) is not tuple:
            raise
    assert claim is not None
    try:
        shape, items = told
        array: Any = np.empty(len(items), np.dtype(object))
        for place, item in enumerate(items):
            array[place] = item
        return array.reshape(shape)
    except (TypeError, ValueError) as error:
        raise claim.owner.break_off(f"it sent no array ({error})") from None


def _name(ufunc: Any) -> tuple[str, str]:
    """Return the module and the name under which the companion finds a ufunc too."""
    name = str(ufunc.__name__)
    for module in {"numpy", "scipy.special"} & sys.modules.keys():
        if vars(sys.modules[module]).get(name) is ufunc:
            return module, name
    raise TransferError(
        f"the ufunc {name!r} is neither numpy's nor scipy's, so the companion has none like it: "
        "make it there, or call it with byvalue(x)"
    )


def _into(call: Callable[..., Any], options: dict[str, Any], count: int) -> Any:
    """Make a call; fill the arrays of this session that are given as `out` with its result."""
    __tracebackhide__ = True
    import numpy as np

    out = options.get("out")
    outs = out if isinstance(out, tuple) else (out,)
    if not any(isinstance(item, np.ndarray) for item in outs):
        return call(**options)
    if len(outs) != count or not all(isinstance(item, np.ndarray) for item in outs):
        raise TransferError("`out` must be arrays of this session only, or of the companion only")
    given = {name: value for name, value in options.items() if name != "out"}
    if "where" in given:
        given["out"] = None  # which says that nobody looks at what `where` leaves out
    result = call(**given)
    where = options.get("where", True)
    for target, value in zip(outs, result if count > 1 else (result,), strict=True):
        np.copyto(target, np.asarray(_data(value)), casting="same_kind", where=np.asarray(_data(where)))
    return outs if count > 1 else outs[0]
