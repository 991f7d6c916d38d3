"""Attacks that an auditor has found by reading the code: each has worked once."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from boundary.conftest import start

from isolate_magic import Policy


@pytest.fixture
def reset() -> Iterator[int]:
    """Give the port of a server that ends each connection with a reset."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.close()

    serving = threading.Thread(target=serve)
    serving.start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    serving.join()
    server.close()


_DIAL = """
import gc, select, socket
talk = [one for one in gc.get_objects() if type(one).__name__ == "Conversation"][0]
try:
    sock = socket.socket(fileno=talk.door_fd(talk.ask_host("dial", "127.0.0.1", {allowed})))
except PermissionError:
    sock = socket.create_connection(("127.0.0.1", {allowed}))
ended = select.poll(); ended.register(sock, 0); ended.poll(2000)
sock.setblocking(False)
for _ in range(3): sock.connect_ex(("127.0.0.1", {victim}))
try: sock.send(b"hit")
except OSError: pass
"""


def test_a_socket_of_the_host_is_not_connected_anew(tier: str, reset: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0.3)
        companion = start("dial", tier, Policy(extends="untrusted", network=[f"127.0.0.1:{reset}"]))
        assert companion._process is not None
        companion._process.dialer.tethers = False  # as where sockets cannot be tethered
        companion.run(_DIAL.format(allowed=reset, victim=victim.getsockname()[1]))
        companion.close()
        with pytest.raises(TimeoutError):
            victim.accept()
