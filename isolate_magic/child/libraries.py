"""The shared libraries that this process has loaded: where their code lies, and their functions (companion).

The dynamic linker tells them itself (dl_iterate_phdr(3)), with a count of all that were ever loaded, so a
look whether there are new ones costs microseconds, and no file has to be readable.
"""

from __future__ import annotations

import bisect
import ctypes
import os
from typing import Any, NamedTuple

_LOAD, _EXECUTABLE = 1, 1  # PT_LOAD, PF_X of elf(5)


class _Header(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("offset", ctypes.c_uint64),
        ("address", ctypes.c_uint64), ("physical", ctypes.c_uint64), ("in_file", ctypes.c_uint64),
        ("size", ctypes.c_uint64), ("align", ctypes.c_uint64),
    )  # fmt: skip


class _Info(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_size_t), ("name", ctypes.c_char_p), ("headers", ctypes.c_void_p),
        ("count", ctypes.c_uint16), ("loaded", ctypes.c_ulonglong), ("unloaded", ctypes.c_ulonglong),
    )  # fmt: skip


# Both hold the GIL: a thread that waits for it inside `dlopen` would hold the linker's lock meanwhile.
_Visit = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Info), ctypes.c_size_t, ctypes.c_void_p)
_walk = ctypes.PyDLL(None).dl_iterate_phdr


class Code(NamedTuple):
    """A stretch of executable memory.

    Attributes:
        start: its first address.
        end: the first one behind it.
        path: the file; "" for the program itself.
    """

    start: int
    end: int
    path: str


def generation() -> tuple[int, int]:
    """Return how many libraries were ever loaded and unloaded; equal as long as nothing has changed."""
    found: list[tuple[int, int]] = []

    def first(info: Any, _size: int, _data: Any) -> int:
        found.append((info.contents.loaded, info.contents.unloaded))
        return 1  # which ends the walk

    _walk(_Visit(first), None)
    return found[0]


class Libraries:
    """What is loaded, as of the last look.

    Attributes:
        paths: the files.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._codes: list[Code] = []
        self._generation = (-1, -1)

    def look(self) -> bool:
        """Look again, if anything has changed; return whether it has."""
        now = generation()
        if now == self._generation:
            return False
        codes: list[Code] = []
        paths: list[str] = []

        def visit(info: Any, _size: int, _data: Any) -> int:
            one = info.contents
            path = os.fsdecode(one.name or b"")
            paths.append(path)
            for header in (_Header * one.count).from_address(one.headers):
                if header.type == _LOAD and header.flags & _EXECUTABLE:
                    start = one.base + header.address
                    codes.append(Code(start, start + header.size, path))
            return 0

        _walk(_Visit(visit), None)
        self.paths, self._codes, self._generation = paths, sorted(codes), now
        return True

    def owner(self, address: int) -> str | None:
        """Return the file whose code an address lies in, or None."""
        place = bisect.bisect(self._codes, (address, 1 << 64, "")) - 1
        if place < 0 or address >= self._codes[place].end:
            return None
        return self._codes[place].path


def function(path: str, name: str) -> Any:
    """Return a function of a library that is loaded, or None; nothing is loaded for it."""
    try:
        return getattr(ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW), name)
    except (OSError, AttributeError):
        return None
