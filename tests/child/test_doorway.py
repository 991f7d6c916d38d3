"""A confined process, its supervisor and a host: what connect() reaches, and what it does not."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import platform
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic.child.doorway import MOST_PENDING, Doorway
from isolate_magic.dialer import Dialer

X86 = platform.machine() == "x86_64"
CONNECT = 42 if X86 else 203
OPENING = (2, 257, 59, 322) if X86 else (56, 221, 281)
libc = ctypes.CDLL(None, use_errno=True)

# ---------------------------------------------------------------- the three processes


def install(calls: tuple[int, ...]) -> int:
    """Let the calls wait for whoever holds the listener; return it."""
    lines = [(0x20, 0, 0, 0)]  # load the number
    for call in calls:
        lines += [(0x15, 0, 1, call), (0x06, 0, 0, 0x7FC00000)]  # SECCOMP_RET_USER_NOTIF
    lines.append((0x06, 0, 0, 0x7FFF0000))  # SECCOMP_RET_ALLOW
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(text)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    flags = 0x08 | 0x20  # NEW_LISTENER, WAIT_KILLABLE_RECV
    listener: int = libc.syscall(317 if X86 else 277, 1, flags, program)
    assert listener >= 0, os.strerror(ctypes.get_errno())
    return listener


def enter_own_network() -> None:
    """Leave the host's network: an empty namespace with loopback."""
    new_user, new_net = 0x10000000, 0x40000000
    if libc.unshare(new_net) and libc.unshare(new_user | new_net):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        import fcntl

        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running


def namespaces() -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            enter_own_network()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


OWN_NETWORK = pytest.mark.skipif(not namespaces(), reason="no network namespace can be had here")


class House:
    """The host's end."""

    def __init__(self, supervisor: int, lane: socket.socket, result: int, dialer: Dialer) -> None:
        self.supervisor, self.lane, self.dialer = supervisor, lane, dialer
        self.told: list[dict[str, Any]] = []
        self.asked: list[bytes] = []
        self.hold = False
        self._result = result
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while packet := self.lane.recv(65536):
            said = json.loads(packet)
            if said["do"] != "connect":
                self.told.append(said)
                continue
            self.asked.append(packet)
            if not self.hold:
                self.dialer.attend(packet, self.reply)

    def reply(self, packet: bytes, made: socket.socket | None) -> None:
        if made is None:
            self.lane.send(packet)
        else:
            socket.send_fds(self.lane, [packet], [made.fileno()])

    @property
    def worker(self) -> int:
        until(lambda: self.told)
        pid: int = self.told[0]["pid"]
        return pid

    def result(self) -> Any:
        """Wait for what the work returned; an error of its own is raised here."""
        with open(self._result, "rb", closefd=False) as stream:
            said = json.loads(stream.read() or b'{"died": true}')
        assert "failed" not in said, said["failed"]
        return said.get("returned")

    def records(self) -> list[tuple[str, str]]:
        until(lambda: bool(self.told) and self.told[-1]["do"] == "end")
        return [(said["kind"], said["target"]) for said in self.told[1:] if said["do"] == "record"]

    def close(self) -> None:
        self.lane.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.lane.close()
        os.close(self._result)
        assert os.waitpid(self.supervisor, 0)[1] == 0, "the supervisor died of something"


