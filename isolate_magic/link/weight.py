"""How much memory a frame may become: what an untrusted companion may send in one piece (both sides).

A few bytes can stand for a large object: three make an empty list, four an empty deque of 760 bytes, and
8 MiB of empty maps became 586 MiB. What is small in itself is therefore weighed before it is decoded.
Large bytes, arrays and columns lie beside a frame and do not count here.
"""

from __future__ import annotations

import re

from isolate_magic.errors import TransferError

MOST = 256 << 20
"""Heaviest frame of an untrusted companion: about a million numbers in a list."""

# The first bytes of arrays and maps in msgpack (github.com/msgpack/msgpack, spec.md): each begins an object.
_HEADS = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
_OBJECT = 128
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_SMALL = 1 << 20  # bytes of JSON beside its texts
_PLACE = 9  # a number of one byte takes that and a place in a tuple


def weight(body: bytes) -> int:
    """Return a bound, within a factor of four, on the memory that a frame becomes."""
    heads = len(body) - len(body.translate(None, _HEADS))
    return _PLACE * len(body) + _OBJECT * heads


def check(body: bytes) -> None:
    """Raise TransferError if a frame is too heavy to be one of an untrusted companion."""
    heavy = weight(body)
    if heavy > MOST:
        raise TransferError(
            f"{len(body) / 2**20:.1f} MiB of small parts could take {4 * heavy / 2**30:.1f} GiB here, too "
            "much from a companion that is not trusted: put numbers into an array, rows into a DataFrame, or "
            "copy a part at a time"
        )


def check_json(body: bytes) -> None:
    """Raise ValueError for JSON of so many small parts that it could become much memory; texts are none."""
    if len(body) <= _SMALL:
        return
    small = place = 0
    for found in _TEXT.finditer(body):
        small += 8 + found.start() - place
        place = found.end()
        if small > _SMALL:
            break
    if small + len(body) - place > _SMALL:
        raise ValueError(f"{len(body) / 2**20:.1f} MiB of JSON in small parts")
