"""Descriptors that arrive over a socket, closed on exec from the first moment (both sides).

`socket.recv_fds` of Python 3.11 drops its flags, so what it receives would reach every program that
user code starts.
"""

from __future__ import annotations

import array
import socket

_SO_PASSRIGHTS = 83


def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive one message and its descriptors.

    Args:
        sock: a Unix socket.
        size: most bytes of the message.
        most: most descriptors; the kernel closes what is over.

    Returns:
        the message, empty if the other side has closed, and the descriptors.
    """
    fds = array.array("i")
    try:
        data, beside, _, _ = sock.recvmsg(size, socket.CMSG_LEN(most * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # it closed with something of ours unread (unix(7))
        return b"", []
    for level, kind, content in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def refuse(end: socket.socket) -> None:
    """Refuse descriptors from the other side: closing one of its making could hold us up (socket(7))."""
    try:
        end.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:  # before Linux 6.16 they are closed unseen by each `recv`
        return
