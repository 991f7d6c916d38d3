"""The native threads of this process, and which library each of them waits in (companion).

A library does not tell which threads are its own. But a pool's idle worker sleeps inside the library that
made it: the first return address on its stack that belongs to no C library is that library's.
"""

from __future__ import annotations

import array
import ctypes
import os
import platform
import re

from isolate_magic.child.libraries import Libraries

_TASKS = "/proc/self/task"
_ARM = platform.machine() == "aarch64"
_CALL = 8  # bytes before an address that may hold a call
_DEPTH = 8192  # bytes of a stack; a sleeping worker is a few frames deep
_TRANSPARENT = re.compile(r"(libc|libpthread|libstdc\+\+|libgcc_s|ld-linux-[\w-]+|linux-vdso|libc\+\+)[-.]")


def beside() -> list[str]:
    """Return the numbers of all threads but this one, as /proc has them.

    Raises:
        OSError: there is no /proc.
    """
    here = os.readlink("/proc/thread-self").rpartition("/")[2]
    return [number for number in os.listdir(_TASKS) if number != here]


def name(number: str) -> str:
    """Return the name that a thread has given itself; this process's where it has not."""
    try:
        with open(f"{_TASKS}/{number}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:  # it has ended
        return ""


def waits_in(number: str, libraries: Libraries) -> str | None:
    """Return the file of the library that a thread waits in.

    Args:
        number: the thread.
        libraries: what is loaded.

    Returns:
        the path; "" for Python itself, None where it does not wait, "?" where nobody knows.

    Raises:
        FileNotFoundError: it has ended.
        ProcessLookupError: likewise.
    """
    with open(f"{_TASKS}/{number}/syscall") as file:
        words = file.read().split()
    if len(words) < 3:  # "running"
        return None
    stack, counter = int(words[-2], 16), int(words[-1], 16)
    for address in (counter, *_stack(stack)):
        path = libraries.owner(address)
        if path is None or _TRANSPARENT.match(os.path.basename(path)):
            continue
        if address == counter or (libraries.owner(address - _CALL) == path and _follows_call(address)):
            return "" if path == _python(libraries) else path
    return "?"


def _follows_call(address: int) -> bool:
    """Return whether a call lies right before an address in code; before a pointer to a function none does.

    Intel's manual, volume 2, CALL: E8 with four bytes, or FF /2 with up to five more; Arm's: BL and BLR.
    """
    before = ctypes.string_at(address - _CALL, _CALL)
    if _ARM:
        word = int.from_bytes(before[4:], "little")
        return word >> 26 == 0b100101 or word & 0xFFFFFC1F == 0xD63F0000
    return before[3] == 0xE8 or any(
        before[-length] == 0xFF and before[1 - length] >> 3 & 7 == 2 for length in range(2, 8)
    )


def _stack(start: int) -> array.array[int]:
    """Read the words of a stack; through /proc, for the thread may end meanwhile, and its stack with it."""
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = os.pread(memory, _DEPTH, start)
    except OSError:
        raw = b""
    finally:
        os.close(memory)
    return array.array("Q", raw[: len(raw) // 8 * 8])


def _python(libraries: Libraries) -> str | None:
    """Return the file with the interpreter, which may be the program itself."""
    address = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value
    return libraries.owner(address or 0)
