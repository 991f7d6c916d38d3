"""numpy values as data: what a companion may say about an array, and what ends the conversation."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from isolate_magic.link import frames as f
from isolate_magic.link.foreign import numpy as foreign


def fill(buffer: Any, address: int, size: int) -> None:
    ctypes.memmove(address, buffer.data, size)


def same(value: Any) -> Any:
    return value


def array(dtype: Any, shape: tuple[int, ...], data: bytes, order: str = "C") -> Any:
    return foreign.unwrap_array(f.Array(dtype, shape, order, f.Inline(data)), same, fill)


ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(10)[::2],
    np.array(7),
    np.zeros((0, 3)),
    np.array(["a", "bcd"]),
    np.array([b"a", b"bcd"]),
    np.array([True, False]),
    np.array(["2020-01-01"], "M8[D]"),
    np.array([3], "m8[25us]"),
    np.array([(1, (2.0, True))], [("a", "i4"), ("b", [("c", "f8"), ("d", "?")])]),
    np.array([1, 2], ">i4"),
    np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    np.arange(24).reshape(2, 3, 4)[::-1].transpose(2, 0, 1),
]


@pytest.mark.parametrize("given", ARRAYS, ids=lambda a: f"{a.dtype}-{a.shape}")
def test_an_array_survives_with_dtype_shape_and_order(given: Any) -> None:
    parked = foreign.wrap_array(given, same, lambda buffer: f.Inline(bytes(buffer)))
    again = foreign.unwrap_array(parked, same, fill)
    assert again.dtype == given.dtype
    assert again.shape == given.shape
    assert again.flags.f_contiguous == given.flags.f_contiguous or not given.flags.forc
    assert (again == given).all()
    assert again.flags.writeable


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("O", (1,), b"12345678"),
        ("m8[0s]", (1,), bytes(8)),
        ("M8[0D]", (1,), bytes(8)),
        ("V0", (2**40,), b""),
        ("S0", (1,), b""),
        ("f8", (2,), bytes(8)),
        ("f8", (-1,), b""),
        ("f8", (1,), bytes(16)),
        ("?", (1,), b"\x07"),
        ((2, ("a", "?", 0, ()), ("b", "?", 1, ())), (1,), b"\x01\x05"),
        ((8, ("a", "f8", 4, ())), (1,), bytes(8)),
        ((8, ("a",)), (1,), bytes(8)),
        (3, (1,), bytes(8)),
        ("i4,O", (1,), bytes(8)),
    ],
)
def test_an_array_that_makes_no_sense_is_refused(dtype: Any, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        array(dtype, shape, data)


@pytest.mark.parametrize(
    "order", ["", "A", "K", "0", "0,1,2", "1,1", "1,2", "-1,0", "1,0,", "99,0", "0,1" * 99]
)
def test_an_order_of_axes_that_is_none_is_refused(order: str) -> None:
    with pytest.raises(ValueError, match="order"):
        array("f8", (1, 2), bytes(16), order)


def test_an_array_without_gaps_is_neither_copied_nor_rearranged() -> None:
    given = np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0)
    order, lying = foreign.laid_out(given)
    assert order == "2,0,1"
    assert np.shares_memory(foreign.flat(lying), given)
    assert array("<i8", given.shape, given.base.tobytes(), order).strides == given.strides


def test_a_length_that_lies_is_refused_before_anything_is_allocated() -> None:
    value = f.Array("f8", (2**50,), "C", f.Remote(4096, 8, 2))
    with pytest.raises(ValueError, match="came with 8"):
        foreign.unwrap_array(value, same, fill)


def test_object_arrays_and_odd_dtypes_are_no_data() -> None:
    for given in (np.array([object()]), np.zeros(2, np.dtype([]))):
        with pytest.raises(ValueError, match="no plain dtype"):
            foreign.describe(given.dtype)
