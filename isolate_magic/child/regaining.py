"""From the bytes of a checkpoint to the names of the cells (companion).

What stands here under a public name is what pickles refer to: files that were saved once ask for these names.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
from collections.abc import Iterator, Sequence
from typing import Any

from cloudpickle.cloudpickle import _make_function

from isolate_magic.errors import text_of

_space: dict[str, Any] = {}
_LOST = object()
_MEMOIZED = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
_REASON = 300
_Found = tuple[dict[str, Any], tuple[tuple[str, str], ...]]
_Variables = list[tuple[str, int, int]]


def load(space: dict[str, Any], parts: Sequence[memoryview]) -> _Found:
    """Load the variables of a checkpoint, and bind them.

    Each is bound as soon as it is loaded: a `__setstate__` or a `__hash__` of the cells looks names up. If
    anything but an error of theirs comes in between, an interrupt for instance, all is bound as it was.

    Args:
        space: the namespace that functions of the cells shall look their names up in.
        parts: index, pickles and large buffers.

    Returns:
        the variables by name; and name and reason of each that cannot be loaded, and is not bound.
    """
    global _space
    index = json.loads(bytes(parts[0]))
    sizes = index["buffers"]
    beside = Beside([part[:size] for part, size in zip(parts[2:], sizes, strict=True)])
    variables: _Variables = index["variables"]
    outer, _space = _space, space
    before = {name: space.get(name, _LOST) for name, _, _ in variables}
    try:
        found = _fast(space, Stream(parts[1]), beside, variables)
        if found is not None:
            return found, ()
        _bind(space, before)
        return _patient(space, Stream(parts[1]), beside, variables)
    except BaseException:
        _bind(space, before)
        raise
    finally:
        _space = outer


def _bind(space: dict[str, Any], before: dict[str, Any]) -> None:
    """Bind names again as they were."""
    for name, value in before.items():
        if value is _LOST:
            space.pop(name, None)
        else:
            space[name] = value


def _fast(
    space: dict[str, Any], stream: Stream, beside: Beside, variables: _Variables
) -> dict[str, Any] | None:
    """Load all variables, or return None if one of them cannot be loaded."""
    reader = pickle.Unpickler(stream, buffers=beside)
    found = {}
    for name, begin, first in variables:
        stream.seek(begin)
        beside.place = first
        try:
            found[name] = space[name] = reader.load()
        except Exception:  # border: loading runs the objects' own methods
            return None
    return found


def _patient(space: dict[str, Any], stream: Stream, beside: Beside, variables: _Variables) -> _Found:
    """Load what can be loaded, with Python's own unpickler, whose memo can be told what was lost."""
    reader: Any = pickle._Unpickler(stream, buffers=beside)
    memo = reader.memo = Memo()
    found, lost = dict[str, Any](), dict[str, str]()
    for name, begin, first in variables:
        known = len(memo)
        stream.seek(begin)
        beside.place = first
        try:
            found[name] = space[name] = reader.load()
        except Exception as error:  # border: as above
            lost[name] = f"{type(error).__name__}: {text_of(error)[:_REASON]}"
            stream.seek(begin)
            section: Any = stream
            memo.lose(known, sum(code.name in _MEMOIZED for code, _, _ in pickletools.genops(section)), name)
    return found, tuple(lost.items())


class Memo(dict[int, Any]):
    """Remember objects by number; those of a variable that was lost are not to be had."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[int, str] = {}

    def lose(self, begin: int, count: int, name: str) -> None:
        """Take note that the objects of a variable are half made, or not at all."""
        for number in range(begin, begin + count):
            self[number] = _LOST
            self._owners[number] = name

    def __getitem__(self, number: int) -> Any:
        value = super().__getitem__(number)
        if value is _LOST:
            raise pickle.UnpicklingError(f"a part of it belongs to {self._owners[number]!r}, which is lost")
        return value


class Beside:
    """Give large buffers in their order, from any place on.

    Args:
        buffers: the buffers.
    """

    def __init__(self, buffers: list[memoryview]) -> None:
        self._buffers = buffers
        self.place = 0

    def __iter__(self) -> Iterator[memoryview]:
        return self

    def __next__(self) -> memoryview:
        if self.place >= len(self._buffers):
            raise StopIteration
        self.place += 1
        return self._buffers[self.place - 1]


class Stream(io.RawIOBase):
    """Read from memory as from a file; nothing is copied beforehand.

    Args:
        view: the memory.
    """

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view = view
        self._place = 0

    def seek(self, place: int, _whence: int = 0) -> int:
        """Go on from a place."""
        self._place = place
        return place

    def tell(self) -> int:
        """Tell the place."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        room = memoryview(buffer).cast("B")
        part = self._view[self._place : self._place + room.nbytes]
        room[: part.nbytes] = part
        self._place += part.nbytes
        return part.nbytes

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readline(self, _size: int | None = -1) -> bytes:
        """Read a line, as text opcodes of pickle want it."""
        line = bytearray()
        while not line.endswith(b"\n") and (more := self.read(1)):
            line += more
        return bytes(line)


# ---------------------------------------------------------------- what pickles refer to


def function(code: Any, closure: Any) -> Any:
    """Make a function of the cells, over their namespace as it is here."""
    return _make_function(code, _space, None, None, closure)


def view(root: Any, dtype: Any, shape: Any, strides: Any, offset: int, writable: bool) -> Any:
    """Make an array in the memory of another one."""
    import numpy as np

    flat = (root if root.flags.c_contiguous else root.T).reshape(-1).view(np.uint8)
    made = np.ndarray(shape, dtype, flat, offset, strides)
    if not writable:
        made.flags.writeable = False
    return made


def tensor(flat: Any, dtype: Any, offset: int, size: Any, stride: Any, gradients: bool) -> Any:
    """Make a tensor in the memory of an array."""
    import torch

    storage = torch.from_numpy(flat).untyped_storage()
    made = torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)
    return made.requires_grad_() if gradients else made
