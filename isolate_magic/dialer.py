"""The only way out of a confined companion: who it may reach, and the sockets that reach them (host).

A companion's connect() waits in its supervisor (`isolate_magic.child.doorway`), which asks here. A name
allows the addresses that this process resolves for it, whatever the companion believes.

The sockets belong to this process's network namespace, so the companion must not use one anew. A connection
can be dissolved by connect() only, which the supervisor refuses. An attempt that still runs ends otherwise
too, so only sockets that are tethered are handed over before they are connected: they carry a packet filter
that hears the allowed peer alone, locked with SO_LOCK_FILTER (socket(7)). Some kernels want CAP_NET_ADMIN for
that; a companion of an ordinary user then waits in every connect().
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from isolate_magic.addresses import Address, lookup, own, parsed

MOST_AT_ONCE = 64
"""Attempts that run at the same time; further ones wait."""

MOST_WAITING = 1024
"""Attempts that may wait for their turn; one more is told EAGAIN."""

AGAIN = 5.0
"""Seconds between two looks at the name servers."""

_MOST_ADDRESSES = 256  # per name; those that were met first go first
_LOCK_FILTER, _ATTACH_FILTER = 44, 26  # asm-generic/socket.h

Reply = Callable[[bytes, socket.socket | None], None]


class Attempt(NamedTuple):
    """One address that a companion tried.

    Attributes:
        when: `time.time()`.
        address: as the companion gave it.
        port: likewise.
        verdict: "connected", "begun", "inside" (its own network), "refused" (not allowed), or the error.
    """

    when: float
    address: str
    port: int
    verdict: str


class Question(msgspec.Struct, tag_field="do", tag="connect", forbid_unknown_fields=True):
    """What a supervisor asks: may this be connected to, and does the companion wait for it?"""

    id: int
    family: int
    address: str
    port: int
    wait: bool
    inside: bool


def endpoint(entry: str) -> tuple[str, int]:
    """Split "host:port" or "[address]:port".

    Raises:
        ValueError: it is something else; the message says what is wanted.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", entry)
    if not match or not 0 < int(match[3]) < 65536:
        raise ValueError(f"{entry!r} names no server: write host:port, 192.0.2.1:port or [2001:db8::1]:port")
    host = match[1] or match[2].lower().rstrip(".")
    if match[1] and parsed(host) is None:
        raise ValueError(f"{entry!r}: {host!r} is no IPv6 address")
    numeric = parsed(host)
    if numeric is not None and (numeric.is_unspecified or numeric.is_multicast):
        raise ValueError(f"{entry!r}: nobody listens at {host}; name the address of the server itself")
    return host, int(match[3])