@contextmanager
def house(
    work: Callable[[], Any],
    allowed: tuple[str, ...] = (),
    *,
    inside: bool = False,
    tracing: bool = False,
    tethered: bool = True,
    asks: bool = True,
) -> Iterator[House]:
    """Run `work` in a confined process with a supervisor."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        status = 1
        try:
            here.close()
            os.close(reading)
            supervise(there, writing, work, inside, tracing, asks)
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    there.close()
    os.close(writing)
    dialer = Dialer(allowed)
    dialer.tethers = tethered and dialer.tethers
    with closing(House(supervisor, here, reading, dialer)) as made:
        yield made


def supervise(
    lane: socket.socket, result: int, work: Callable[[], Any], inside: bool, tracing: bool, asks: bool
) -> None:
    ours, theirs = socket.socketpair()
    worker = os.fork()
    if worker == 0:
        try:
            lane.close()
            ours.close()
            if inside:
                enter_own_network()
            listener = install((CONNECT, *OPENING) if tracing else (CONNECT,))
            socket.send_fds(theirs, [b"x"], [listener])
            theirs.recv(1)
            os.close(listener)
            said = {"returned": work()}
        except BaseException:
            said = {"failed": traceback.format_exc()}
        os.write(result, json.dumps(said).encode())
        os._exit(0)
    theirs.close()
    os.close(result)
    listener = socket.recv_fds(ours, 1, 1)[1][0]
    lane.send(json.dumps({"do": "worker", "pid": worker}).encode())
    doorway = Doorway(listener, lambda packet: lane.send(packet) and None, inside=inside, asks=asks)
    if tracing:
        doorway.record = lambda record: lane.send(json.dumps({"do": "record", **record}).encode()) and None
    ours.send(b"x")
    attend_both(doorway, lane, worker)
    with suppress(BrokenPipeError):  # the test has seen enough
        lane.send(json.dumps({"do": "end", "pending": doorway.sweep()}).encode())


def attend_both(doorway: Doorway, lane: socket.socket, worker: int) -> None:
    poll = select.poll()
    poll.register(doorway.listener, select.POLLIN)
    poll.register(lane, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == lane.fileno():
                packet, fds, _, _ = socket.recv_fds(lane, 65536, 4)
                if not packet:
                    os.kill(worker, signal.SIGKILL)
                    lane.close()
                    os.waitpid(worker, 0)
                    os._exit(0)
                assert doorway.attend(packet, fds)
            elif not doorway.ready():
                os.waitpid(worker, 0)
                return


def listening(family: socket.AddressFamily = socket.AF_INET, backlog: int = 256) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    made.listen(backlog)
    made.setblocking(False)
    return made


def entry(server: socket.socket) -> str:
    address, port = server.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def visitors(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with closing(listening()) as made:
        yield made


@pytest.fixture
def forbidden() -> Iterator[socket.socket]:
    with closing(listening()) as made:
        yield made


@pytest.fixture
def greeter() -> Iterator[tuple[str, int]]:
    """A server that greets each of its callers and says goodbye."""
    with closing(listening()) as made:
        made.setblocking(True)

        def serve() -> None:
            while True:
                try:
                    there = made.accept()[0]
                except OSError:
                    return
                with there:
                    there.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        yield made.getsockname()
        made.shutdown(socket.SHUT_RDWR)
        thread.join()


def code_of(act: Callable[[], Any]) -> str:
    """Name the error of an act."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    return "none"


def raw_connect(fd: int, address: Any, length: int) -> str:
    if libc.connect(fd, address, length) == 0:
        return "none"
    return errno.errorcode[ctypes.get_errno()]


def sockaddr(port: int, address: str = "127.0.0.1") -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


TETHERED = pytest.mark.skipif(not Dialer().tethers, reason="this kernel wants CAP_NET_ADMIN for a filter")

# ---------------------------------------------------------------- what is allowed


@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=OWN_NETWORK)])
def test_python_reaches_an_allowed_server(greeter: tuple[str, int], inside: bool) -> None:
    def work() -> Any:
        with socket.create_connection(greeter) as made:
            return [made.recv(5).decode(), made.getpeername()[1]]

    with house(work, (f"127.0.0.1:{greeter[1]}",), inside=inside) as home:
        assert home.result() == ["hello", greeter[1]]


@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=OWN_NETWORK)])
def test_python_with_a_timeout_reaches_an_allowed_server(greeter: tuple[str, int], inside: bool) -> None:
    def work() -> Any:
        with socket.create_connection(greeter, timeout=5) as made:
            return [made.recv(5).decode(), made.gettimeout()]

    with house(work, (f"127.0.0.1:{greeter[1]}",), inside=inside) as home:
        assert home.result() == ["hello", 5]


@pytest.mark.parametrize("tethered", [True, False])
def test_asyncio_reaches_many_allowed_servers_at_once(greeter: tuple[str, int], tethered: bool) -> None:
    async def one() -> str:
        reader, writer = await asyncio.open_connection(*greeter)
        said = await reader.read()
        writer.close()
        return said.decode()

    async def many() -> list[str]:
        return await asyncio.gather(*(one() for _ in range(20)))

    with house(lambda: asyncio.run(many()), (f"127.0.0.1:{greeter[1]}",), tethered=tethered) as home:
        assert home.result() == ["hello"] * 20


