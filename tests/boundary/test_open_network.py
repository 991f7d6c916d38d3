"""A policy that confines files and leaves the network alone: the network is there, files are not."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from boundary.conftest import shared, start

from isolate_magic import Policy


def _greet(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"hello")


def test_files_are_confined_and_the_network_is_open(tier: str, tmp_path: Path) -> None:
    secret = shared(tmp_path / "folder") / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(5)
        threading.Thread(target=_greet, args=(listener,), daemon=True).start()
        companion = start("net", tier, Policy(read=[], trusted=False))
        port = listener.getsockname()[1]
        assert (
            companion.run(f"import socket; socket.create_connection(('localhost', {port}), 5).recv(9)")
            == b"hello"
        )
        companion.run(
            f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'hi', ('127.0.0.1', {udp.getsockname()[1]}))"
        )
        assert udp.recv(9) == b"hi"
        with pytest.raises(OSError):
            companion.run(f"open({str(secret)!r}).read()")
        with pytest.raises(OSError):
            companion.run("socket.socket(socket.AF_NETLINK)")
        abstract = f"\0isolate-test-{port}"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(abstract)
            server.listen()
            with pytest.raises(OSError):
                companion.run(f"socket.socket(socket.AF_UNIX).connect({abstract!r})")
    companion.close()
