"""numpy scalars and arrays as data: a checked dtype, a shape, bytes (both sides).

Object arrays are no data: they are refused here, and the caller falls back to a pickle or an error.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any

from isolate_magic.link import frames as f

_KINDS = "biufcSUmMV"
# No multiplier of 0: m8[0s] makes numpy divide by zero and takes the process along.
_TEXT = re.compile(r"[<>|=]?(?:[biufcSUV]\d{1,9}|[mM]8(?:\[(?:[1-9]\d{0,8})?[A-Za-zμ]{1,7}\])?)")


def describe(dtype: Any) -> Any:
    """Return a dtype as text, or as nested tuples of (name, dtype, offset, shape) with a size first.

    Raises:
        ValueError: the dtype holds objects, or is not a plain numpy one.
    """
    if dtype.hasobject or dtype.kind not in _KINDS or dtype.metadata or not dtype.itemsize:
        raise ValueError(f"{dtype} is no plain dtype")
    if dtype.fields is None:
        return dtype.str
    parts = []
    for name in dtype.names:
        inner, offset = dtype.fields[name][:2]
        parts.append((name, describe(inner.base), offset, inner.shape))
    return (dtype.itemsize, *parts)


def dtype_of(text: Any, depth: int = 0) -> Any:
    """Return the dtype that `describe` described; anything else raises ValueError."""
    import numpy as np

    if isinstance(text, str):
        return _of_some_size(_named(text))
    if not isinstance(text, tuple) or depth > 8 or any(len(part) != 4 for part in text[1:]):
        raise ValueError("a dtype that is none")
    size, *parts = text
    names = [part[0] for part in parts]
    formats = [(dtype_of(part[1], depth + 1), part[3]) for part in parts]
    offsets = [part[2] for part in parts]
    return _of_some_size(np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size}))


def _named(text: str) -> Any:
    import numpy as np

    if not _TEXT.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no dtype that may travel")
    return np.dtype(text)


def _of_some_size(dtype: Any) -> Any:
    """Refuse items of no bytes: numpy makes them larger behind our back, and their count is free."""
    if not dtype.itemsize:
        raise ValueError(f"{dtype} has no size")
    return dtype


def wrap_item(value: Any, wrap: Callable[[Any], Any]) -> Any:
    """Turn a numpy scalar or a dtype into data, or return None if it is neither, or no plain one."""
    np = sys.modules.get("numpy")
    if np is None:
        return None
    if isinstance(value, np.generic):
        return wrap_scalar(value) if type(value) is value.dtype.type else None
    return wrap_dtype(value, wrap) if isinstance(value, np.dtype) else None


def wrap_dtype(dtype: Any, wrap: Callable[[Any], Any]) -> f.Dtype | None:
    """Turn a dtype into data, or return None if it is none of the plain ones."""
    try:
        told = describe(dtype)
        return f.Dtype(wrap(told)) if dtype_of(told) == dtype and not dtype.isalignedstruct else None
    except ValueError:
        return None


def wrap_scalar(value: Any) -> f.Scalar | None:
    """Turn a numpy scalar into data, or return None if it is a structured or an object one."""
    dtype = value.dtype
    if dtype.kind not in _KINDS or dtype.kind == "V":
        return None
    return f.Scalar(dtype.str, value.tobytes()[: dtype.itemsize])  # an empty text gives a byte too many


def unwrap_scalar(value: f.Scalar) -> Any:
    """Make the numpy scalar again."""
    import numpy as np

    dtype = _named(value.dtype)
    if dtype.itemsize != len(value.data):
        raise ValueError(f"a numpy {dtype} of {len(value.data)} bytes")
    return np.frombuffer(value.data, dtype)[0] if value.data else dtype.type()


def wrap_array(array: Any, wrap: Callable[[Any], Any], park: Callable[[Any], Any]) -> f.Array:
    """Turn an array into data.

    Args:
        array: a numpy.ndarray of exactly that class.
        wrap: turns the description of the dtype into a frame value.
        park: keeps a buffer and returns where it lies.

    Raises:
        ValueError: the array holds Python objects.
    """
    dtype = wrap(describe(array.dtype))
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return f.Array(dtype, array.shape, order, park(flat(array, order)))


def flat(array: Any, order: str) -> Any:
    """Return the bytes of an array as one contiguous buffer, without a copy where there is a choice."""
    import numpy as np

    if not array.nbytes:
        return b""
    if order == "C":
        array = np.ascontiguousarray(array)
    return array.ravel(order="K").view(np.uint8)


def unwrap_array(value: f.Array, inner: Callable[[Any], Any], fill: Callable[..., Any]) -> Any:
    """Make the array again, in memory of our own.

    Args:
        value: the data.
        inner: turns the description of the dtype back.
        fill: called with the buffer, an address and a length; copies the bytes there.

    Raises:
        ValueError: dtype, shape and length do not fit each other.
    """
    import numpy as np

    dtype = dtype_of(inner(value.dtype))
    if min(value.shape, default=0) < 0 or value.order not in ("C", "F"):
        raise ValueError(f"an array of shape {value.shape}")
    size = math.prod(value.shape) * dtype.itemsize
    came = len(value.data.data) if isinstance(value.data, f.Inline) else getattr(value.data, "length", -1)
    if came != size:
        raise ValueError(f"an array of {size} bytes came with {came}")
    array = np.empty(value.shape, dtype, order=value.order)  # type: ignore[call-overload]
    if size:
        fill(value.data, array.__array_interface__["data"][0], size)
        _check_bools(array)
    return array


def _check_bools(array: Any) -> None:
    """Refuse booleans that are neither 0 nor 1, which compiled code takes as an index."""
    if array.dtype.fields:
        for name in array.dtype.names:
            _check_bools(array[name])
    elif array.dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise ValueError("a boolean that is neither true nor false")


def reduce_array(array: Any) -> tuple[Any, ...] | None:
    """Reduce an array for a pickle of protocol 5 with its bytes beside it (host to companion).

    Returns:
        what pickle wants; None if the array holds Python objects, or has a dtype that only pickle knows.
    """
    try:
        text = describe(array.dtype)
    except ValueError:
        return None
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return rebuild, (text, array.shape, order, pickle.PickleBuffer(flat(array, order)))


def rebuild(text: Any, shape: tuple[int, ...], order: str, body: Any) -> Any:
    """Make the array over the bytes that came; it is read-only, because a write would be lost."""
    import numpy as np

    array: Any = np.ndarray(shape, dtype_of(text), body, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def unlock(value: Any) -> None:
    """Let the companion write to an array that is its own from now on; leave other values as they are."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" and value.base is not None:
        try:
            value.flags.writeable = True
        except ValueError:  # its bytes are in a sealed memfd
            return
