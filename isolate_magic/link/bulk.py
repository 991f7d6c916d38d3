"""Large bodies: one copy between two address spaces, or a sealed memfd (both sides).

The host does all the copying, with `process_vm_readv` and `process_vm_writev` (process_vm_readv(2)).
Nothing needs sealing and the companion cannot cut memory under the host's feet: a wrong address is an
EFAULT. Where the kernel refuses, a memfd that the host made is filled by one side, sealed by the
host (memfd_create(2), F_ADD_SEALS in fcntl(2)) and mapped by the other.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Any

_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_F_ADD_SEALS = 1033
_TRIES = 4  # to seal; the kernel waits 0.15 s in each (memfd_wait_for_pins)
_CHUNK = 1 << 28  # one call could move MAX_RW_COUNT, just under 2 GiB; between two we can tell how far it is


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)


_Moved = Callable[[int], object]


def _transfer(call: str, pid: int, here: int, there: int, length: int, moved: _Moved | None) -> None:
    function = getattr(_libc, call)
    function.restype = ctypes.c_ssize_t
    done = 0
    while done < length:
        size = min(_CHUNK, length - done)
        local, remote = _Iovec(here + done, size), _Iovec(there + done, size)
        count = function(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, ctypes.c_ulong(0))
        if count <= 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{call} of {length} bytes: {os.strerror(code)}")
        done += count
        if moved is not None:
            moved(count)


def address(buffer: Any) -> int:
    """Return where a contiguous buffer starts; read-only buffers are welcome."""
    view = _PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), 0)
    try:
        return view.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))


class _PyBuffer(ctypes.Structure):
    # Py_buffer of the stable ABI (docs.python.org/3/c-api/buffer.html).
    _fields_ = (
        ("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    )  # fmt: skip


def fetch_to(pid: int, there: int, here: int, length: int, moved: _Moved | None = None) -> None:
    """Copy `length` bytes from address `there` of process `pid` to our address `here`.

    Args:
        pid: the process.
        there: where in it.
        here: where in this one.
        length: how many bytes.
        moved: told how many have been copied since it was told last.

    Raises:
        OSError: EFAULT for a bad address, EPERM without ptrace rights, ESRCH for a dead process.
    """
    _transfer("process_vm_readv", pid, here, there, length, moved)


def fetch_bytes(pid: int, there: int, length: int, moved: _Moved | None = None) -> bytes:
    """Copy `length` bytes from process `pid` into a new bytes object, with one copy; arguments as `fetch_to`.

    Raises:
        OSError: as `fetch_to`.
        MemoryError: there is no room for `length` bytes here.
    """
    new = ctypes.pythonapi.PyBytes_FromStringAndSize
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    start = ctypes.pythonapi.PyBytes_AsString
    start.restype, start.argtypes = ctypes.c_void_p, (ctypes.py_object,)
    body: bytes = new(None, length)  # nobody else has seen it yet, so filling it is allowed
    _transfer("process_vm_readv", pid, start(body), there, length, moved)
    return body


def store(pid: int, there: int, buffer: Any, moved: _Moved | None = None) -> None:
    """Copy a buffer to address `there` of process `pid`; arguments and errors as `fetch_to`."""
    view = memoryview(buffer).cast("B")
    _transfer("process_vm_writev", pid, address(view), there, view.nbytes, moved)


def make(length: int) -> int:
    """Make a memfd of `length` bytes that can be sealed; return its descriptor."""
    fd = os.memfd_create("isolate-bulk", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, max(length, 1))
    return fd


def seal(fd: int) -> None:
    """Make a memfd immutable for everybody.

    Raises:
        OSError: EBUSY while somebody holds a writable map of it.
    """
    for _ in range(_TRIES):
        try:
            fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
            return
        except OSError as error:  # EBUSY also while the kernel itself has a page in its hands, for a moment
            if error.errno != errno.EBUSY:
                raise
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)


def pour(fd: int, buffers: list[Any]) -> None:
    """Write buffers into a memfd, one after the other."""
    offset = 0
    for buffer in buffers:
        offset = write(fd, buffer, offset)


def write(fd: int, buffer: Any, offset: int, moved: _Moved | None = None) -> int:
    """Write a buffer into a memfd at an offset; return the offset behind it; `moved` as in `fetch_to`."""
    view = memoryview(buffer).cast("B")
    while len(view):
        written = os.pwrite(fd, view[:_CHUNK], offset)
        offset += written
        if moved is not None:
            moved(written)
        view = view[written:]
    return offset


def open_sealed(fd: int, length: int) -> mmap.mmap:
    """Map a sealed memfd copy-on-write; a file that is shorter than `length` raises ValueError.

    A shared map of a memfd that is sealed against writing is refused before Linux 6.7, a read-only one too.
    """
    check_length(fd, length)
    return mmap.mmap(fd, max(length, 1), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)


def check_length(fd: int, length: int) -> None:
    """Raise ValueError if a file is shorter than it was said to be."""
    if os.fstat(fd).st_size < length:
        raise ValueError(f"a memfd of {os.fstat(fd).st_size} bytes was said to hold {length}")
