"""The few system calls that Python lacks (zygote and companion)."""

from __future__ import annotations

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)

_PDEATHSIG, _DUMPABLE, _NAME = 1, 4, 15  # prctl(2)


def prctl(option: int, value: int | bytes) -> None:
    """Set an attribute of this process, as the manual page "prctl" tells.

    Raises:
        OSError: the kernel refused.
    """
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    if _libc.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it ends (PR_SET_PDEATHSIG).

    Args:
        parent: its pid; if it is gone already, no signal will come, so this process leaves at once.
    """
    prctl(_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(name: str) -> None:
    """Set the name that ps and top show, cut to 15 bytes."""
    prctl(_NAME, name.encode()[:15])


def allow_attach() -> None:
    """Let the owner read this process's memory (PR_SET_DUMPABLE), which bulk data needs."""
    prctl(_DUMPABLE, 1)


def unbuffer_c_stdout() -> None:
    """Let C's stdout write at once, so that a crash loses nothing (setvbuf(3), _IONBF is 2)."""
    stdout = ctypes.c_void_p.in_dll(_libc, "stdout")
    _libc.setvbuf(stdout, None, 2, ctypes.c_size_t(0))
