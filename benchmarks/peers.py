"""The peers: other ways to call something in another process, each a contestant of `calls`."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.managers import BaseManager, NamespaceProxy
from typing import Any

from benchmarks import things
from benchmarks.driver import Contestant

KILOBYTE = b"x" * 1024
_LENGTH = struct.Struct("<I")


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a forked child and return its pid."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def end(pid: int) -> None:
    """Kill and reap a child."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class RawSocket(Contestant):
    """Send 64 bytes through a socketpair and get them back: the physical limit of a call."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.pid = fork(lambda: _mirror(ours, theirs))
        theirs.close()
        self.sock = ours

    def call(self, _number: int) -> None:
        """Send as much as a small call does."""
        self.sock.send(b"m" * 64)
        self.sock.recv(4096)

    attribute = call

    def echo(self, _number: int) -> None:
        """Send a kilobyte."""
        self.sock.send(KILOBYTE)
        self.sock.recv(4096)

    def stop(self) -> None:
        """End the child."""
        end(self.pid)


def _mirror(ours: socket.socket, theirs: socket.socket) -> None:
    ours.close()
    while packet := theirs.recv(4096):
        theirs.send(packet)


class RawPickle(Contestant):
    """Send a pickle of (operation, name, arguments) with its length before it, get one of the result."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.pid = fork(lambda: _serve_pickles(self.sock, theirs))
        theirs.close()

    def _ask(self, *request: Any) -> Any:
        send_pickle(self.sock, request)
        return receive_pickle(self.sock)

    def call(self, number: int) -> None:
        """Call a function."""
        self._ask("call", "add_one", (number,))

    def attribute(self, _number: int) -> None:
        """Read an attribute."""
        self._ask("get", "x", ())

    def echo(self, _number: int) -> None:
        """Send a kilobyte there and back."""
        self._ask("call", "echo", (KILOBYTE,))

    def stop(self) -> None:
        """End the child."""
        end(self.pid)


def send_pickle(sock: socket.socket, value: Any) -> None:
    """Send a value as a pickle behind its length."""
    body = pickle.dumps(value, 5)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def receive_pickle(sock: socket.socket) -> Any:
    """Receive what `send_pickle` sent; raises EOFError at the end."""
    head = sock.recv(4)
    if not head:
        raise EOFError
    return pickle.loads(sock.recv(_LENGTH.unpack(head)[0], socket.MSG_WAITALL))


def _serve_pickles(ours: socket.socket, theirs: socket.socket) -> None:
    ours.close()
    while True:
        operation, name, args = receive_pickle(theirs)
        if operation == "call":
            send_pickle(theirs, getattr(things, name)(*args))
        else:
            send_pickle(theirs, getattr(things.thing, name))


class _Served(things.Thing):
    add_one = staticmethod(things.add_one)
    echo = staticmethod(things.echo)


class _ServedProxy(NamespaceProxy):
    _exposed_ = ("__getattribute__", "add_one", "echo")

    def add_one(self, number: int) -> Any:
        return self._callmethod("add_one", (number,))

    def echo(self, body: bytes) -> Any:
        return self._callmethod("echo", (body,))


class _Manager(BaseManager):
    pass


_Manager.register("Served", _Served, _ServedProxy)


class Manager(Contestant):
    """Use a proxy of a `multiprocessing` manager."""

    def __init__(self) -> None:
        self.manager = _Manager(ctx=get_context("fork"))
        self.manager.start()
        self.served = self.manager.Served()  # type: ignore[attr-defined]

    def call(self, number: int) -> None:
        """Call a method."""
        self.served.add_one(number)

    def attribute(self, _number: int) -> None:
        """Read an attribute."""
        self.served.x  # noqa: B018

    def echo(self, _number: int) -> None:
        """Send a kilobyte there and back."""
        self.served.echo(KILOBYTE)

    def stop(self) -> None:
        """End the server."""
        self.manager.shutdown()


_RPYC = """
import socket, sys
from rpyc.core import SocketStream
from rpyc.core.service import ClassicService
from rpyc.utils.factory import connect_stream
connect_stream(SocketStream(socket.socket(fileno=int(sys.argv[1]))), ClassicService).serve_all()
"""


class Rpyc(Contestant):
    """Use netrefs of rpyc in classic mode, on a socketpair."""

    def __init__(self) -> None:
        from rpyc.core import SocketStream
        from rpyc.core.service import ClassicService
        from rpyc.utils.factory import connect_stream

        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _RPYC, str(theirs.fileno())]
            self.server = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self.connection = connect_stream(SocketStream(ours), ClassicService)
        module = self.connection.root.getmodule("benchmarks.things")
        self.add_one, self.thing, self.back = module.add_one, module.thing, module.echo

    def call(self, number: int) -> None:
        """Call a function through its netref."""
        self.add_one(number)

    def attribute(self, _number: int) -> None:
        """Read an attribute."""
        self.thing.x  # noqa: B018

    def echo(self, _number: int) -> None:
        """Send a kilobyte there and back."""
        self.back(KILOBYTE)

    def stop(self) -> None:
        """End the server."""
        self.server.kill()
        self.server.wait()
