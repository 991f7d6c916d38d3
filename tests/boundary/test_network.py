"""Attacks on sockets of the host, from no network at all and from a list of addresses; loopback only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from boundary.attacks import PRELUDE, Attack, Place, signs, suite
from boundary.conftest import start
from boundary.scene import Scene

from isolate_magic import Companion, Policy

_FAMILIES = {
    "netlink": "16, 3, 0", "netlink of routes": "16, 2, 0", "netlink of audit": "16, 3, 9", "packet": "17, 3, 768", "raw": "2, 3, 1",
    "raw of IPv6": "10, 3, 58", "ping": "2, 2, 1", "vsock": "40, 1, 0", "crypto": "38, 5, 0", "bluetooth": "31, 3, 1", "xdp": "44, 3, 0",
    "key": "15, 3, 2", "can": "29, 3, 1", "tipc": "30, 1, 0", "rds": "21, 5, 0", "mptcp": "2, 1, 262", "sctp": "2, 1, 132",
    "raw TCP": "2, 3, 6", "x25": "9, 5, 0", "smc": "43, 1, 0", "nfc": "39, 5, 0", "kcm": "41, 2, 0", "qipcrtr": "42, 2, 0",
    "appletalk": "5, 2, 0", "ax25": "3, 5, 0", "udplite": "2, 2, 136", "dccp": "2, 6, 33",
}  # fmt: skip
_CONNECT = (
    "s = socket.socket(socket.{0}, socket.SOCK_STREAM); s.settimeout(2); s.connect(({1!r}, S.ports[{2!r}]))"
)
_SEND = "s = socket.socket(socket.{0}, socket.SOCK_DGRAM); s.sendto(b'hit', ({1!r}, S.ports[{2!r}]))"

_REACHING = [
    Attack("C46 TCP", _CONNECT.format("AF_INET", "127.0.0.1", "tcp4"), "harm"),
    Attack("C46 TCP over IPv6", _CONNECT.format("AF_INET6", "::1", "tcp6"), "harm", maybe="KeyError EADDRNOTAVAIL EAFNOSUPPORT: there is no IPv6"),
    Attack("C46 TCP to a mapped address", _CONNECT.format("AF_INET6", "::ffff:127.0.0.1", "tcp4"), "harm", maybe="KeyError EADDRNOTAVAIL EAFNOSUPPORT: there is no IPv6"),
    Attack("C46 TCP to any address", _CONNECT.format("AF_INET", "0.0.0.0", "tcp4"), "harm"),
    Attack("C46 TCP to another loopback", "s = socket.socket(); s.settimeout(2); s.bind(('127.0.0.9', 0)); s.connect(('127.0.0.1', S.ports['tcp4']))", "harm"),
    Attack("C46 TCP fast open", "s = socket.socket(); s.settimeout(2); s.sendto(b'hit', 0x20000000, ('127.0.0.1', S.ports['tcp4']))", "harm"),
    Attack("C46 TCP fast open by sendmsg", "s = socket.socket(); s.settimeout(2); s.sendmsg([b'hit'], [], 0x20000000, ('127.0.0.1', S.ports['tcp4']))", "harm"),
    Attack("C46 TCP fast open at connect", "s = socket.socket(); s.setsockopt(6, 30, 1); s.settimeout(2); s.connect(('127.0.0.1', S.ports['tcp4'])); s.send(b'hit')", "harm"),
    Attack("C46 a library", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:%d/' % S.ports['tcp4'], timeout=0.2)", "harm"),
    Attack("C46 a program", "subprocess.run([sys.executable, '-S', '-c', 'import socket, sys; socket.create_connection((\"127.0.0.1\", int(sys.argv[1])), 2)', str(S.ports['tcp4'])], timeout=9)", "harm"),
    Attack("C47 UDP", _SEND.format("AF_INET", "127.0.0.1", "udp4"), "harm"),
    Attack("C47 UDP over IPv6", _SEND.format("AF_INET6", "::1", "udp6"), "harm", maybe="KeyError EADDRNOTAVAIL EAFNOSUPPORT: there is no IPv6"),
    Attack("C47 UDP connected", "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', S.ports['udp4'])); s.send(b'hit')", "harm"),
    Attack("C47 UDP by sendmmsg", "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\na = ctypes.create_string_buffer(struct.pack('=H', 2) + struct.pack('>H', S.ports['udp4']) + bytes([127, 0, 0, 1]) + bytes(8), 16)\n"
           "d = ctypes.create_string_buffer(b'hit'); v = ctypes.create_string_buffer(struct.pack('QQ', ctypes.addressof(d), 3), 16)\n"
           "m = ctypes.create_string_buffer(struct.pack('QI4xQQQQi4xI4x', ctypes.addressof(a), 16, ctypes.addressof(v), 1, 0, 0, 0, 0), 64)\ncall('sendmmsg', s.fileno(), m, 1, 0)", "harm"),
    Attack("C50 an abstract socket", "s = socket.socket(socket.AF_UNIX); s.connect(S.abstract)", "harm"),
    Attack("C50 an abstract socket of packets", "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'hit', S.abstract + '-packets')", "harm"),
    Attack("C51 a socket in a folder", "s = socket.socket(socket.AF_UNIX); s.connect(S.folder + '/bus')", "harm"),
    Attack("C51 a socket of packets in a folder", "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'hit', S.folder + '/bus-packets')", "harm"),
    Attack("C51 a socket by a link", "os.symlink(S.folder + '/bus', 'b'); s = socket.socket(socket.AF_UNIX)\ntry: s.connect('b')\nfinally: os.unlink('b')", "harm"),
    Attack("C51 a socket in a folder that may be read", "s = socket.socket(socket.AF_UNIX); s.connect(S.folder + '/shown/bus')", "harm"),
    Attack("C52 a pair of packets", "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b'hit', S.folder + '/bus-packets')", "harm"),
    Attack("C52 a pair of packets to an abstract name", "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b'hit', S.abstract + '-packets')", "harm"),
    Attack("C52 a pair connected anew", "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.connect(S.folder + '/bus-packets'); a.send(b'hit')", "harm"),
    Attack("C52 the channel's sockets connected anew",
           "met = []\nfor fd in range(3, 64):\n try: s = socket.socket(fileno=os.dup(fd))\n except OSError: continue\n for name in () if s.family != socket.AF_UNIX else (S.folder + '/bus', S.folder + '/bus-packets', S.abstract):\n"
           "  try: s.connect(name)\n  except OSError as e: met.append(e)\n  try: s.sendto(b'hit', name) if s.type == socket.SOCK_DGRAM else None\n  except OSError as e: met.append(e)\n"
           "raise met[0]", "harm", unproved="EISCONN: no kernel connects a connected pair anew", refused="EPERM ENOENT"),
]  # fmt: skip
_OTHERS = [
    *[Attack(f"C49 {name}", f"won = made({arguments})") for name, arguments in _FAMILIES.items()],
    Attack("C48 who else is in the network", "won = [l for l in read('/proc/net/tcp').splitlines() if '%04X' % S.ports['tcp4'] in l]"),
    Attack("C48 the host's sockets by another's /proc", "won = [l for l in read(f'/proc/{S.pid}/net/tcp').splitlines() if '%04X' % S.ports['tcp4'] in l]"),
    Attack("C48 the host's named sockets", "won = S.folder in read('/proc/net/unix')"),
    Attack("C48 interfaces of the host", "won = [n for n in os.listdir('/sys/class/net') if n != 'lo']", maybe="nothing: there is only the loopback"),
    Attack("C52 the descriptors of a stranger", "won = call('pidfd_getfd', os.pidfd_open(S.pid), 0, 0)"),
    Attack("C46 TCP through a ring", "p = ctypes.create_string_buffer(120); won = call('io_uring_setup', 4, p)", maybe="ENOSYS EPERM: io_uring is switched off"),
]  # fmt: skip

test_with_the_sandbox_off_it_gets_through, test_it_is_contained = suite([*_REACHING, *_OTHERS])


def test_it_can_serve_itself_on_its_loopback(places: dict[str, Place]) -> None:
    code = (
        "server = socket.create_server(('127.0.0.1', 0)); client = socket.create_connection(server.getsockname(), 2)\n"
        "there, _ = server.accept(); client.send(b'hello'); there.recv(9).decode()"
    )
    assert places["N"].ready().run(code) == "hello"


def test_it_has_no_way_to_the_metadata_service(places: dict[str, Place]) -> None:
    companion = places["N"].ready()
    table = Path(f"/proc/{companion.pid}/net/dev").read_text().splitlines()[2:]
    routes = Path(f"/proc/{companion.pid}/net/route").read_text().splitlines()[1:]
    if [line.split(":")[0].strip() for line in table] != ["lo"] or routes:
        pytest.fail(f"the namespace has more than its loopback: {table}, {routes}")
    code = "s = socket.socket(); s.settimeout(1)\ntry: s.connect(('169.254.169.254', 80)); how = 'connected'\nexcept OSError as e: how = errno.errorcode.get(e.errno)\nhow"
    assert companion.run(code) == "ENETUNREACH"


@pytest.fixture(params=["offline", "listed"])
def fenced(request: pytest.FixtureRequest, tier: str, scene: Scene) -> Iterator[Companion]:
    """Give a companion without network that is trusted otherwise, and one that may reach one address."""
    made = start(f"net-{request.param}", tier, _policy(str(request.param)))
    made.run(PRELUDE)
    yield made
    made.close()


def _policy(name: str) -> Policy:
    if name == "offline":
        return Policy.of("offline")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Policy(extends="untrusted", network=[f"127.0.0.1:{free.getsockname()[1]}"])


def test_no_socket_leads_out_of_a_fence(fenced: Companion, tier: str, scene: Scene) -> None:
    place = Place(tier, fenced, prepared=fenced.pid)
    ways = _REACHING
    if fenced.policy.name == "offline":  # which trusts the companion with files, so with sockets in them
        named = ("C51", "C52") if tier == "N" else ("C50", "C51", "C52")
        ways = [attack for attack in _REACHING if not attack.name.startswith(named)]
    through = {attack.name: found for attack in ways if (found := _found(attack, place, scene))}
    assert not through


def _found(attack: Attack, place: Place, scene: Scene) -> list[str]:
    try:
        return signs(attack, place.attempt(attack, scene), scene)
    finally:
        scene.heal()


def test_an_offline_companion_cannot_enter_the_host_s_network(scene: Scene) -> None:
    companion = start("net-enter", "N", Policy.of("offline"))
    companion.run(PRELUDE)
    attack = Attack(
        "enter",
        f"won = call('setns', os.open(f'/proc/{{S.pid}}/ns/net', os.O_RDONLY), 0) == 0; {_REACHING[0].source}",
        "won",
    )
    assert _found(attack, Place("N", companion, prepared=companion.pid), scene) == []
    companion.close()
