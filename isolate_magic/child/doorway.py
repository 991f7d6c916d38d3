"""The way out of a confined companion: every connect() waits here for the host (zygote, in the supervisor).

The host decides and connects, in its own network namespace, and its connected socket takes the place of the
companion's, under the same number: C libraries notice nothing. The address is read once, into this process;
nothing that the companion changes afterwards counts.

The kernel never goes on with a connect of the companion's own: what the host leaves to the companion's
network namespace (`inside`) is done in its stead (`isolate_magic.child.connector`), and never with a socket
that came from the host. A thread makes each such connect that may wait, for this process must not.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from isolate_magic.child import connector, notify, tries

MOST_PENDING = 128
"""Connects that may wait for the host at once; one more is told EAGAIN. All the answers fit into the lane."""

_MOMENT = 5  # milliseconds for a connect within the companion's own network
_INET = (socket.AF_INET, socket.AF_INET6)
_STREAMS = (socket.IPPROTO_TCP, 262)  # IPPROTO_MPTCP
_ESTABLISHED, _SYN_SENT, _CLOSE = 1, 2, 7  # net/tcp_states.h
_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4), (socket.SOL_SOCKET, socket.SO_OOBINLINE, 4),
    (socket.SOL_SOCKET, socket.SO_LINGER, 8), (socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16),
    (socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 4), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4),
)  # fmt: skip

Record = dict[str, Any]


class _Knock(NamedTuple):
    """A connect that waits for the host: where its socket goes, and how the old one was set."""

    pid: int
    fd: int
    name: bytes
    cloexec: bool
    blocking: bool
    options: list[tuple[int, int, bytes]]


class Doorway:
    """Answer the calls that a companion's filter sends here.

    Args:
        listener: the notify descriptor of the companion's filter; this object does not close it.
        lane_send: sends one packet to the host.
        inside: the companion has a network namespace of its own (tier N), so that what the host does not
            want is done there: Unix sockets, datagrams, and servers on its own loopback.
        asks: the policy lists addresses, so the host decides. Otherwise the kernel goes on with each connect,
            for no socket of the host's is ever handed over: it reaches what is in its own network.
        proc: a descriptor of a /proc that counts processes as this process does; by default the one at
            /proc. It becomes the current directory.
        record: called with what is opened, started and connected to, while somebody traces; may be
            replaced at any time.
        foreign: the host's network (`connector.network`); none of its sockets is connected here, however
            the companion came by it.
    """

    def __init__(
        self,
        listener: int,
        lane_send: Callable[[bytes], None],
        *,
        inside: bool,
        asks: bool = True,
        proc: int | None = None,
        record: Callable[[Record], None] | None = None,
        foreign: int | None = None,
    ) -> None:
        self.listener = listener
        self.inside = inside
        self.asks = asks
        self.record = record
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if proc is None else proc
        os.fchdir(self._proc)  # for `connector`
        self._send = lane_send
        self._foreign = set() if foreign is None else {foreign}  # the networks of the host's sockets
        self._inner = threading.Semaphore(MOST_PENDING)  # connects that threads make
        self._pending: dict[int, _Knock] = {}
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        notify.wake_at_once(listener)

    # ------------------------------------------------------------ from the companion

    def ready(self, most: int = 1) -> bool:
        """Handle waiting calls, if there are any; never waits.

        Args:
            most: how many at once.

        Returns:
            False when no process is left under the filter: close the listener then.
        """
        for _ in range(most):
            events = dict(self._poll.poll(0)).get(self.listener, 0)
            if not events & select.POLLIN:
                if events:
                    self._pending.clear()
                return not events
            call = notify.receive(self.listener)
            if call is not None:
                self._handle(call)
        return True

    def _handle(self, call: notify.Notification) -> None:
        if call.call == "connect" and self.asks:
            try:
                self._connect(call)
            except OSError as error:
                self._refuse(call.id, error.errno or errno.EACCES)
            return
        if call.call not in tries.CALLS:
            self._refuse(call.id, errno.ENOSYS)
            return
        if self.record is not None:
            self._trace(call)
        notify.proceed(self.listener, call.id)

    def _connect(self, call: notify.Notification) -> None:
        """Ask the host about one connect; raises the OSError that the caller is to see."""
        fd, length = tries.integer(call.args[0]), tries.integer(call.args[2])
        if _look(self._proc, call.pid, fd) != "socket":
            raise OSError(errno.ENOTSOCK, "not a socket")
        name = tries.sockaddr(call.pid, call.args[1], length)
        family = int.from_bytes(name[:2], sys.byteorder)
        with _take(self._proc, call.pid, fd) as taken:
            if not notify.valid(self.listener, call.id):
                return
            self._note("connect", tries.spelled(name), call.pid)
            if taken.family not in _INET or taken.type != socket.SOCK_STREAM:
                self._other(call, taken, name)
                return
            knock = _knock(self._proc, call.pid, fd, taken, name)
            address, port = _inet(taken, family, name)
        self._ask(call.id, knock, family, address, port)

    def _other(self, call: notify.Notification, taken: socket.socket, name: bytes) -> None:
        """Connect what is no TCP in the companion's own namespaces, or refuse it."""
        if not self.inside:
            raise OSError(errno.EACCES, "no such socket may connect")
        self._connect_inside(call.id, call.pid, taken, name)

    def _connect_inside(self, number: int, pid: int, taken: socket.socket, name: bytes) -> None:
        """Connect a socket in the companion's stead, and answer; in a thread, if it may wait."""
        if connector.network(taken) in self._foreign:
            raise OSError(errno.EACCES, "the socket came from the host")
        if not os.get_blocking(taken.fileno()):
            notify.answer(self.listener, number, connector.connect(self._proc, pid, taken, name))
            return
        if not self._inner.acquire(blocking=False):
            raise OSError(errno.EAGAIN, "too many connects wait")
        # Its own descriptors: ours may be closed, and their numbers be used anew, before it ends.
        listener, held = os.dup(self.listener), taken.dup()
        work = threading.Thread(
            target=self._wait_inside, args=(number, pid, name, listener, held), daemon=True
        )
        try:
            work.start()
        except RuntimeError:  # whoever has left its pid namespace gets no more threads (unshare(2))
            self._let_go(listener, held)
            notify.answer(self.listener, number, self._at_once(pid, taken, name))

    def _at_once(self, pid: int, taken: socket.socket, name: bytes) -> int:
        """Connect a socket that would wait, without waiting: inside, only a full backlog notices."""
        taken.setblocking(False)
        try:
            code = connector.connect(self._proc, pid, taken, name)
            if code != errno.EINPROGRESS:
                return code
            waiting = select.poll()
            waiting.register(taken, select.POLLOUT)
            if waiting.poll(_MOMENT):
                return taken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return errno.ETIMEDOUT
        finally:
            taken.setblocking(True)

    def _wait_inside(self, number: int, pid: int, name: bytes, listener: int, held: socket.socket) -> None:
        try:
            notify.answer(listener, number, connector.connect(self._proc, pid, held, name))
        finally:
            self._let_go(listener, held)

    def _let_go(self, listener: int, held: socket.socket) -> None:
        held.close()
        os.close(listener)
        self._inner.release()

    def _ask(self, number: int, knock: _Knock, family: int, address: str, port: int) -> None:
        if len(self._pending) >= MOST_PENDING:
            self.sweep()
        if len(self._pending) >= MOST_PENDING:
            raise OSError(errno.EAGAIN, "too many connects wait")
        question = {
            "do": "connect", "id": number, "family": family, "address": address, "port": port,
            "wait": knock.blocking, "inside": self.inside,
        }  # fmt: skip
        self._pending[number] = knock
        try:
            self._send(msgspec.json.encode(question))
        except OSError as error:
            del self._pending[number]
            code = errno.EAGAIN if isinstance(error, BlockingIOError) else errno.ENETDOWN
            raise OSError(code, "the host does not listen") from None

    # ------------------------------------------------------------ from the host

    def attend(self, packet: bytes, fds: list[int]) -> bool:
        """Act on a packet of the host's, if it is one for this object.

        Args:
            packet: `{"do": "connected" | "refused" | "inside", "id": n, "errno": n}`.
            fds: what came with it; ours from now on.

        Returns:
            False for a packet of another kind, whose descriptors stay the caller's.
        """
        if not self.asks:
            return False
        said = msgspec.json.decode(packet)
        verb = said.get("do")
        if verb == "connected" and fds:
            for spare in fds[1:]:
                os.close(spare)
            self.granted(said["id"], fds[0], said.get("errno", 0))
        elif verb == "refused":
            self.refused(said["id"], said["errno"])
        elif verb == "inside":
            self.passed(said["id"])
        else:
            return False
        return True

    def granted(self, number: int, fd: int, code: int = 0) -> None:
        """Put the host's socket in the place of the companion's and end its call.

        Args:
            number: the id of the question.
            fd: the socket; closed here.
            code: what connect() says: 0, or EINPROGRESS for a socket that still connects.
        """
        knock = self._pending.pop(number, None)
        with socket.socket(fileno=fd) as made:
            if knock is None or not notify.valid(self.listener, number):
                return
            try:
                self._foreign.add(connector.network(made))
                made.setblocking(knock.blocking)
                for level, option, value in knock.options:
                    made.setsockopt(level, option, value)
                notify.put(self.listener, number, made.fileno(), knock.fd, knock.cloexec)
            except OSError as error:
                self._refuse(number, error.errno or errno.EACCES)
                return
        notify.answer(self.listener, number, code)

    def refused(self, number: int, code: int) -> None:
        """End the companion's call with an error number."""
        if self._pending.pop(number, None) is not None:
            self._refuse(number, code)

    def passed(self, number: int) -> None:
        """Connect in the companion's own network namespace; refuse where it has none."""
        knock = self._pending.pop(number, None)
        if knock is None:
            return
        try:
            if not self.inside:
                raise OSError(errno.EACCES, "no network of its own")
            with _take(self._proc, knock.pid, knock.fd) as taken:
                if notify.valid(self.listener, number):
                    self._connect_inside(number, knock.pid, taken, knock.name)
        except OSError as error:
            self._refuse(number, error.errno or errno.EACCES)

    def refuse_all(self, code: int = errno.ENETDOWN) -> None:
        """End every call that waits for the host, because the host has gone."""
        for number in list(self._pending):
            self.refused(number, code)

    def sweep(self) -> int:
        """Forget the questions whose callers have gone; return how many still wait."""
        for number in [one for one in self._pending if not notify.valid(self.listener, one)]:
            del self._pending[number]
        return len(self._pending)

    def _refuse(self, number: int, code: int) -> None:
        notify.answer(self.listener, number, code if 0 < code < 4096 else errno.EACCES)

    # ------------------------------------------------------------ the trace

    def _trace(self, call: notify.Notification) -> None:
        """Note what a call tries; nothing is decided on it, for the caller may lie."""
        try:
            kind, target = tries.tried(self._proc, call)
        except OSError:
            return  # the kernel will tell the caller what is wrong with its address
        if target and notify.valid(self.listener, call.id):
            self._note(kind, target, call.pid)

    def _note(self, kind: str, target: str, pid: int) -> None:
        if self.record is not None and target:
            self.record({"kind": kind, "target": target, "pid": pid})


