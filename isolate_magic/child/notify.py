"""System calls that wait for a word from outside: seccomp's user notification (zygote, in the supervisor).

A filter with SECCOMP_RET_USER_NOTIF stops the caller and shows the call to whoever holds the listener
(seccomp_unotify(2), linux/seccomp.h). The layouts and the ioctl numbers below are the same on x86-64 and
aarch64. What is read from the caller's memory or descriptors is only believed after `valid`, for its pid may
have been taken by another process; and what the kernel reads again after `proceed` may have changed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import struct
from typing import NamedTuple

from isolate_magic.child import syscalls
from isolate_magic.link import bulk

_NOTIF = struct.Struct("=QII iIQ6Q")  # seccomp_notif: id, pid, flags, then seccomp_data: nr, arch, ip, args
_RESP = struct.Struct("=QqiI")  # seccomp_notif_resp: id, val, error, flags
_ADDFD = struct.Struct("=QIIII")  # seccomp_notif_addfd: id, flags, srcfd, newfd, newfd_flags
_RECV, _SEND, _ID_VALID, _ADD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_SET_FLAGS, _SYNC_WAKE_UP = 0x40082104, 1  # Linux 6.6
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_SETFD = 1  # SECCOMP_ADDFD_FLAG_SETFD
_PIDFD_GETFD = 438  # on every machine
_LONGEST_PATH = 4096  # PATH_MAX, with its end

_libc = ctypes.CDLL(None, use_errno=True)


class Notification(NamedTuple):
    """One call that waits.

    Attributes:
        id: its number; it is void as soon as the caller dies or a signal takes it out of the call.
        pid: the thread that calls, as this process's pid namespace counts; 0 if it is not seen there.
        call: the name of the system call, or "" for one that `syscalls` does not know.
        args: its six arguments, unsigned.
    """

    id: int
    pid: int
    call: str
    args: tuple[int, ...]


def receive(listener: int) -> Notification | None:
    """Take the next waiting call; None if its caller has gone meanwhile. Poll first, or this waits."""
    room = bytearray(_NOTIF.size)  # the kernel wants zeros
    try:
        fcntl.ioctl(listener, _RECV, room, True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, pid, _, call, _, _, *args = _NOTIF.unpack(room)
    return Notification(number, pid, _name(call), tuple(args))


@functools.lru_cache(maxsize=64)
def _name(call: int) -> str:
    return syscalls.name(call, syscalls.machine()) or ""


def wake_at_once(listener: int) -> bool:
    """Let the kernel run the caller on this processor as soon as it is answered; False before Linux 6.6."""
    try:
        fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)
    except OSError:
        return False
    return True


def valid(listener: int, number: int) -> bool:
    """Tell whether a call still waits."""
    try:
        fcntl.ioctl(listener, _ID_VALID, struct.pack("=Q", number))
    except OSError:
        return False
    return True


def proceed(listener: int, number: int) -> bool:
    """Let the kernel carry the call out, with arguments that may have changed since they were looked at.

    Returns:
        Whether the caller was still there, as for `answer`.
    """
    return _send(listener, _RESP.pack(number, 0, 0, _CONTINUE))


def answer(listener: int, number: int, code: int = 0) -> bool:
    """End the call with 0, or with the error `code`; return whether the caller was still there."""
    return _send(listener, _RESP.pack(number, 0, -code, 0))


def _send(listener: int, response: bytes) -> bool:
    try:
        fcntl.ioctl(listener, _SEND, response)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINPROGRESS):  # EINPROGRESS: answered before
            return False
        raise
    return True


def put(listener: int, number: int, fd: int, target: int, cloexec: bool) -> None:
    """Put a descriptor of ours in the place of the caller's descriptor `target`, as dup3(2) would.

    Raises:
        OSError: ENOENT if the caller has gone, EBADF or EMFILE if `target` is out of its range.
    """
    fcntl.ioctl(listener, _ADD, _ADDFD.pack(number, _SETFD, fd, target, os.O_CLOEXEC if cloexec else 0))


def take(proc: int, pid: int, fd: int) -> int:
    """Duplicate a descriptor of another process into this one (pidfd_getfd(2)).

    Args:
        proc: a descriptor of a /proc that counts processes as this process does; so everywhere below.
        pid: a process, or one thread of it.
        fd: the number of the descriptor there.

    Raises:
        OSError: EBADF, EPERM without ptrace rights, ESRCH for a dead process.
    """
    pidfd = _open(proc, pid)
    try:
        got: int = _libc.syscall(ctypes.c_long(_PIDFD_GETFD), pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if got < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"pidfd_getfd: {os.strerror(code)}")
    return got


def _open(proc: int, pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise
        return os.pidfd_open(leader(proc, pid))  # it was a thread: EINVAL, from Linux 6.9 on ENOENT


def leader(proc: int, pid: int) -> int:
    """Return the process that a thread belongs to; raises ProcessLookupError when it is gone."""
    try:
        return int(_line(proc, f"{pid}/status", b"Tgid:"))
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, f"thread {pid} is gone") from None


def cloexec(proc: int, pid: int, fd: int) -> bool:
    """Tell whether a descriptor of another process closes on exec (proc_pid_fdinfo(5)); EBADF if none."""
    try:
        flags = _line(proc, f"{pid}/fdinfo/{fd}", b"flags:")
    except FileNotFoundError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
    return bool(int(flags, 8) & os.O_CLOEXEC)


def _line(proc: int, name: str, key: bytes) -> bytes:
    """Return what stands behind a key in a small file of /proc."""
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        text = os.read(file, 4096)
    except ProcessLookupError:  # it ended between the two calls
        raise FileNotFoundError(errno.ENOENT, name) from None
    finally:
        os.close(file)
    for line in text.splitlines():
        if line.startswith(key):
            return line[len(key) :].strip()
    raise FileNotFoundError(errno.ENOENT, name)


def link(proc: int, pid: int, name: str) -> str:
    """Read a link of another process's folder in /proc, such as `cwd` or `fd/3`."""
    return os.readlink(f"{pid}/{name}", dir_fd=proc)


def path(pid: int, address: int) -> str:
    """Read the path that the caller's memory holds at `address`, to its NUL.

    Raises:
        OSError: EFAULT for a wrong address, ENAMETOOLONG for what has no end.
    """
    found = b""
    while len(found) < _LONGEST_PATH:
        # No step crosses a page, for the page behind a short path may not exist.
        step = min(mmap.PAGESIZE - (address + len(found)) % mmap.PAGESIZE, _LONGEST_PATH - len(found))
        piece = bulk.fetch_bytes(pid, address + len(found), step)
        end = piece.find(0)
        if end >= 0:
            return os.fsdecode(found + piece[:end])
        found += piece
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def absolute(proc: int, pid: int, directory: int, name: str) -> str:
    """Say what path a name means to the caller, with symbolic links left as they are.

    Args:
        proc: as for `take`.
        pid: the caller.
        directory: the descriptor that the name begins at; AT_FDCWD (-100) is its current directory.
        name: the path as the caller wrote it.
    """
    if name.startswith("/"):
        return name
    place = "cwd" if directory == -100 else f"fd/{directory}"
    try:
        start = link(proc, pid, place)
    except OSError:
        return name
    return os.path.join(start, name) if name else start
