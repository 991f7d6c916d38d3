"""Fork a process that is no child of ours (zygote and companion).

The usual way forks twice, which copies the page tables twice and frees one of the copies again: for a
gigabyte of small pages that is four times the cost of one fork. Here the process between shares our memory,
as between vfork(2) and exec, and does nothing but to call the C library's own fork, with all that is
registered for forks (pthread_atfork(3)). Its fork then steps back onto our stack, and returns as we do.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform

_CODE = {
    # push rbp, rbx, r12..r15; mov rbx, rdi; mov r12, rsp
    # clone(CLONE_VM | CLONE_VFORK | SIGCHLD, rsi, 0, 0, 0); jump to 1 unless it returned 0
    # xor ebp, ebp; call rbx; jump to 2 unless it returned 0; mov rsp, r12; xor eax, eax
    # 1: pop all; ret
    # 2: exit(eax < 0); hlt
    "x86_64": "555341544155415641574889fb4989e4bf1141000031d24531d24531c0b8380000000f05"
    "4885c0750d31edffd385c075104c89e431c0415f415e415d415c5b5dc3"
    "89c7c1ef1fb83c0000000f05f4",
    # The same, with x19 and x20 for rbx and r12; all of x19..x30 are saved.
    "aarch64": "fd7bbaa9f35301a9f55b02a9f76303a9f96b04a9fb7305a9f30300aaf4030091202288d2020080d2"
    "030080d2040080d2881b80d2010000d4c00000b51d0080d260023fd6400100359f020091000080d2"
    "f35341a9f55b42a9f76343a9f96b44a9fb7345a9fd7bc6a8c0035fd6"
    "007c1f53a80b80d2010000d4000020d4",
}
_STACK = 1 << 18
_FAILED = 1

_libc = ctypes.CDLL(None, use_errno=True)
_ready: _Aside | None = None


class _Aside:
    """Hold the code, the stack of the process between, and the function."""

    def __init__(self, code: bytes) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page.write(code)
        entry = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        executable = mmap.PROT_READ | mmap.PROT_EXEC
        if _libc.mprotect(ctypes.c_void_p(entry), ctypes.c_size_t(mmap.PAGESIZE), executable):
            raise OSError(ctypes.get_errno(), "mprotect")
        self._stack = mmap.mmap(-1, _STACK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._top = ctypes.addressof(ctypes.c_char.from_buffer(self._stack)) + _STACK
        self._fork = ctypes.cast(_libc.fork, ctypes.c_void_p)
        # Not CFUNCTYPE: the interpreter's lock is kept, as os.fork does.
        self._call = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)(entry)

    def fork(self) -> int:
        """Return the pid of the process between, 0 in the fork, or an errno below 0."""
        ctypes.pythonapi.PyOS_BeforeFork()
        between: int = self._call(self._fork, self._top)
        if between:
            ctypes.pythonapi.PyOS_AfterFork_Parent()
        else:
            ctypes.pythonapi.PyOS_AfterFork_Child()
        return between


def prepare() -> None:
    """Make the code executable, in the zygote; where that cannot be, a fork costs more."""
    global _ready
    code = _CODE.get(platform.machine())
    if code is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return
    try:
        _ready = _Aside(bytes.fromhex(code))
    except OSError:  # memory may not be made executable here
        return


def fork() -> bool:
    """Fork, and return whether this is the fork.

    Raises:
        OSError: there is no process to be had.
    """
    between = _ready.fork() if _ready is not None else _twice()
    if not between:
        return True
    if between < 0:
        raise OSError(-between, os.strerror(-between))
    if os.waitpid(between, 0)[1]:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return False


def _twice() -> int:
    """Fork twice; return the pid of the process between, or 0 in the second fork."""
    between = os.fork()
    if between:
        return between
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(_FAILED)
    return 0
