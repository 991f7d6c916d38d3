"""Who may be reached, and that a socket reaches nobody else."""

from __future__ import annotations

import errno
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from waiting import until

from isolate_magic.dialer import MOST_AT_ONCE, MOST_WAITING, Dialer, endpoint


def listening(family: socket.AddressFamily = socket.AF_INET, backlog: int = 64) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    made.listen(backlog)
    made.setblocking(False)
    return made


def port_of(made: socket.socket) -> int:
    port: int = made.getsockname()[1]
    return port


def nobody_came(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return True
    return False


TETHERED = pytest.mark.skipif(not Dialer().tethers, reason="this kernel wants CAP_NET_ADMIN for a filter")


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with closing(listening()) as made:
        yield made


@pytest.fixture
def forbidden() -> Iterator[socket.socket]:
    with closing(listening()) as made:
        yield made


def question(address: str, port: int, *, wait: bool = True, inside: bool = False, number: int = 7) -> bytes:
    asked = {
        "do": "connect",
        "id": number,
        "family": 2,
        "address": address,
        "port": port,
        "wait": wait,
        "inside": inside,
    }
    return json.dumps(asked).encode()


class Answers:
    """What a dialer replied, and the sockets that came with it."""

    def __init__(self) -> None:
        self.packets: list[dict[str, object]] = []
        self.sockets: list[socket.socket] = []

    def __call__(self, packet: bytes, made: socket.socket | None) -> None:
        if made is not None:
            self.sockets.append(made.dup())
        self.packets.append(json.loads(packet))

    def close(self) -> None:
        for made in self.sockets:
            made.close()


@pytest.fixture
def answers() -> Iterator[Answers]:
    with closing(Answers()) as made:
        yield made


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("Example.ORG.:443", ("example.org", 443)),
    ],
)
def test_an_entry_is_a_host_and_a_port(entry: str, meant: tuple[str, int]) -> None:
    assert endpoint(entry) == meant