def _look(proc: int, pid: int, fd: int) -> str:
    """Tell whether a descriptor is a "socket", without holding it: closing another file may take long."""
    try:
        return notify.link(proc, pid, f"fd/{fd}").split(":", 1)[0]
    except FileNotFoundError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
    except PermissionError:
        raise OSError(errno.EACCES, "no right to look at the process") from None


def _take(proc: int, pid: int, number: int) -> socket.socket:
    try:
        fd = notify.take(proc, pid, number)
    except OSError as error:
        raise OSError(errno.EBADF if error.errno == errno.EBADF else errno.EACCES, "not taken") from None
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise


def _knock(proc: int, pid: int, fd: int, taken: socket.socket, name: bytes) -> _Knock:
    """Note how a socket is set; raises what connect() says of one that is not fresh."""
    if taken.proto not in _STREAMS:
        raise OSError(errno.EACCES, "not TCP")
    state = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state != _CLOSE:
        if any(taken.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)):
            # The companion may close its own meanwhile; the last close would then hold this process up.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
        raise OSError(errno.EALREADY if state == _SYN_SENT else errno.EISCONN, "not a fresh socket")
    failed = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:  # of a connect that was begun without waiting
        raise OSError(failed, os.strerror(failed))
    options = [(level, name, taken.getsockopt(level, name, size)) for level, name, size in _OPTIONS]
    return _Knock(pid, fd, name, notify.cloexec(proc, pid, fd), os.get_blocking(taken.fileno()), options)


def _inet(taken: socket.socket, family: int, name: bytes) -> tuple[str, int]:
    """Read the address and the port out of a sockaddr_in or sockaddr_in6 (ip(7), ipv6(7))."""
    if len(name) < 2:
        raise OSError(errno.EINVAL, "no address")
    if family == socket.AF_UNSPEC:  # would make a socket of the host's one that may connect anew
        raise OSError(errno.EACCES, "a connection cannot be dissolved")
    if family != taken.family:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    if len(name) < (16 if family == socket.AF_INET else 24):
        raise OSError(errno.EINVAL, "too short an address")
    port = int.from_bytes(name[2:4], "big")
    raw = name[4:8] if family == socket.AF_INET else name[8:24]
    return str(ipaddress.ip_address(raw)), port
