"""How one companion process comes to be: its channel, its pipes, the fork behind the best wall (host)."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from isolate_magic import fence, spawner
from isolate_magic.dialer import Dialer
from isolate_magic.errors import ConfinementError
from isolate_magic.lane import Lane
from isolate_magic.link.layout import BOARD_SIZE
from isolate_magic.policy import Policy
from isolate_magic.watch import watch

WORDS = 1 << 18
"""Most bytes that a companion can leave behind when it dies."""


@dataclass
class Ends:
    """Our ends of all that a process talks through.

    Args:
        sock, door: of the two sockets.
        out, err: read ends of the pipes.
        words: the memfd of the board and the last words; its size is sealed, so it cannot be cut or fill up.
        board: our map of its first page.
    """

    sock: socket.socket
    door: socket.socket
    out: int
    err: int
    words: int
    board: mmap.mmap

    def close(self) -> None:
        """Close them all."""
        self.sock.close()
        self.door.close()
        self.board.close()
        for fd in (self.out, self.err, self.words):
            os.close(fd)


def open_ends(undo: ExitStack, lent: ExitStack) -> tuple[Ends, list[int]]:
    """Open our ends and the companion's; the latter in the order that it expects them in.

    Args:
        undo: closes our ends, should something fail.
        lent: closes the companion's ends.
    """
    watch()  # which needs descriptors too
    words = os.memfd_create("isolate-words", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    undo.callback(os.close, words)
    os.ftruncate(words, BOARD_SIZE + WORDS)
    fcntl.fcntl(words, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    board = undo.enter_context(mmap.mmap(words, BOARD_SIZE))
    sock, theirs = _pair(undo, lent)
    door, their_door = _pair(undo, lent)
    out, their_out = _pipe(undo, lent)
    err, their_err = _pipe(undo, lent)
    ends = Ends(sock, door, out, err, words, board)
    return ends, [theirs.fileno(), their_door.fileno(), their_out, their_err, words]


@dataclass
class Birth:
    """Open all that a process needs, and fork it.

    Args:
        name: the companion's name.
        zygote: forks it.
        policy: what it may reach and use.
        dialer: makes the connections that the policy allows.
        traced: whether it can be traced although it is not walled.

    Attributes:
        ends: our ends of what it talks through.
        pid, pidfd: the process.
        lane: the socket to its supervisor, if it has one.
        scratch: a folder of its own, or "".
        plan: what the kernel and the supervisor were told at the start.
        told: what its supervisor has told of its confinement; `lacking` is why there is no tier N.
    """

    name: str
    zygote: spawner.Zygote
    policy: Policy
    dialer: Dialer
    traced: bool = False
    lane: Lane | None = None
    scratch: str = ""

    def begin(self, token: bytes) -> None:
        """Start the process; what was opened is closed again if that fails.

        Args:
            token: what its marks begin with.

        Raises:
            OSError: there is no descriptor left.
            StartError: the zygote could not fork.
            ConfinementError: a layer that the policy needs cannot be had.
        """
        with ExitStack() as undo, ExitStack() as lent:
            self.ends, fds = open_ends(undo, lent)
            start = {
                "name": self.name,
                "token": token.hex(),
                "host": os.getpid(),
                "trusted": self.policy.trusted,
            }
            self._fork(fds, start | {"numpy": spawner.host_has_numpy()}, undo, lent)
            undo.pop_all()

    def _fork(self, fds: list[int], start: dict[str, Any], undo: ExitStack, lent: ExitStack) -> None:
        """Fork the process in the best tier that there is."""
        if isinstance(self.policy.network, tuple):
            self.dialer.resolve()
        lane, theirs = _pair(undo, lent)
        lacking = ""
        for tier in fence.tiers():
            plan = fence.plan(
                self.policy, tier, self._make_scratch(tier, undo), self.dialer.hosts(), self.traced
            )
            if os.environ.get("ISOLATE_MAGIC_NOTIFY") == "off":  # as on a kernel that cannot ask
                plan["notify"] = []
            start |= fence.surroundings(self.policy, plan)
            beside = [theirs.fileno()] if plan["supervised"] else []
            try:
                self.pid, self.pidfd, told = self.zygote.fork([*fds, *beside], start | {"plan": plan})
            except ConfinementError as error:
                if tier != "N" or error.layer not in ("namespaces", "root"):
                    raise fence.explained(self.policy, error, lacking) from None
                lacking = str(error)
                continue
            self.plan, self.told = plan, told | {"lacking": lacking}
            if plan["supervised"]:
                self.lane = Lane(lane, self.dialer)
            else:
                lane.close()
            return
        raise fence.explained(self.policy, ConfinementError(lacking, "namespaces"), "")

    def _make_scratch(self, tier: str, undo: ExitStack) -> str:
        """Make a folder of the companion's own where no file system can be made for it."""
        if tier != "L" or self.policy.read is None:
            return ""
        self.scratch = fence.make_scratch(self.policy)
        undo.callback(fence.remove_scratch, self.scratch)
        return self.scratch


def _pair(undo: ExitStack, lent: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    undo.enter_context(ours)
    lent.enter_context(theirs)
    return ours, theirs


def _pipe(undo: ExitStack, lent: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    undo.callback(os.close, read)
    lent.callback(os.close, write)
    return read, write
