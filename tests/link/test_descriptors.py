"""Descriptors that arrive over a socket, and the end of it."""

from __future__ import annotations

import array
import os
import socket

from isolate_magic.link import descriptors


def test_a_descriptor_arrives_closed_on_exec() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open(os.devnull, "rb") as null:
        theirs.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()]))])
        data, (fd,) = descriptors.receive(ours, 10, 1)
    assert data == b"x"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_the_end_is_an_empty_message_also_where_the_other_side_has_left_something_unread() -> None:
    for unread in (b"", b"x"):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            if unread:
                ours.send(unread)
            theirs.close()
            assert descriptors.receive(ours, 10, 1) == (b"", [])
