"""numpy scalars and arrays as data: a checked dtype, a shape, bytes (both sides).

Object arrays are no data: they are refused here, and the caller falls back to a pickle or an error.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from isolate_magic.link import frames as f

_KINDS = "biufcSUmMV"
_SLAB = 512 * 1024
# No multiplier of 0: m8[0s] makes numpy divide by zero and takes the process along.
_AXES = re.compile(r"\d{1,2}(?:,\d{1,2}){0,63}")  # numpy has at most 64
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
    order, lying = laid_out(array)
    return f.Array(dtype, array.shape, order, park(flat(lying)))


def laid_out(array: Any) -> tuple[str, Any]:
    """Return the order in which the axes of an array lie in memory, and a view with them in that order.

    Returns:
        `C`, `F`, or the axes' numbers, the slowest first; and a view that is contiguous, unless the
        array has gaps in memory.
    """
    if array.flags.c_contiguous:
        return "C", array
    if array.flags.f_contiguous:
        return "F", array.T
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    turned = array.transpose(axes)
    return (",".join(map(str, axes)), turned) if turned.flags.c_contiguous else ("C", array)


def flat(array: Any) -> Any:
    """Return the bytes of an array as one buffer, in the order C; with a copy only if it has gaps."""
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.nbytes else b""


def slabs(body: Any) -> Iterator[Any]:
    """Yield the bytes of a buffer or an array piece by piece, in the order C.

    Pieces of an array with gaps are gathered, one after the other, in memory that stays in the processor's
    cache: whoever copies them on makes the only copy that costs anything. Each piece holds until the next.
    """
    if getattr(body, "flags", None) is None:
        yield memoryview(body).cast("B")
    elif body.flags.c_contiguous:
        yield memoryview(flat(body))
    else:
        import numpy as np

        yield from _gathered(body, np.empty(max(_SLAB, body.itemsize), np.uint8))


def _gathered(array: Any, scratch: Any) -> Iterator[Any]:
    each = array.nbytes // len(array)
    if each > len(scratch):
        for part in array:
            yield from _gathered(part, scratch)
        return
    step = len(scratch) // each
    for first in range(0, len(array), step):
        piece = array[first : first + step]
        into = scratch[: piece.nbytes].view(array.dtype).reshape(piece.shape)
        into[...] = piece
        yield memoryview(scratch)[: piece.nbytes]


def turned(order: str, shape: tuple[int, ...], make: Callable[[tuple[int, ...]], Any]) -> Any:
    """Make an array whose axes lie in memory as `laid_out` told.

    Args:
        order: what it told.
        shape: the array's shape.
        make: makes a contiguous array of a given shape.

    Raises:
        ValueError: the order is none.
    """
    if order == "C":
        return make(shape)
    if order == "F":
        return make(shape[::-1]).T
    if not _AXES.fullmatch(order):
        raise ValueError(f"{order[:60]!r} is no order of axes")
    axes = [int(axis) for axis in order.split(",")]
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"{order[:60]!r} is no order of {len(shape)} axes")
    return make(tuple(shape[axis] for axis in axes)).transpose(sorted(range(len(axes)), key=axes.__getitem__))


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

    dtype, size = measure(value, inner)

    def filled(shape: tuple[int, ...]) -> Any:
        array = np.empty(shape, dtype)
        if size:
            fill(value.data, array.__array_interface__["data"][0], size)
            check_bools(array)
        return array

    return turned(value.order, value.shape, filled)


def measure(value: f.Array, inner: Callable[[Any], Any]) -> tuple[Any, int]:
    """Return the dtype and the size in bytes of an array that came; raises as `unwrap_array`."""
    dtype = dtype_of(inner(value.dtype))
    if min(value.shape, default=0) < 0:
        raise ValueError(f"an array of shape {value.shape}")
    size = math.prod(value.shape) * dtype.itemsize
    came = len(value.data.data) if isinstance(value.data, f.Inline) else getattr(value.data, "length", -1)
    if came != size:
        raise ValueError(f"an array of {size} bytes came with {came}")
    return dtype, size


def check_bools(array: Any) -> None:
    """Refuse booleans that are neither 0 nor 1, which compiled code takes as an index."""
    if array.dtype.fields:
        for name in array.dtype.names:
            check_bools(array[name])
    elif array.dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise ValueError("a boolean that is neither true nor false")


def reduce_array(array: Any, scattered: dict[int, Any]) -> tuple[Any, ...] | None:
    """Reduce an array for a pickle of protocol 5 with its bytes beside it (host to companion).

    Args:
        array: the array.
        scattered: gets a large array with gaps, under the id of the buffer that stands for it in the pickle.

    Returns:
        what pickle wants; None if the array holds Python objects, or has a dtype that only pickle knows.
    """
    try:
        text = describe(array.dtype)
    except ValueError:
        return None
    order, lying = laid_out(array)
    if lying.flags.c_contiguous or array.nbytes <= f.INLINE:
        return rebuild, (text, array.shape, order, pickle.PickleBuffer(flat(lying)))
    instead = pickle.PickleBuffer(b"")
    scattered[id(instead)] = lying
    return rebuild, (text, array.shape, order, instead)


def rebuild(text: Any, shape: tuple[int, ...], order: str, body: Any) -> Any:
    """Make the array over the bytes that came; it is read-only, because a write would be lost."""
    import numpy as np

    dtype = dtype_of(text)
    array = turned(order, shape, lambda lying: np.ndarray(lying, dtype, body))
    array.flags.writeable = False
    return array


def unlock(value: Any) -> None:
    """Let the companion write to an array that is its own from now on; leave other values as they are."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" and value.base is not None:
        try:
            value.flags.writeable = True
        except ValueError:  # its bytes are shared
            return