def test_ipv6_reaches_an_allowed_server() -> None:
    with closing(listening(socket.AF_INET6)) as server:
        target = server.getsockname()[:2]

        def work() -> Any:
            with socket.create_connection(target) as made:
                return [made.family, made.getpeername()[0]]

        with house(work, (entry(server),)) as home:
            assert home.result() == [socket.AF_INET6, "::1"]
        assert visitors(server) == 1


def test_a_mapped_address_is_the_address_that_it_holds(
    server: socket.socket, forbidden: socket.socket
) -> None:
    def work() -> Any:
        codes = []
        for to in (server, forbidden):
            with socket.socket(socket.AF_INET6) as made:
                codes.append(code_of(lambda: made.connect(("::ffff:127.0.0.1", to.getsockname()[1]))))
        return codes

    with house(work, (entry(server),)) as home:
        assert home.result() == ["none", "EACCES"]
    assert (visitors(server), visitors(forbidden)) == (1, 0)


C_CLIENT = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char text[64] = "";
    int one = 1, got = 0;
    socklen_t size = sizeof got;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) { printf("%d", errno); return 0; }
    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &got, &size);
    if (read(fd, text, 63) < 0) return 1;
    printf("%s %d %d", text, got != 0, fcntl(fd, F_GETFD));
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="no C compiler")
def test_a_program_in_c_notices_nothing(
    greeter: tuple[str, int], forbidden: socket.socket, tmp_path: Path
) -> None:
    program = tmp_path / "client"
    subprocess.run(["gcc", "-x", "c", "-", "-o", program], input=C_CLIENT.encode(), check=True)

    def work() -> Any:
        ports = (greeter[1], forbidden.getsockname()[1])
        return [subprocess.check_output([program, str(port)], text=True) for port in ports]

    with house(work, (f"127.0.0.1:{greeter[1]}",)) as home:
        assert home.result() == ["hello 1 1", str(errno.EACCES)]
    assert visitors(forbidden) == 0


def test_the_socket_keeps_its_number_and_what_was_set(server: socket.socket) -> None:
    def work() -> Any:
        with socket.socket() as made:
            number = made.fileno()
            os.set_inheritable(number, True)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
            made.connect(server.getsockname())
            return [
                made.fileno() == number,
                os.get_inheritable(number),
                os.get_blocking(number),
                made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            ]

    with house(work, (entry(server),)) as home:
        assert home.result() == [True, True, True, 1, 1, 77]


@TETHERED
def test_a_connect_that_does_not_wait_says_so_and_a_second_one_says_how_it_went(
    server: socket.socket,
) -> None:
    with closing(listening()) as gone:
        absent = gone.getsockname()

    def work() -> Any:
        codes = []
        for target in (server.getsockname(), absent):
            with socket.socket() as made:
                made.setblocking(False)
                codes.append(errno.errorcode[made.connect_ex(target)])
                select.select([], [made], [], 5)
                codes.append(errno.errorcode[made.connect_ex(target)])
                codes.append(os.get_blocking(made.fileno()))
        return codes

    with house(work, (entry(server), f"127.0.0.1:{absent[1]}")) as home:
        assert home.result() == ["EINPROGRESS", "EISCONN", False, "EINPROGRESS", "ECONNREFUSED", False]


def test_a_hundred_threads_connect_at_once(server: socket.socket) -> None:
    def work() -> Any:
        codes: list[str] = []

        def one() -> None:
            with socket.socket() as made:
                codes.append(code_of(lambda: made.connect(server.getsockname())))

        threads = [threading.Thread(target=one) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return codes

    with house(work, (entry(server),)) as home:
        assert home.result() == ["none"] * 100
    assert visitors(server) == 100


# ---------------------------------------------------------------- what is not


@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=OWN_NETWORK)])
def test_what_is_not_allowed_is_refused_and_never_seen(
    server: socket.socket, forbidden: socket.socket, inside: bool
) -> None:
    def work() -> Any:
        codes = []
        for target in (forbidden.getsockname(), ("192.0.2.1", 80)):
            for blocking in (True, False):
                with socket.socket() as made:
                    made.setblocking(blocking)
                    codes.append(code_of(lambda: made.connect(target)))
        return codes

    with house(work, (entry(server),), inside=inside) as home:
        own = ["ECONNREFUSED", "EINPROGRESS"] if inside else ["EACCES", "EACCES"]
        assert home.result() == [*own, "EACCES", "EACCES"]
    assert (visitors(server), visitors(forbidden)) == (0, 0)


