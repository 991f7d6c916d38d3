"""The main of a companion, from the fork to the end (companion)."""

from __future__ import annotations

import json
import mmap
import os
import random
import select
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from isolate_magic.child import asking, comms, detour, imports, last_words, linux, streams
from isolate_magic.child import kernel as kernels
from isolate_magic.child.confinement import Ground, Refused
from isolate_magic.child.conversation import Conversation
from isolate_magic.child.snapshot import Snapshots
from isolate_magic.link.layout import BOARD_SIZE
from isolate_magic.link.spin import Spin


class Wall:
    """What a confined companion does beside the usual: give up its rights, and tell its supervisor.

    Args:
        ground: what the supervisor has prepared.
        ready: the socket to the supervisor.
    """

    def __init__(self, ground: Ground, ready: socket.socket) -> None:
        self.ground = ground
        self.ready = ready

    def settle(self, fds: list[int]) -> None:
        """Leave the supervisor's side, but for the calls that `seal` forbids."""
        keep = [0, 1, 2, *fds, self.ready.fileno()]
        self._guarded(lambda: self.ground.settle(keep))

    def seal(self) -> bool:
        """Forbid what is left to forbid, and let the supervisor know; user code may run from here on.

        Returns:
            whether the kernel asks the supervisor about `connect`.
        """
        asked = self._guarded(self.ground.seal)
        report = json.dumps({"report": self.ground.report}).encode()
        socket.send_fds(self.ready, [report], [] if asked is None else [asked])
        if asked is not None:
            os.close(asked)
        self.ready.close()
        return asked is not None

    def _guarded(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Refused as refused:
            told = {"error": str(refused), "layer": refused.layer}
        except OSError as error:
            told = {"error": f"{error.strerror}: {error.filename or ''}", "layer": "processes"}
        self.ready.send(json.dumps(told).encode())
        os._exit(1)


def main(fds: list[int], start: dict[str, Any], kernel: Any, wall: Wall | None = None) -> None:
    """Become a companion and serve the host; never returns.

    Args:
        fds: channel, door, write ends of the stdout and stderr pipes, memfd for the last words.
        start: what the host told: `name`, `cwd`, `path`, `argv`, `token`, `copies`, `numpy`,
            `zygote`, `host` (the pids), `plan` (the confinement).
        kernel: the kernel that the zygote has built.
        wall: what confines it, if anything does.
    """
    linux.die_with_parent(start["zygote"] if wall is None else None)
    os.setsid()
    linux.name_process(f"isolate-{start['name']}")
    linux.allow_attach()
    channel, door, out, err, words = fds
    _standard_streams(out, err)
    if wall is not None:
        wall.settle(fds)
    os.lseek(words, BOARD_SIZE, os.SEEK_SET)
    last_words.arrange(words)
    board = mmap.mmap(words, BOARD_SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
    order = streams.Order(bytes.fromhex(start["token"]), out, err)
    streams.install(order)
    _settle(start)
    talk = Conversation(socket.socket(fileno=channel), socket.socket(fileno=door), board, start, kernel)
    talk.ring = order.ring
    talk.snapshots = Snapshots(talk, order, words, start["name"])
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    talk.spin = Spin(partial(poll.poll, 0), start["host"])
    kernel.session.publish = lambda kind, content: talk.publish(order, kind, content)
    kernel.session.relays = start.get("trusted", True)
    asking.install(talk, kernel, kernel.session.relays, start["plan"]["name"])
    comms.announce(kernel)
    talk.listen_for_interrupts()
    imports.allow(start["plan"]["imports"], start["plan"]["name"])
    if wall is not None:
        if start["plan"]["walled"]:
            kernels.settle_behind_wall(kernel)
        _open_roads(start["plan"], talk, wall.seal())
    talk.serve()


def _open_roads(plan: dict[str, Any], talk: Conversation, asked: bool) -> None:
    """Let Python's sockets reach the allowed addresses and names where the kernel does not see to it."""
    if plan["network"] != "listed":
        return
    if not asked or plan["tier"] == "L":
        detour.name_servers(plan["hosts"])
    if not asked:
        detour.roads(lambda address, port: talk.door_fd(talk.ask_host("dial", address, port)))


def _standard_streams(out: int, err: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(out, 1)
    os.dup2(err, 2)
    linux.unbuffer_c_stdout()


def follow(path: list[str]) -> None:
    """Look for modules where the host does, then where our own environment says."""
    sys.path[:] = [*path, *(folder for folder in sys.path if folder not in path)]


def _settle(start: dict[str, Any]) -> None:
    """Take over the host's folder and import path; draw fresh random numbers."""
    home, temporary = start["plan"]["home"], start["plan"]["temporary"]
    if home:
        os.environ.update({"HOME": home, "TMPDIR": temporary, "USER": "isolated", "LOGNAME": "isolated"})
        tempfile.tempdir = None
    try:
        os.chdir(start["cwd"])
    except OSError:  # the folder is gone, or not ours to enter: stay where the zygote is
        print(f"isolate_magic: cannot enter {start['cwd']}; staying in {os.getcwd()}", file=sys.stderr)
    follow(start["path"])
    sys.argv[:] = start["argv"]
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()
