"""The way out by Python's `socket`, where the kernel has none to offer C libraries (companion).

Where a kernel cannot ask the supervisor about `connect` (seccomp user notification, Linux 5.9), Python code
still reaches the allowed addresses: `connect` asks the main session, which connects, and takes its socket in
place of its own; there is no other `connect` then. And in tier L, which has no /etc/hosts of its own, the
allowed names are looked up here. It is a convenience inside the wall: what is allowed, the host decides.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_PROTOCOLS = (0, socket.IPPROTO_TCP)


def name_servers(hosts: Mapping[str, Sequence[str]]) -> None:
    """Let Python find the addresses of these names.

    Args:
        hosts: names in small letters, each with the addresses that the host has found for it.
    """
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        known = hosts.get(name.lower().rstrip("."), ()) if isinstance(name, str) else ()
        if not known:
            return look_up(host, port, *args, **kwargs)
        found: list[Any] = []
        for address in known:
            try:
                found += look_up(address, port, *args, **kwargs)
            except socket.gaierror:  # an address of the family that was not asked for
                continue
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    socket.getaddrinfo = getaddrinfo
    socket.gethostbyname = lambda name: getaddrinfo(name, None, socket.AF_INET)[0][4][0]


def roads(dial: Callable[[str, int], int]) -> None:
    """Let Python's stream sockets connect through the main session.

    Args:
        dial: asks the main session for a connection to an address and a port, and returns its descriptor;
            raises the OSError of the attempt.
    """
    connect = socket.socket.connect

    def connect_through(self: socket.socket, address: Any) -> None:
        internet = self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM
        if not internet or self.proto not in _PROTOCOLS:
            return connect(self, address)
        number = socket.getaddrinfo(address[0], address[1], self.family, self.type)[0][4][0]
        fd = dial(str(number), int(address[1]))
        blocking = self.gettimeout()
        os.dup2(fd, self.fileno(), inheritable=False)
        os.close(fd)
        self.settimeout(blocking)
        return None

    def connect_ex(self: socket.socket, address: Any) -> int:
        try:
            connect_through(self, address)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    socket.socket.connect = connect_through  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign,assignment]
