"""A connect() within a companion's own namespaces, made in its stead (zygote, in the supervisor).

If the kernel went on with the companion's own call, other threads could change the address or the socket at
the last moment, and so dissolve a connection of the host's and use its socket anew (seccomp_unotify(2), "the
check will be a TOCTOU"). Here the socket is a duplicate that this process holds and has looked at, and the
address lies in its own memory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys

from isolate_magic.child import notify

_NETNS_COOKIE = 71  # SO_NETNS_COOKIE, Linux 5.14
_OPENAT2, _IN_ROOT, _NO_MAGIC = 437, 0x10, 0x02  # openat2(2)

_libc = ctypes.CDLL(None, use_errno=True)


def network(sock: socket.socket) -> int:
    """Return the number of the network namespace that a socket belongs to; 0 where the kernel tells none."""
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8), sys.byteorder)
    except OSError:
        return 0


def connect(proc: int, pid: int, sock: socket.socket, name: bytes) -> int:
    """Connect a socket as the process `pid` would; return 0 or the error number.

    Args:
        proc: a descriptor of /proc, which must be this process's current directory.
        pid: whose root and current directory a path means.
        sock: a duplicate of its socket; one that blocks makes this wait.
        name: the sockaddr.
    """
    place = None
    try:
        if (
            sock.family == socket.AF_UNIX
            and _family(name) == socket.AF_UNIX
            and name[2:3] not in (b"", b"\0")
        ):
            place = _found(proc, pid, name[2:].split(b"\0", 1)[0])
            name = name[:2] + f"self/fd/{place}".encode() + b"\0"
    except OSError as error:
        return error.errno or errno.EACCES
    try:
        done = _libc.connect(sock.fileno(), name, len(name))
        return 0 if done == 0 else ctypes.get_errno()
    finally:
        if place is not None:
            os.close(place)


def _family(name: bytes) -> int:
    return int.from_bytes(name[:2], sys.byteorder)


def _found(proc: int, pid: int, path: bytes) -> int:
    """Open what a path means within another process's root, without following it out of there."""
    whole = os.path.join(os.fsencode(notify.link(proc, pid, "cwd")), path)
    root = os.open(f"{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _IN_ROOT | _NO_MAGIC)
        found: int = _libc.syscall(ctypes.c_long(_OPENAT2), root, whole, how, ctypes.c_size_t(len(how)))
        code = ctypes.get_errno()
    finally:
        os.close(root)
    if found < 0:
        raise OSError(code, os.strerror(code))
    return found
