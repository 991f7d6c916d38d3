"""The few system calls that Python lacks (zygote and companion)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)

_PDEATHSIG, _DUMPABLE, _NAME = 1, 4, 15  # prctl(2)
_BOUNDING, _SECUREBITS, _SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = 24, 28, 36, 38, 47
_AMBIENT_CLEAR_ALL = 4
_LOCKED = 0xEF  # every securebit but KEEP_CAPS, each with its lock (capabilities(7))
_LAST_CAPABILITY = 63


def check(result: int, what: str) -> int:
    """Return what a system call has returned, or raise its OSError, which says what was tried."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int | bytes) -> None:
    """Set an attribute of this process, as the manual page "prctl" tells.

    Raises:
        OSError: the kernel refused.
    """
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    if _libc.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(parent: int | None) -> None:
    """Let the kernel kill this process when the thread that forked it ends (PR_SET_PDEATHSIG).

    Args:
        parent: its pid; if it is gone already, no signal will come, so this process leaves at once. None
            where the pid cannot be seen, from inside a pid namespace; then its supervisor's socket tells.
    """
    prctl(_PDEATHSIG, int(signal.SIGKILL))
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def survive_parent() -> None:
    """Take `die_with_parent` back."""
    prctl(_PDEATHSIG, 0)


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


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (PR_SET_CHILD_SUBREAPER)."""
    prctl(_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Let no exec give this process more rights, for good (PR_SET_NO_NEW_PRIVS)."""
    prctl(_NO_NEW_PRIVS, 1)


def unshare(flags: int) -> None:
    """Leave namespaces that this process shares with others (unshare(2)).

    Raises:
        OSError: EPERM where this is not allowed, ENOSPC where there are too many.
    """
    check(_libc.unshare(ctypes.c_int(flags)), "unshare")


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities(keep: int = 0) -> None:
    """Give up all capabilities for good, also those that an exec or a change of the user would bring.

    Args:
        keep: a mask of capabilities that stay; only for companions that are trusted.

    Raises:
        OSError: the kernel refused (capabilities(7)).
    """
    bound_capabilities(keep)
    if not keep:
        _libc.prctl(_AMBIENT, *map(ctypes.c_ulong, (_AMBIENT_CLEAR_ALL, 0, 0, 0)))
        try:
            prctl(_SECUREBITS, _LOCKED)
        except OSError:  # without CAP_SETPCAP; there is nothing to lock then
            pass
    header = _CapHeader(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    low, high = keep & 0xFFFFFFFF, keep >> 32
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    check(_libc.capset(ctypes.byref(header), sets), "capset")


def bound_capabilities(keep: int = 0) -> None:
    """Let no program that this process runs get capabilities but these; only who has CAP_SETPCAP can."""
    for capability in range(_LAST_CAPABILITY + 1):
        if not keep >> capability & 1:
            try:
                prctl(_BOUNDING, capability)
            except OSError:  # EINVAL: this kernel knows no such capability; EPERM: not ours to change
                continue


def capabilities() -> int:
    """Return the mask of the capabilities that this process may use (proc(5), CapEff)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))


def close_all_but(keep: list[int]) -> None:
    """Close every descriptor that is not named."""
    lowest = 0
    for fd in [*sorted(keep), 1 << 20]:
        if fd > lowest:
            os.closerange(lowest, fd)
        lowest = fd + 1


def bind_memory(nodes: list[int]) -> None:
    """Take memory of these NUMA nodes only (set_mempolicy(2), MPOL_BIND).

    Raises:
        OSError: there is no such node, or no NUMA in this kernel.
    """
    mask = (ctypes.c_ulong * 16)()
    for node in nodes:
        mask[node // 64] |= 1 << node % 64
    number = 238 if os.uname().machine == "x86_64" else 237
    check(_libc.syscall(number, 2, mask, ctypes.c_ulong(16 * 64 + 1)), "set_mempolicy")


def bring_loopback_up() -> None:
    """Switch on `lo` of this network namespace (netdevice(7), SIOCSIFFLAGS with IFF_UP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))


def narrow_buffers(proc: int) -> None:
    """Let TCP sockets of this network namespace hold little, since it is nobody's memory (tcp(7)).

    Args:
        proc: a descriptor of /proc.
    """
    for name in ("tcp_rmem", "tcp_wmem"):
        try:
            fd = os.open(f"sys/net/ipv4/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        except OSError:  # read-only, as in many containers
            return
        try:
            os.write(fd, b"4096 65536 262144")
        except OSError:
            return
        finally:
            os.close(fd)
