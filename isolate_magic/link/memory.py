"""Memory mapped by hand, which is unmapped when the last view of it is gone (both sides).

`mmap.mmap` keeps a duplicate of the descriptor that it is given (docs.python.org, mmap) and cannot
tell when its last view has gone; both matter to arrays that live as long as they like.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_map = _libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_unmap = _libc.munmap
_unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_advise = _libc.madvise
_advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

_FAILED = ctypes.c_void_p(-1).value
_NORESERVE = 0x4000  # MAP_NORESERVE: a page that is only read needs no swap put by for its copy
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14
_HUGE = 4 << 20
_STEP = 16 << 20

_fresh: list[tuple[int, int]] = []
_spare: list[tuple[int, int]] = []
_doomed: list[tuple[int, int, Any]] = []


def unmap(address: int, length: int) -> None:
    """Give memory back to the system."""
    _unmap(address, length)


def mapped(
    length: int, fd: int = -1, writable: bool = True, freed: Callable[[int, int], None] = unmap
) -> Any:
    """Map fresh memory, or a file copy-on-write: what is written to it here, nobody else sees.

    A shared map of a memfd that is sealed against writing is refused before Linux 6.7, also a
    read-only one; a private one is the same pages until somebody writes.

    Args:
        length: how many bytes, at least one.
        fd: the file; none for memory that is all zeros.
        writable: whether a write is no fault.
        freed: called with address and length when the last view is gone.

    Returns:
        a ctypes array of bytes, whose buffer may be viewed.

    Raises:
        OSError: there is no room.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    flags = mmap.MAP_PRIVATE | (mmap.MAP_ANONYMOUS if fd < 0 else _NORESERVE)
    address = _map(None, length, protection, flags, fd, 0)
    if address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, f"{length / 2**20:.0f} MiB of memory cannot be mapped: {os.strerror(code)}")
    if fd < 0 and length >= _HUGE:
        _advise(address, length, mmap.MADV_HUGEPAGE)  # a kernel without huge pages refuses; ordinary ones do
    return over(address, length, freed)


def over(address: int, length: int, freed: Callable[[int, int], None]) -> Any:
    """Return mapped memory as a ctypes array; `freed` as in `mapped`."""
    memory = (ctypes.c_char * length).from_address(address)
    weakref.finalize(memory, freed, address, length).atexit = False
    return memory


def room(length: int) -> Any:
    """Return memory that the other side will fill; what a request just before has done with is taken again.

    Pages that are there already are filled at several times the speed of fresh ones.
    """
    for found in tuple(_spare):
        if length <= found[1] <= 2 * length:
            try:
                _spare.remove(found)
            except ValueError:  # another thread was faster
                continue
            return over(*found, _spared)
    made = mapped(max(length, 1), freed=_spared)
    if length >= _HUGE:
        _fresh.append((ctypes.addressof(made), length))
    return made


def _spared(address: int, length: int) -> None:
    _spare.append((address, length))


def doom(address: int, length: int, owner: Any) -> None:
    """Unmap memory with the next `tidy`, and let go of who owns its file."""
    _doomed.append((address, length, owner))


def waiting() -> bool:
    """Return whether there is anything for `tidy` or `populate` to do; every reply asks."""
    return bool(_spare or _doomed or _fresh)


def tidy() -> None:
    """Unmap what is not used any more; this can wait until a reply has been sent."""
    for address, length in _taken(_spare):
        unmap(address, length)
    for address, length, _owner in _taken(_doomed):
        unmap(address, length)


def populate() -> None:
    """Get the pages of fresh rooms, from their end, while the other side fills them from their beginning.

    The two meet, and the rest is filled at full speed (MADV_POPULATE_WRITE in madvise(2)).
    """
    for address, length in _taken(_fresh):
        end = address + length
        while end > address:
            begin = max(address, (end - 1) // _STEP * _STEP)
            first = begin // mmap.PAGESIZE * mmap.PAGESIZE
            if _advise(first, end - first, _POPULATE_WRITE):
                break  # an older kernel, or no memory: whoever fills the room finds out
            end = begin


def _taken(queue: list[Any]) -> Iterator[Any]:
    """Yield what is in a queue that other threads and finalizers use, too; each item is taken out once."""
    while queue:
        try:
            yield queue.pop()
        except IndexError:  # another thread was faster
            return
