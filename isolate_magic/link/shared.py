"""Sealed memory that many processes map: who owns it, and which array lies in it (both sides).

`share` in the main session fills a memfd once and seals it. Each process that is given an array in it
gets the descriptor once and maps it copy-on-write, so nobody can change what the others see.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from isolate_magic.link import memory

_places: dict[int, Segment] = {}
"""Which segment is mapped where in this process; an entry lasts as long as the memory."""


class Segment:
    """Own a sealed memfd; its last map, or whoever else holds this object, keeps it open.

    Args:
        fd: the descriptor, which this object closes.
        length: how many bytes it holds, at least one.
    """

    __slots__ = ("__weakref__", "fd", "length")

    def __init__(self, fd: int, length: int) -> None:
        self.fd = fd
        self.length = length

    def __del__(self) -> None:
        os.close(self.fd)

    def map(self, writable: bool, patient: bool = False) -> Any:
        """Map it; what is written to the map is seen through this map only.

        Args:
            writable: whether a write is no fault.
            patient: whether the last array that goes shall leave the unmapping to `memory.tidy`: to free
                the pages of a large one takes a while.

        Raises:
            OSError: there is no room for it among this process's addresses.
        """
        mapped = memory.mapped(self.length, self.fd, writable, _left_behind if patient else _left)
        _places[ctypes.addressof(mapped)] = self
        return mapped


def _left(address: int, length: int) -> None:
    del _places[address]
    memory.unmap(address, length)


def _left_behind(address: int, length: int) -> None:
    memory.doom(address, length, _places.pop(address))


def at(address: int) -> Segment | None:
    """Return the segment that is mapped at an address."""
    return _places.get(address)


def array(
    mapped: Any, dtype: Any, shape: Any, strides: Any = None, offset: int = 0, writable: bool = False
) -> Any:
    """Return an array over mapped memory; an ordinary `numpy.ndarray` that keeps it mapped."""
    import numpy as np

    # By way of a read-only memoryview, or numpy would let its owner make it writable again.
    flat = np.frombuffer(mapped if writable else memoryview(mapped).toreadonly(), np.uint8)
    return np.ndarray(shape, dtype, flat, offset, strides)


def place(thing: Any) -> tuple[Segment, int] | None:
    """Return the segment that an array lies in, and where it is mapped; None if it lies in none.

    Args:
        thing: a `numpy.ndarray`.
    """
    import numpy as np

    while True:
        if isinstance(thing, np.ndarray):
            thing = thing.base
        elif type(thing) is memoryview:
            thing = thing.obj
        else:
            break
    if not isinstance(thing, ctypes.Array):
        return None
    start = ctypes.addressof(thing)
    segment = _places.get(start)
    return None if segment is None else (segment, start)


def reduce_array(given: Any) -> tuple[Any, ...] | None:
    """Reduce an array that lies in a segment for the packer (host); None if it does not.

    The packer puts the companion's own map in the place of the segment.
    """
    found = place(given)
    if found is None:
        return None
    segment, start = found
    if not given.size:
        return array, (segment, given.dtype, given.shape)
    offset = given.__array_interface__["data"][0] - start
    return array, (segment, given.dtype, given.shape, given.strides, offset)
