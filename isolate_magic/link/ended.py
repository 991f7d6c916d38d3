"""How a process has ended that somebody else has collected (both sides)."""

from __future__ import annotations

import fcntl
import struct
import time

_GET_INFO = 0xC040FF0B  # PIDFD_GET_INFO for the first 64 bytes of struct pidfd_info
_EXIT = 1 << 3  # PIDFD_INFO_EXIT
_NOT_YET = -1
_LOOK = 0.001


def exit_status(pidfd: int, seconds: float) -> int | None:
    """Return the wait status of a process that somebody collects; None before Linux 6.15.

    (ioctl PIDFD_GET_INFO, include/uapi/linux/pidfd.h.)

    Args:
        pidfd: a descriptor of the process.
        seconds: how long that may take.
    """
    deadline = time.monotonic() + seconds
    while (found := _status(pidfd)) == _NOT_YET and time.monotonic() < deadline:
        time.sleep(_LOOK)
    return None if found == _NOT_YET else found


def _status(pidfd: int) -> int | None:
    room = bytearray(struct.pack("<Q", _EXIT).ljust(64, b"\0"))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, room)
    except OSError:
        return None
    mask, status = struct.unpack_from("<Q", room)[0], struct.unpack_from("<i", room, 60)[0]
    return status if mask & _EXIT else _NOT_YET