@pytest.mark.parametrize(
    "entry",
    ["*:80", "host", "host:0", "host:65536", "::1:80", "[host]:80", "a b:80", "", "0.0.0.0:80", "[::]:80"],
)
def test_an_entry_that_names_no_server_is_an_error_that_says_so(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^'"):
        Dialer((entry,))


def test_only_the_address_and_port_of_an_entry_are_permitted() -> None:
    dialer = Dialer(("127.0.0.1:80", "[::1]:81"))
    assert dialer.permits("127.0.0.1", 80)
    assert dialer.permits("::ffff:127.0.0.1", 80)
    assert dialer.permits("0:0:0:0:0:0:0:1", 81)
    for address, port in (("127.0.0.1", 81), ("127.0.0.2", 80), ("::1", 80), ("0.0.0.0", 80), ("x", 80)):
        assert not dialer.permits(address, port)
    assert not dialer.permits("::1%lo", 81)


def test_a_name_permits_what_the_host_resolves(server: socket.socket) -> None:
    dialer = Dialer((f"localhost:{port_of(server)}",))
    assert not dialer.permits("127.0.0.1", port_of(server))
    dialer.resolve()
    assert "127.0.0.1" in dialer.hosts()["localhost"]
    assert dialer.permits("127.0.0.1", port_of(server))
    assert not dialer.permits("127.0.0.1", port_of(server) + 1)


def test_an_unknown_address_makes_the_host_look_the_names_up_again(server: socket.socket) -> None:
    dialer = Dialer((f"localhost:{port_of(server)}",))
    dialer.dial("127.0.0.1", port_of(server)).close()


def test_a_name_with_a_dot_never_leads_to_this_machine() -> None:
    dialer = Dialer(("127.1:80", "169.254.43518:80", "192.0.513:80"))  # numbers that only a resolver reads
    dialer.resolve()
    assert dialer.hosts() == {"127.1": [], "169.254.43518": [], "192.0.513": ["192.0.2.1"]}


def test_a_name_that_nobody_knows_permits_nothing() -> None:
    dialer = Dialer(("nowhere.invalid:80",))
    dialer.resolve()
    assert dialer.hosts() == {"nowhere.invalid": []}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_allowed_server_is_reached(family: socket.AddressFamily) -> None:
    with closing(listening(family)) as server:
        address, port = server.getsockname()[:2]
        dialer = Dialer((f"[{address}]:{port}" if ":" in address else f"{address}:{port}",))
        with dialer.dial(address, port) as made:
            server.setblocking(True)
            with server.accept()[0] as there:
                there.sendall(b"x" * 100_000)
                there.shutdown(socket.SHUT_WR)
                assert sum(len(part) for part in iter(lambda: made.recv(65536), b"")) == 100_000


def test_an_allowed_server_is_reached_by_its_mapped_address(server: socket.socket) -> None:
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    with dialer.dial("::ffff:127.0.0.1", port_of(server)) as made:
        assert made.family == socket.AF_INET6


def test_what_is_not_allowed_is_not_even_tried(server: socket.socket, forbidden: socket.socket) -> None:
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    with pytest.raises(PermissionError):
        dialer.dial("127.0.0.1", port_of(forbidden))
    with pytest.raises(PermissionError):
        dialer.begin("127.0.0.1", port_of(forbidden))
    assert nobody_came(forbidden)
    assert nobody_came(server)


def test_the_allowed_servers_can_be_replaced_at_any_time(
    server: socket.socket, forbidden: socket.socket
) -> None:
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    dialer.allowed = (f"127.0.0.1:{port_of(forbidden)}",)
    dialer.dial("127.0.0.1", port_of(forbidden)).close()
    with pytest.raises(PermissionError):
        dialer.dial("127.0.0.1", port_of(server))
    with pytest.raises(ValueError):
        dialer.allowed = ("nonsense",)
    assert dialer.permits("127.0.0.1", port_of(forbidden))


def dissolved(made: socket.socket) -> socket.socket:
    """Undo a connection, as connect(2) tells: "connectionless again"."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(made.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) == 0
    made.settimeout(0.3)
    return made


@pytest.mark.parametrize("form", ["127.0.0.1", "::ffff:127.0.0.1"])
@TETHERED
def test_a_socket_that_was_dissolved_reaches_nobody_else(
    form: str, server: socket.socket, forbidden: socket.socket
) -> None:
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    with dissolved(dialer.dial(form, port_of(server))) as made, pytest.raises(TimeoutError):
        made.connect((form, port_of(forbidden)))
    assert nobody_came(forbidden)


@TETHERED
def test_a_socket_of_ipv6_that_was_dissolved_reaches_nobody_else(forbidden: socket.socket) -> None:
    with closing(listening(socket.AF_INET6)) as server, closing(listening(socket.AF_INET6)) as other:
        dialer = Dialer((f"[::1]:{port_of(server)}",))
        for address, port in (("::1", port_of(other)), ("::ffff:127.0.0.1", port_of(forbidden))):
            with dissolved(dialer.dial("::1", port_of(server))) as made, pytest.raises(TimeoutError):
                made.connect((address, port))
        assert nobody_came(other)
    assert nobody_came(forbidden)


def test_without_the_filter_a_dissolved_socket_would_reach_others(
    server: socket.socket, forbidden: socket.socket
) -> None:
    with dissolved(socket.create_connection(("127.0.0.1", port_of(server)))) as made:
        made.connect(("127.0.0.1", port_of(forbidden)))
    assert not nobody_came(forbidden)


@TETHERED
def test_a_socket_that_was_dissolved_cannot_be_a_server(server: socket.socket) -> None:
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    with dissolved(dialer.dial("127.0.0.1", port_of(server))) as made:
        made.listen()
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", port_of(made)), timeout=0.3).close()


@pytest.mark.parametrize("option", [26, 27, 44, 51])  # SO_ATTACH, DETACH, LOCK_FILTER, ATTACH_REUSEPORT_CBPF
@TETHERED
def test_the_filter_of_a_socket_cannot_be_taken_off(option: int, server: socket.socket) -> None:
    import ctypes

    pass_all = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFFFFFF))
    value = struct.pack("@HP", 1, ctypes.addressof(pass_all)) if option in (26, 51) else bytes(4)
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    with dialer.dial("127.0.0.1", port_of(server)) as made, pytest.raises(PermissionError):
        made.setsockopt(socket.SOL_SOCKET, option, value)


def test_a_server_that_is_not_there_gives_its_real_error(answers: Answers) -> None:
    with closing(listening()) as gone:
        port = port_of(gone)
    dialer = Dialer((f"127.0.0.1:{port}",))
    dialer.attend(question("127.0.0.1", port), answers)
    until(lambda: answers.packets)
    assert answers.packets == [{"do": "refused", "id": 7, "errno": errno.ECONNREFUSED}]
    assert [attempt.verdict for attempt in dialer.log] == ["ECONNREFUSED"]


def test_a_server_that_does_not_answer_times_out() -> None:
    with closing(listening(backlog=0)) as deaf, socket.create_connection(deaf.getsockname()):  # fills it
        dialer = Dialer((f"127.0.0.1:{port_of(deaf)}",))
        with pytest.raises(TimeoutError) as caught:
            dialer.dial("127.0.0.1", port_of(deaf), timeout=0.1)
    assert caught.value.errno == errno.ETIMEDOUT


@TETHERED
def test_every_question_is_answered_and_logged(
    server: socket.socket, forbidden: socket.socket, answers: Answers
) -> None:
    seen = []
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",), seen=seen.append)
    dialer.attend(question("127.0.0.1", port_of(server), wait=False), answers)
    dialer.attend(question("127.0.0.1", port_of(forbidden), wait=False), answers)
    dialer.attend(question("127.0.0.1", port_of(forbidden), inside=True), answers)
    dialer.attend(question("127.0.0.1", port_of(server), inside=True), answers)
    until(lambda: len(answers.packets) == 4)
    assert [packet["do"] for packet in answers.packets] == ["connected", "refused", "inside", "connected"]
    assert [attempt.verdict for attempt in seen] == ["begun", "refused", "inside", "connected"]
    assert list(dialer.log) == seen
    assert nobody_came(forbidden)


def test_a_socket_without_a_filter_is_only_handed_over_connected(
    server: socket.socket, answers: Answers
) -> None:
    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    dialer.tethers = False
    dialer.attend(question("127.0.0.1", port_of(server), wait=False), answers)
    until(lambda: answers.packets)
    assert answers.packets == [{"do": "connected", "id": 7, "errno": 0}]
    assert answers.sockets[0].getpeername() == server.getsockname()


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"[]",
        b"{}",
        question("name", 80),
        question("127.0.0.1", -1),
        question("127.0.0.1", 80)[:-1] + b',"x":1}',
    ],
)
def test_a_packet_that_is_no_question_is_an_error(packet: bytes, answers: Answers) -> None:
    with pytest.raises(ValueError):
        Dialer().attend(packet, answers)
    assert not answers.packets


@TETHERED
def test_a_supervisor_that_has_gone_is_nobodys_loss(server: socket.socket) -> None:
    def gone(packet: bytes, made: socket.socket | None) -> None:
        raise BrokenPipeError

    dialer = Dialer((f"127.0.0.1:{port_of(server)}",))
    dialer.attend(question("127.0.0.1", port_of(server), wait=False), gone)
    assert [attempt.verdict for attempt in dialer.log] == ["begun"]


def test_attempts_are_few_at_once_and_the_rest_wait_their_turn(answers: Answers) -> None:
    asked = MOST_AT_ONCE + MOST_WAITING + 100
    with closing(listening(backlog=0)) as deaf, socket.create_connection(deaf.getsockname()):
        dialer = Dialer((f"127.0.0.1:{port_of(deaf)}",), patience=1.0)
        for number in range(asked):
            dialer.attend(question("127.0.0.1", port_of(deaf), number=number), answers)
        dialers = [thread for thread in threading.enumerate() if thread.name == "isolate-dial"]
        assert len(dialers) == MOST_AT_ONCE
        assert {packet["errno"] for packet in answers.packets} == {errno.EAGAIN}
        dialer.allowed = ()  # what still waits is refused as it would be now
        until(lambda: len(answers.packets) == asked)
        assert {packet["errno"] for packet in answers.packets} == {
            errno.EAGAIN,
            errno.EACCES,
            errno.ETIMEDOUT,
        }
    until(lambda: not any(thread.is_alive() for thread in dialers))