def test_the_error_of_the_hosts_attempt_is_the_companions() -> None:
    with closing(listening()) as gone:
        target = gone.getsockname()

    with house(
        lambda: code_of(lambda: socket.create_connection(target)), (f"127.0.0.1:{target[1]}",)
    ) as home:
        assert home.result() == "ECONNREFUSED"


def test_without_a_network_of_its_own_only_tcp_may_connect(server: socket.socket, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as door:
        door.bind(str(tmp_path / "door"))
        door.listen()

        def work() -> Any:
            codes = []
            for family, kind, target in (
                (socket.AF_UNIX, socket.SOCK_STREAM, str(tmp_path / "door")),
                (socket.AF_INET, socket.SOCK_DGRAM, server.getsockname()),
            ):
                with socket.socket(family, kind) as made:
                    codes.append(code_of(lambda: made.connect(target)))
            return codes

        with house(work, (entry(server),)) as home:
            assert home.result() == ["EACCES", "EACCES"]
            assert not home.asked
        door.setblocking(False)
        assert visitors(door) == 0


def test_a_connection_cannot_be_dissolved(server: socket.socket) -> None:
    def work() -> Any:
        with socket.create_connection(server.getsockname()) as made:
            return [
                raw_connect(made.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16),
                raw_connect(made.fileno(), sockaddr(1), 16),
                made.getpeername()[1],
            ]

    with house(work, (entry(server),)) as home:
        assert home.result() == ["EISCONN", "EISCONN", server.getsockname()[1]]


def test_wrong_arguments_are_errors_and_harm_nobody(server: socket.socket) -> None:
    good = sockaddr(server.getsockname()[1])

    def work() -> Any:
        pipe = os.pipe()
        with socket.socket() as made, socket.socket(socket.AF_INET6) as six:
            fd = made.fileno()
            return [
                raw_connect(fd, ctypes.c_void_p(8), 16),
                raw_connect(fd, ctypes.c_void_p(2**64 - 8), 16),
                raw_connect(fd, None, 16),
                raw_connect(fd, good, -1),
                raw_connect(fd, good, 2**31 - 1),
                raw_connect(fd, good, 129),
                raw_connect(fd, good, 0),
                raw_connect(fd, good, 1),
                raw_connect(fd, good, 8),
                raw_connect(fd, struct.pack("=H30x", 77), 32),
                raw_connect(six.fileno(), good + bytes(16), 28),
                raw_connect(pipe[0], good, 16),
                raw_connect(9999, good, 16),
                raw_connect(-1, good, 16),
                raw_connect(fd, good, 16),
            ]

    with house(work, (entry(server),)) as home:
        bad = ["EFAULT"] * 3 + ["EINVAL"] * 6 + ["EAFNOSUPPORT"] * 2 + ["ENOTSOCK", "EBADF", "EBADF"]
        assert home.result() == [*bad, "none"]
    assert visitors(server) == 1


@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=OWN_NETWORK)])
def test_an_address_rewritten_after_the_look_reaches_nobody(
    server: socket.socket, forbidden: socket.socket, inside: bool
) -> None:
    good, bad = (sockaddr(one.getsockname()[1]) for one in (server, forbidden))

    def work() -> Any:
        shown = ctypes.create_string_buffer(good)
        done = threading.Event()

        def rewrite() -> None:
            while not done.is_set():
                ctypes.memmove(shown, bad, 16)
                ctypes.memmove(shown, good, 16)

        thread = threading.Thread(target=rewrite)
        thread.start()
        codes = set()
        for _ in range(150):
            with socket.socket() as made:
                codes.add(raw_connect(made.fileno(), shown, 16))
        done.set()
        thread.join()
        return sorted(codes)

    with house(work, (entry(server),), inside=inside) as home:
        assert "none" in home.result()
    assert visitors(forbidden) == 0
    assert visitors(server) > 0


# ---------------------------------------------------------------- a network of its own


