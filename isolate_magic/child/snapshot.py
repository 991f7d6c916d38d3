"""Snapshots: forks of a companion that sleep until it has died, and go on in its place (companion).

A snapshot is forked in the midst of the request that asks for it. In the original that request returns at
once; in the copy it returns when the host wakes it, on a channel of its own, and from there on the
copy is the companion. It is no child of the original's (`isolate_magic.child.aside`): user code that waits
for children must not meet it, and it outlives the original as a child of the zygote, of the supervisor or of
the namespace's init.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import threading
from array import array
from collections.abc import Sequence
from typing import Any

from isolate_magic.child import aside, linux, renewal, stillness
from isolate_magic.link import descriptors
from isolate_magic.link.layout import BOARD_SIZE

_PACKET, _ENDS = 1 << 16, 5


class Snapshots:
    """Take snapshots of this process, and be one.

    Args:
        talk: the conversation.
        order: numbers the barriers of the output.
        words: the descriptor of the memfd for the last words.
        name: the companion's.
    """

    def __init__(self, talk: Any, order: Any, words: int, name: str) -> None:
        self.talk = talk
        self.order = order
        self.words = words
        self.name = name

    def take(self, tokens: Sequence[int]) -> Any:
        """Fork a snapshot; called for the host, while nothing else is asked of this companion.

        Args:
            tokens: under which its ends come through the door: channel, door, stdout, stderr, and the memfd
                for the last words.

        Returns:
            the highest number lent so far, or a text that says why there can be no snapshot.
        """
        ends = [self.talk.door_fd(token) for token in tokens]
        try:
            return self._obstacle() or self._fork(ends)
        finally:
            for end in ends:
                os.close(end)

    def settle(self, last: int, numbers: bytes) -> None:
        """Free what the host does not hold any more, now that it is us whom it talks to.

        Args:
            last: the highest number that was lent when we were forked.
            numbers: what it holds, as pairs of a number and how often, in 64 bits each.
        """
        flat = array("q", bytes(numbers))
        self.talk.lent.settle(last, dict(zip(flat[::2], flat[1::2], strict=True)))

    def _obstacle(self) -> str:
        if len(self.talk.active) != 1 or self.talk.tasks.running:
            return "the companion is at work on something else"
        if self.talk.slots:
            return "something in it waits for the main session"
        return stillness.obstacle()

    def _fork(self, ends: list[int]) -> int | str:
        mark: int = self.talk.lent.last
        chance, timers = random.getstate(), renewal.timers()
        stillness.rest()
        try:
            copy = aside.fork()
        except OSError as error:
            return f"the system gives it no process ({error.strerror})"
        if copy:
            self._become(ends)
            self._sleep()
            random.setstate(chance)  # which draws anew in every fork
            renewal.restart(timers)
        return mark

    # ------------------------------------------------------------ in the copy

    def _become(self, ends: list[int]) -> None:
        """Stand on descriptors and in a session of our own: nothing that befalls the original befalls us."""
        talk, order = self.talk, self.order
        channel, door, out, err, words = ends
        for standard, pipe, end in zip((1, 2), order.pipes, (out, err), strict=True):
            if _same(standard, pipe):  # else user code has put something else in its place
                os.dup2(end, standard)
            os.dup2(end, pipe, inheritable=False)
        os.dup2(channel, talk.sock.fileno(), inheritable=False)
        os.dup2(door, talk.door.fileno(), inheritable=False)
        os.lseek(words, BOARD_SIZE, os.SEEK_SET)
        os.dup2(words, self.words, inheritable=False)
        talk.board = mmap.mmap(self.words, BOARD_SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        os.setsid()
        linux.name_process(f"isolate~{self.name}")

    def _sleep(self) -> None:
        """Tell the host who we are and wait until it wakes us; leave when it lets go of us."""
        talk = self.talk
        talk.sock.send(b"here")
        while True:
            packet, ends = descriptors.receive(talk.sock, _PACKET, _ENDS)
            if not packet:
                os._exit(0)
            told = json.loads(packet)
            if told["do"] == "wake":
                break
            if told["do"] == "copy":
                self._copy(ends)
            else:
                talk.sock.send(b"here")
        self._awake()

    def _copy(self, ends: list[int]) -> None:
        """Fork another one like us, which sleeps too: a snapshot with a name is woken more than once."""
        told = b""
        try:
            if aside.fork():
                self._become(ends)
                told = b"here"
        except OSError as error:
            told = f"the system gives it no process ({error.strerror})".encode()
        for end in ends:
            os.close(end)
        self.talk.sock.send(told)

    def _awake(self) -> None:
        """Be the companion from now on."""
        talk, order = self.talk, self.order
        linux.name_process(f"isolate-{self.name}")
        try:
            linux.die_with_parent(None)
        except OSError:  # behind a wall, where a supervisor sees to it
            pass
        order.number, order.last, order.alone = 0, order.pipes[0], True
        order.lock = threading.RLock()
        talk._serial = 0
        talk.due.clear()
        talk.drops.clear()
        talk.forked = False
        talk.keeper.resume()


def _same(one: int, other: int) -> bool:
    """Tell whether two descriptors are of the same pipe."""
    try:
        mine, theirs = os.fstat(one), os.fstat(other)
    except OSError:  # user code has closed it
        return False
    return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)