class Dialer:
    """Connect to what a companion is allowed to reach, and to nothing else.

    Args:
        allowed: entries as `endpoint` reads them; each name is resolved by `resolve`.
        seen: called with every attempt, in whichever thread made it.
        patience: seconds after which an attempt ends with ETIMEDOUT.

    Attributes:
        tethers: whether this process may tie its sockets to their peers.
    """

    def __init__(
        self,
        allowed: tuple[str, ...] = (),
        seen: Callable[[Attempt], None] | None = None,
        patience: float = 30.0,
    ) -> None:
        self.seen = seen
        self.patience = patience
        self.tethers = _may_tether()
        self.log: deque[Attempt] = deque(maxlen=1000)
        self._lock = threading.Lock()
        self._found: dict[str, dict[Address, None]] = {}
        self._looked = float("-inf")
        self._running = 0
        self._waiting: deque[tuple[Question, Reply]] = deque()
        self.allowed = allowed

    @property
    def allowed(self) -> tuple[str, ...]:
        """The entries; assigning others takes effect for every connect from then on."""
        return self._allowed

    @allowed.setter
    def allowed(self, entries: tuple[str, ...]) -> None:
        pairs = [endpoint(entry) for entry in entries]
        numbers = [(parsed(host), port) for host, port in pairs]
        with self._lock:
            self._fixed = {(address, port) for address, port in numbers if address is not None}
            self._ports: dict[str, set[int]] = {}
            for host, port in pairs:
                if parsed(host) is None:
                    self._ports.setdefault(host, set()).add(port)
            self._found = {name: self._found.get(name, {}) for name in self._ports}
            self._allowed = tuple(entries)
            self._looked = float("-inf")

    # ------------------------------------------------------------ who is allowed

    def resolve(self) -> None:
        """Ask the name servers for the allowed names; what was once found stays, for companions keep it."""
        with self._lock:
            names = list(self._ports)
            self._looked = time.monotonic()
        for name in names:
            found = lookup(name)
            with self._lock:
                if name in self._found:
                    merged = list(self._found[name] | dict.fromkeys(found))
                    self._found[name] = dict.fromkeys(merged[-_MOST_ADDRESSES:])

    def hosts(self) -> dict[str, list[str]]:
        """Return the addresses of each allowed name, for an /etc/hosts inside; `resolve` first."""
        with self._lock:
            return {name: [str(one) for one in found] for name, found in self._found.items()}

    def permits(self, address: str, port: int) -> bool:
        """Tell whether a numeric address and port are allowed; never asks a name server."""
        number = parsed(address)
        if number is None:
            return False
        with self._lock:
            if (number, port) in self._fixed:
                return True
            return any(port in ports and number in self._found[name] for name, ports in self._ports.items())

    def _permits_now(self, address: str, port: int) -> bool:
        """As `permits`, and look the names up anew if the address is unknown and it is time."""
        if self.permits(address, port):
            return True
        if not self._may_be_named(port) or time.monotonic() - self._looked < AGAIN:
            return False
        self.resolve()
        return self.permits(address, port)

    def _may_be_named(self, port: int) -> bool:
        with self._lock:
            return any(port in ports for ports in self._ports.values())

    # ------------------------------------------------------------ connecting

    def dial(self, address: str, port: int, timeout: float | None = None) -> socket.socket:
        """Connect and wait for it, for `timeout` seconds instead of `patience`.

        Raises:
            OSError: PermissionError if it is not allowed, else why the attempt failed.
        """
        with self._made(address, port) as made:
            made.settimeout(self.patience if timeout is None else timeout)
            try:
                made.connect((address, port))
            except TimeoutError:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
            return made.dup()

    def begin(self, address: str, port: int) -> tuple[socket.socket, int]:
        """Begin to connect without waiting.

        Returns:
            The socket, and 0 or EINPROGRESS; how it ends is the socket's to tell.

        Raises:
            OSError: as `dial`.
        """
        with self._made(address, port) as made:
            if not self.tethers:
                raise NotImplementedError("a socket that is not tethered is only handed over connected")
            made.setblocking(False)
            code = made.connect_ex((address, port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            return made.dup(), code

    def _made(self, address: str, port: int) -> socket.socket:
        if not self._permits_now(address, port):
            raise PermissionError(errno.EACCES, f"the policy allows no connection to {address} port {port}")
        number = ipaddress.ip_address(address)
        made = socket.socket(socket.AF_INET if number.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            if self.tethers:
                _tether(made, number, port)
        except OSError:
            made.close()
            raise
        return made

    # ------------------------------------------------------------ the supervisor's questions

    def attend(self, packet: bytes, reply: Reply) -> None:
        """Answer one question, at once or from a thread of its own.

        Args:
            packet: as the supervisor sent it.
            reply: sends a packet and perhaps a socket, which is closed afterwards. It must be fit for any
                thread; an OSError, because the supervisor has gone, is nobody's loss.

        Raises:
            ValueError: the packet is no question.
        """
        question = msgspec.json.decode(packet, type=Question)
        if not 0 <= question.port < 65536 or parsed(question.address) is None:
            raise ValueError(f"no address: {question.address!r} port {question.port}")
        known = self.permits(question.address, question.port)
        at_once = not question.wait and self.tethers
        if (known and at_once) or not (known or self._may_be_named(question.port)):
            self._settle(question, reply)
            return
        with self._lock:
            full = len(self._waiting) >= MOST_WAITING
            if not full:
                self._waiting.append((question, reply))
            start = self._running < MOST_AT_ONCE and not full
            self._running += start
        if full:
            self._say(question, reply, "refused", errno.EAGAIN)
        elif start:
            threading.Thread(target=self._work, name="isolate-dial", daemon=True).start()

    def _work(self) -> None:
        """Settle what waits until nothing does."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                question, reply = self._waiting.popleft()
            self._settle(question, reply)

    def _settle(self, question: Question, reply: Reply) -> None:
        address, port = question.address, question.port
        try:
            if question.inside and own(address) and not self._permits_now(address, port):
                self._note(question, "inside")
                self._say(question, reply, "inside", 0)
                return
            wait = question.wait or not self.tethers
            made, code = (self.dial(address, port), 0) if wait else self.begin(address, port)
        except OSError as error:
            code = error.errno or errno.EACCES
            refused = isinstance(error, PermissionError)
            self._note(question, "refused" if refused else errno.errorcode.get(code, str(code)))
            self._say(question, reply, "refused", code)
            return
        with made:
            self._note(question, "begun" if code else "connected")
            self._say(question, reply, "connected", code, made)

    def _say(
        self,
        question: Question,
        reply: Reply,
        verb: Literal["connected", "refused", "inside"],
        code: int,
        made: socket.socket | None = None,
    ) -> None:
        try:
            reply(msgspec.json.encode({"do": verb, "id": question.id, "errno": code}), made)
        except OSError:
            pass  # the companion has died, and its supervisor

    def _note(self, question: Question, verdict: str) -> None:
        attempt = Attempt(time.time(), question.address, question.port, verdict)
        self.log.append(attempt)
        if self.seen is not None:
            self.seen(attempt)


def _may_tether() -> bool:
    with socket.socket() as any_socket:
        try:
            _tether(any_socket, ipaddress.IPv4Address("127.0.0.1"), 1)
        except OSError:
            return False
    return True


def _tether(made: socket.socket, number: Address, port: int) -> None:
    """Let a socket hear only one peer, for good.

    The program is classic BPF (linux/filter.h; Documentation/networking/filter.rst): for TCP it sees the
    segment from the TCP header on, and the IP header from SKF_NET_OFF on.
    """
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    peer = mapped or number
    network, loads = 0xFFF00000, {1: 0x30, 2: 0x28, 4: 0x20}  # SKF_NET_OFF; BPF_LD | BPF_ABS | B, H, W
    checks = [(2, 0, port), (1, network, peer.version << 4)]
    start = 12 if peer.version == 4 else 8
    words = struct.unpack(f"!{len(peer.packed) // 4}I", peer.packed)
    checks += [(4, network + start + 4 * i, word) for i, word in enumerate(words)]
    code: list[tuple[int, int, int, int]] = []
    for i, (size, place, wanted) in enumerate(checks):
        code.append((loads[size], 0, 0, place))
        # The version is the upper half of its byte. A port is masked with itself: all jumps stay alike.
        code.append((0x54, 0, 0, 0xF0 if size == 1 else 0xFFFFFFFF))  # BPF_ALU | BPF_AND
        left = 3 * (len(checks) - i - 1)
        code.append((0x15, 0, left + 1, wanted))  # BPF_JMP | BPF_JEQ, else to the last line
    code += [(0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]  # BPF_RET: all of it, or nothing
    text = b"".join(struct.pack("=HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(text, len(text))
    program = struct.pack("@HP", len(code), ctypes.addressof(held))
    made.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    made.setsockopt(socket.SOL_SOCKET, _LOCK_FILTER, 1)
