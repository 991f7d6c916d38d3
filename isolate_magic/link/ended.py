"""How a process has ended that somebody else has collected (both sides)."""

from __future__ import annotations

import fcntl
import struct

_GET_INFO = 0xC040FF0B  # PIDFD_GET_INFO for the first 64 bytes of struct pidfd_info
_EXIT = 1 << 3  # PIDFD_INFO_EXIT


def exit_status(pidfd: int) -> int | None:
    """Return the wait status of a process that has been collected; None before Linux 6.15.

    (ioctl PIDFD_GET_INFO, include/uapi/linux/pidfd.h.)
    """
    room = bytearray(struct.pack("<Q", _EXIT).ljust(64, b"\0"))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, room)
    except OSError:
        return None
    mask, status = struct.unpack_from("<Q", room)[0], struct.unpack_from("<i", room, 60)[0]
    return status if mask & _EXIT else None
