"""Where the kernel cannot ask about connect, Python's sockets still reach what is allowed, and nothing else does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from isolate_magic import Companion, Policy


@pytest.fixture
def server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"hello")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def detoured(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Companion, int]]:
    monkeypatch.setenv("ISOLATE_MAGIC_NOTIFY", "off")
    policy = Policy(extends="untrusted").allow_tcp(f"127.0.0.1:{server}", f"localhost:{server}")
    with Companion("detoured", policy=policy) as companion:
        companion.run("import socket, ctypes")
        yield companion, server


def test_an_allowed_address_and_name_are_reached(detoured: tuple[Companion, int]) -> None:
    companion, port = detoured
    for host in ("127.0.0.1", "localhost"):
        assert companion.run(f"socket.create_connection(({host!r}, {port}), 5).recv(9)") == b"hello"
    assert "Python's socket only" in str(companion.report)


def test_asyncio_reaches_it_too(detoured: tuple[Companion, int]) -> None:
    companion, port = detoured
    companion.run(
        "import asyncio\n"
        f"reader, writer = await asyncio.open_connection('127.0.0.1', {port})\n"
        "text = await reader.read(9)\nwriter.close()"
    )
    assert companion.pull("text") == b"hello"


def test_another_address_is_refused(detoured: tuple[Companion, int]) -> None:
    companion, port = detoured
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        forbidden = other.getsockname()[1]
        with pytest.raises(PermissionError):
            companion.run(f"socket.create_connection(('127.0.0.1', {forbidden}), 5)")
        # A connection that was handed over cannot be led elsewhere, not even by C.
        code = (
            f"s = socket.create_connection(('127.0.0.1', {port}), 5)\n"
            "c = ctypes.CDLL(None, use_errno=True)\n"
            "c.connect(s.fileno(), bytes(16), 16)\n"
            f"to = b'\\x02\\x00' + ({forbidden}).to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(8)\n"
            "answer = c.connect(s.fileno(), to, 16)"
        )
        companion.run(code)
        assert companion.pull("answer") == -1
        with pytest.raises(TimeoutError):
            other.accept()
