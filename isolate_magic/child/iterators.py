"""Steps of iterators over containers, several at a time (companion)."""

from __future__ import annotations

import copy
import sys
from collections import deque
from itertools import islice
from typing import Any

from isolate_magic.link.prefetch import ITERATORS

_ENOUGH = 1 << 16  # bytes
_OF_DEQUES: tuple[type, ...] = (type(iter(deque())), type(reversed(deque())))  # heap types since Python 3.12


def advance(iterator: Any, count: int) -> None:
    """Take so many items that the host has seen already; raises what taking them raises."""
    deque(islice(iterator, count), maxlen=0)


def ahead(iterator: Any, count: int) -> list[Any]:
    """Take the next item; return it and up to `count` - 1 after it, which are only looked at.

    Raises:
        StopIteration, RuntimeError: as `next`.
    """
    items = [next(iterator)]
    if count > 1 and _harmless(iterator):
        size = sys.getsizeof(items[0])
        for item in islice(copy.copy(iterator), count - 1):
            items.append(item)
            size += sys.getsizeof(item, _ENOUGH)
            if size >= _ENOUGH:
                break
    return items


def _harmless(iterator: Any) -> bool:
    """Return whether looking ahead runs nobody's code."""
    kind = type(iterator)
    if kind in _OF_DEQUES:
        return True
    if f"{kind.__module__}.{kind.__qualname__}" not in ITERATORS or kind.__flags__ & (1 << 9):
        return False
    if kind.__qualname__ != "iterator":
        return True
    numpy = sys.modules.get("numpy")  # this one calls `__getitem__`, which is anybody's but for an array
    return numpy is not None and type(iterator.__reduce__()[1][0]) is numpy.ndarray