@OWN_NETWORK
def test_servers_inside_are_reached_inside(server: socket.socket, tmp_path: Path) -> None:
    def work() -> Any:
        reached = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with closing(listening(family)) as own:
                for target in (address, "0.0.0.0" if family == socket.AF_INET else "::"):
                    with socket.create_connection((target, own.getsockname()[1])):
                        reached.append(visitors(own))
        with closing(socket.socket(socket.AF_UNIX)) as door, socket.socket(socket.AF_UNIX) as made:
            door.bind(str(tmp_path / "door"))
            door.listen()
            door.setblocking(False)
            made.connect(str(tmp_path / "door"))
            reached.append(visitors(door))
        with closing(socket.socket(socket.AF_UNIX)) as door, socket.socket(socket.AF_UNIX) as made:
            door.bind(b"\0abstract")
            door.listen()
            door.setblocking(False)
            made.connect(b"\0abstract")
            reached.append(visitors(door))
        os.chdir(tmp_path)
        os.symlink(tmp_path / "door", "link")
        for name in ("absent", "door", "./link"):
            with socket.socket(socket.AF_UNIX) as made:
                reached.append(code_of(lambda: made.connect(name)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.connect(("127.0.0.1", 9))
            reached.append(datagrams.getpeername()[1])
        return reached

    with house(work, (entry(server),), inside=True) as home:
        assert home.result() == [1, 1, 1, 1, 1, 1, "ENOENT", "ECONNREFUSED", "ECONNREFUSED", 9]
    assert visitors(server) == 0


@OWN_NETWORK
def test_a_connect_inside_that_has_to_wait_holds_nobody_up(server: socket.socket, tmp_path: Path) -> None:
    def work() -> Any:
        codes: list[str] = []
        with closing(socket.socket(socket.AF_UNIX)) as door:
            door.bind(str(tmp_path / "door"))
            door.listen(0)

            def knock() -> None:
                with socket.socket(socket.AF_UNIX) as made:
                    codes.append(code_of(lambda: made.connect(str(tmp_path / "door"))))

            threads = [threading.Thread(target=knock) for _ in range(10)]
            for thread in threads:
                thread.start()
            until(lambda: codes)
            with socket.create_connection(server.getsockname()):
                early = len(codes)
            for _ in range(10):
                door.accept()[0].close()
            for thread in threads:
                thread.join()
            return [early < 10, codes]

    with house(work, (entry(server),), inside=True) as home:
        assert home.result() == [True, ["none"] * 10]


@OWN_NETWORK
@pytest.mark.parametrize("tethered", [True, False])
def test_a_hosts_socket_slipped_under_a_connect_inside_reaches_nobody_else(
    server: socket.socket, forbidden: socket.socket, tethered: bool
) -> None:
    """The kernel would read AF_UNSPEC, then a forbidden address, on the host's own socket.

    Were the connects inside answered with SECCOMP_USER_NOTIF_FLAG_CONTINUE, this got through within 0.2 s.
    """
    bad = sockaddr(forbidden.getsockname()[1])
    apart = struct.pack("=H14x", socket.AF_UNSPEC)

    def work() -> Any:
        sys.setswitchinterval(1e-5)
        host = socket.create_connection(server.getsockname())
        host.setblocking(False)
        slot = os.dup(host.fileno())
        decoy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # which may go on, wherever it points
        shown = ctypes.create_string_buffer(apart)
        done = threading.Event()

        def swap() -> None:
            while not done.is_set():
                os.dup2(decoy.fileno(), slot)
                os.dup2(host.fileno(), slot)

        thread = threading.Thread(target=swap)
        thread.start()
        dissolved = 0
        for _ in range(100):
            for _ in range(40):
                libc.connect(slot, shown, 16)
            away = code_of(host.getpeername) != "none"
            dissolved += away
            ctypes.memmove(shown, bad if away else apart, 16)
        done.set()
        thread.join()
        return dissolved

    with house(work, (entry(server),), inside=True, tethered=tethered) as home:
        assert home.result() == 0
    assert visitors(forbidden) == 0


# ---------------------------------------------------------------- deaths


def test_a_worker_killed_in_a_connect_leaves_nothing_behind(server: socket.socket) -> None:
    with house(lambda: socket.create_connection(server.getsockname()), (entry(server),)) as home:
        home.hold = True
        until(lambda: home.asked)
        os.kill(home.worker, signal.SIGKILL)
        until(lambda: home.told and home.told[-1]["do"] == "end")
        assert home.told[-1]["pending"] == 0
        assert home.result() is None


def test_an_answer_for_a_caller_that_has_gone_is_dropped(greeter: tuple[str, int]) -> None:
    def work() -> Any:
        pid = os.fork()
        if pid == 0:
            socket.create_connection(greeter)
            os._exit(0)
        os.waitpid(pid, 0)
        with socket.create_connection(greeter) as made:
            return made.recv(5).decode()

    with house(work, (f"127.0.0.1:{greeter[1]}",)) as home:
        home.hold = True
        children = Path(f"/proc/{home.worker}/task/{home.worker}/children")
        until(lambda: home.asked)
        os.kill(int(children.read_text()), signal.SIGKILL)
        until(lambda: len(home.asked) == 2)
        with closing(socket.create_connection(greeter)) as stray:  # nobody ever asked with the id 1
            home.reply(json.dumps({"do": "connected", "id": 1}).encode(), stray)
        for packet in home.asked:  # the first caller is gone
            home.dialer.attend(packet, home.reply)
        assert home.result() == "hello"


def test_more_callers_than_may_wait_are_told_so(server: socket.socket) -> None:
    def work() -> Any:
        codes: list[str] = []

        def one() -> None:
            with socket.socket() as made:
                codes.append(code_of(lambda: made.connect(server.getsockname())))

        threads = [threading.Thread(target=one, daemon=True) for _ in range(MOST_PENDING + 20)]
        for thread in threads:
            thread.start()
        until(lambda: len(codes) == 20)
        return codes

    with house(work, (entry(server),)) as home:
        home.hold = True
        assert home.result() == ["EAGAIN"] * 20


# ---------------------------------------------------------------- the trace


def test_the_trace_names_what_is_opened_started_and_connected_to(
    server: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("x")
    true = shutil.which("true") or "/bin/true"

    def work() -> Any:
        os.chdir(tmp_path)
        open("in").close()
        with open("out", "w"):
            pass
        directory = os.open(tmp_path, os.O_RDONLY)
        os.close(os.open("in", os.O_RDONLY, dir_fd=directory))
        code_of((tmp_path / "absent").read_text)
        libc.open(ctypes.c_void_p(8), 0)
        socket.create_connection(server.getsockname()).close()
        return subprocess.call([true])

    with house(work, (entry(server),), tracing=True) as home:
        assert home.result() == 0
        found = home.records()
    inside = [(kind, target) for kind, target in found if target.startswith(str(tmp_path))]
    assert inside == [
        ("read", f"{tmp_path}/in"),
        ("write", f"{tmp_path}/out"),
        ("read", f"{tmp_path}"),
        ("read", f"{tmp_path}/in"),
        ("read", f"{tmp_path}/absent"),
    ]
    assert ("start", true) in found
    assert ("connect", entry(server)) in found


def test_without_a_list_of_addresses_the_kernel_connects_and_nobody_is_asked(
    server: socket.socket, tmp_path: Path
) -> None:
    def work() -> Any:
        with socket.create_connection(server.getsockname()) as made:
            reached = made.getpeername()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.connect(("127.0.0.1", 9))
        with socket.socket(socket.AF_UNIX) as made, socket.socket(socket.AF_UNIX) as other:
            codes = [
                code_of(lambda: made.connect(str(tmp_path / "absent"))),
                code_of(lambda: other.connect(b"\0x")),
            ]
        with socket.socket() as made:
            return [reached, *codes, raw_connect(made.fileno(), ctypes.c_void_p(8), 16)]

    with house(work, tracing=True, asks=False) as home:
        assert home.result() == [server.getsockname()[1], "ENOENT", "ECONNREFUSED", "EFAULT"]
        found = [target for kind, target in home.records() if kind == "connect"]
        assert home.asked == []
    assert found == [entry(server), "127.0.0.1:9", f"unix:{tmp_path}/absent", "unix:@x"]


def test_a_traced_open_costs_well_under_a_millisecond() -> None:
    def work() -> Any:
        began = time.perf_counter()
        for _ in range(500):
            os.close(os.open("/dev/null", os.O_RDONLY))
        return (time.perf_counter() - began) / 500

    with house(work, tracing=True) as home:
        assert home.result() < 0.001
