"""What a system call that waits here tries: the file, the program or the address (supervisor).

All of it is read from the caller's memory, which may change right afterwards.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys

from isolate_magic.child import notify
from isolate_magic.link import bulk

_OPENING = ("open", "creat", "openat", "openat2")
_STARTING = ("execve", "execveat")
CALLS = (*_OPENING, *_STARTING, "connect")
"""The calls that are understood."""

_LONGEST = 128  # sizeof(struct sockaddr_storage)


def tried(proc: int, call: notify.Notification) -> tuple[str, str]:
    """Return the kind (`read`, `write`, `start`, `connect`) of a call and its target.

    The target is "" for an address of a family that leads nowhere.

    Args:
        proc: a descriptor of a /proc that counts processes as this process does.
        call: one of `CALLS`.

    Raises:
        OSError: the caller's memory cannot be read.
    """
    if call.call == "connect":
        return "connect", spelled(sockaddr(call.pid, call.args[1], integer(call.args[2])))
    at = call.call in ("openat", "openat2", "execveat")
    directory, place, rest = (integer(call.args[0]), *call.args[1:3]) if at else (-100, *call.args[:2])
    target = notify.absolute(proc, call.pid, directory, notify.path(call.pid, place))
    return ("start" if call.call in _STARTING else _way(call, rest)), target


def _way(call: notify.Notification, flags: int) -> str:
    if call.call == "creat":
        return "write"
    if call.call == "openat2":  # struct open_how begins with the flags
        flags = int.from_bytes(bulk.fetch_bytes(call.pid, flags, 8), "little")
    changes = flags & os.O_ACCMODE or flags & (os.O_CREAT | os.O_TRUNC)
    return "write" if changes and not flags & os.O_PATH else "read"


def integer(argument: int) -> int:
    """Read a register as the C int that the kernel takes from it."""
    return (argument & 0xFFFFFFFF) - (1 << 32 if argument & 0x80000000 else 0)


def sockaddr(pid: int, place: int, length: int) -> bytes:
    """Return the address that a caller's memory holds; raises the OSError that connect(2) would."""
    if not 0 <= length <= _LONGEST:
        raise OSError(errno.EINVAL, "not the length of a sockaddr")
    try:
        return bulk.fetch_bytes(pid, place, length) if length else b""
    except OSError as error:
        raise OSError(errno.EFAULT if error.errno == errno.EFAULT else errno.EACCES, "not read") from None


def spelled(name: bytes) -> str:
    """Write a sockaddr (ip(7), ipv6(7), unix(7)) as text; "" for one of another family, or too short."""
    family = int.from_bytes(name[:2], sys.byteorder)
    port = int.from_bytes(name[2:4], "big")
    if family == socket.AF_UNIX:
        path = os.fsdecode(name[2:].rstrip(bytes(1)))
        return f"unix:@{path[1:]}" if path.startswith("\0") else f"unix:{path}"
    if family == socket.AF_INET and len(name) >= 8:
        return f"{ipaddress.ip_address(name[4:8])}:{port}"
    if family == socket.AF_INET6 and len(name) >= 24:
        return f"[{ipaddress.ip_address(name[8:24])}]:{port}"
    return ""
