"""The native stack at a fatal signal, written by a handler in machine code (zygote and companion).

Python cannot run in a handler of SIGSEGV, and faulthandler knows Python's frames only (before 3.14). So a
page of machine code calls glibc's backtrace(3) and writes what that finds behind faulthandler's words. It
runs after faulthandler: whatever goes wrong, the Python stack is there. When it faults itself, or takes
longer than a second because some lock is held, the process dies at once, of the signal that it began with.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import signal
import struct

from isolate_magic.link.layout import NATIVE

_SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)  # faulthandler's
_FRAMES = 64
_SECONDS = 1  # for what takes a millisecond
_STACK = 256 << 10  # for two signals, one in the other, and the unwinder; only what is touched costs memory
_FLAGS = 0x08000000 | 0x40000000  # SA_ONSTACK | SA_NODEFER, sigaction(2)
_RT_SIGACTION = 13


class _Action(ctypes.Structure):
    _fields_ = (
        ("handler", ctypes.c_void_p), ("mask", ctypes.c_ubyte * 128), ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )  # fmt: skip


class _Stack(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class _Data(ctypes.Structure):
    """What the code reads and writes; `first` is the first signal, or 0."""

    _fields_ = (
        ("first", ctypes.c_uint64), ("fd", ctypes.c_uint64), ("frames", ctypes.c_void_p * _FRAMES),
        ("heading", ctypes.c_char * 96),
    )  # fmt: skip


class Native:
    """Build the handler, in the zygote; a companion inherits and installs it.

    Raises:
        OSError: there is none for this processor or C library, or the system forbids such a page.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
            raise OSError("the handler is written for x86-64 and glibc")
        self._libc = ctypes.CDLL(None, use_errno=True)
        unwinder = ctypes.CDLL("libgcc_s.so.1")
        self._memory, self._code, self._stack = (
            _memory(mmap.PAGESIZE),
            _memory(mmap.PAGESIZE),
            _memory(_STACK),
        )
        self._data = _Data.from_buffer(self._memory)
        # The unwinder is loaded at its first use, which must not be in a signal handler.
        self._libc.backtrace(ctypes.byref(self._data.frames), 1)
        self._data.frames[0] = None
        self._entry = _address(self._code)
        code = self._assembled()
        self._code.write(code)
        self._frame = ctypes.create_string_buffer(_described(self._entry, len(code)))
        executable = mmap.PROT_READ | mmap.PROT_EXEC
        self._check(self._libc.mprotect(ctypes.c_void_p(self._entry), mmap.PAGESIZE, executable))
        _kept.append(self)  # what the unwinder has been told of must stay
        unwinder["__register_frame"](self._frame)
        self._action = _Action(handler=self._entry, flags=_FLAGS)
        self._signal_stack = _Stack(_address(self._stack), 0, _STACK)
        self._data.heading = b"\n\n%s %#018x\n" % (NATIVE.encode(), self._way_back())

    def install(self, fd: int) -> None:
        """Write the native stack to `fd` at a fatal signal; call it before faulthandler is enabled."""
        self._data.fd = fd
        for number in _SIGNALS:
            self._check(self._libc.sigaction(int(number), ctypes.byref(self._action), None))

    def widen(self) -> None:
        """Give signal handlers a larger stack than faulthandler does; call it after that is enabled."""
        self._check(self._libc.sigaltstack(ctypes.byref(self._signal_stack), None))

    def _way_back(self) -> int:
        """Return where handlers of signals return to, by which a stack is known to have come from one."""
        number, before = int(_SIGNALS[0]), _Action()
        known = (ctypes.c_uint64 * 4)()  # handler, flags, restorer and mask, as the kernel keeps them
        self._check(self._libc.sigaction(number, ctypes.byref(self._action), ctypes.byref(before)))
        asked = (_RT_SIGACTION, number, None, ctypes.byref(known), ctypes.c_size_t(8))
        self._check(self._libc.syscall(*asked))
        self._check(self._libc.sigaction(number, ctypes.byref(before), None))
        return known[2]

    def _check(self, result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), "the handler of fatal signals")

    def _assembled(self) -> bytes:
        """Return the handler: six calls for the first signal, and for any other the three that end all."""
        data, at = _address(self._memory), _At
        field = {name: data + getattr(_Data, name).offset for name, _ in _Data._fields_}
        fd, first, frames = at(field["fd"]), at(field["first"]), field["frames"]
        heading, length = field["heading"], len(NATIVE) + 22
        tell = (
            self._call("signal", int(signal.SIGALRM), self._entry)
            + self._call("alarm", _SECONDS)
            + self._call("write", fd, heading, length)
            + self._call("backtrace", frames, _FRAMES)
            + self._call("backtrace_symbols_fd", frames, _RESULT, fd)
        )
        die = self._call("signal", first, 0) + self._call("raise", first) + self._call("_exit", 70)
        # endbr64; push rbp; mov rbp, rsp; xor eax, eax; mov rcx, FIRST; lock cmpxchg [rcx], edi; jne DIE
        begin = bytes.fromhex("f30f1efa 55 4889e5 31c0 48b9") + struct.pack("<Q", first)
        return begin + bytes.fromhex("f00fb139 0f85") + struct.pack("<i", len(tell)) + tell + die

    def _call(self, name: str, *arguments: int) -> bytes:
        """Return the instructions of a call; the stack is aligned for it (System V ABI for x86-64)."""
        code = b""
        for move, load, value in zip(
            (b"\x48\xbf", b"\x48\xbe", b"\x48\xba"), _LOADS, arguments, strict=False
        ):
            if value == _RESULT:
                code += b"\x89\xc6"  # mov esi, eax
            else:
                code += move + struct.pack("<Q", value) + (load if isinstance(value, _At) else b"")
        function = ctypes.cast(getattr(self._libc, name), ctypes.c_void_p).value
        return code + b"\x48\xb8" + struct.pack("<Q", function) + b"\xff\xd0"


_RESULT = -1  # as the second argument: what the call before has returned
_LOADS = (b"\x48\x8b\x3f", b"\x48\x8b\x36", b"\x48\x8b\x12")  # mov rdi, [rdi] and so on


class _At(int):
    """An address that stands for what lies there."""


_kept: list[Native] = []


def _memory(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _described(code: int, length: int) -> bytes:
    """Return the DWARF that leads an unwinder past the handler (System V ABI for x86-64, 3.7).

    In all of its calls rbp (register 6) points to the saved rbp, and the return address (16) lies above.
    """
    rules = b"\x0c\x06\x10" + b"\x86\x02" + b"\x90\x01"  # the frame ends at rbp + 16; both lie below
    common = (
        struct.pack("<IB", 0, 1) + b"\0" + b"\x01\x78\x10" + rules
    )  # version 1; units of 1 and of -8 bytes
    common += bytes(-len(common) % 4)
    frame = struct.pack("<IQQ", len(common) + 8, code, length)
    return struct.pack("<I", len(common)) + common + struct.pack("<I", len(frame)) + frame + bytes(4)


def prepared() -> Native | None:
    """Return a handler, or None where there can be none: then only Python's frames are told."""
    try:
        return Native()
    except (OSError, AttributeError):
        return None
