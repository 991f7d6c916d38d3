"""The processes below a keeper: found, measured and killed through /proc (zygote, in the keeper).

Everything is read from the kernel's files for each look; nothing that a process below says about itself is
believed. A process may vanish between any two lines: it then counts as gone, and what it left behind is found
by the next look.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Iterable
from typing import NamedTuple

_GONE = (errno.ENOENT, errno.ESRCH)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = 4096  # what seq_file hands out at most in one read

# proc_pid_status(5). A name cannot forge a line: the kernel writes its newlines as "\n".
_MEMORY = re.compile(
    rb"\nRssAnon:\s*(\d+) kB\nRssFile:\s*\d+ kB\nRssShmem:\s*(\d+) kB\n"
    rb".*?\nVmPTE:\s*(\d+) kB\nVmSwap:\s*(\d+) kB\n",
    re.DOTALL,
)
_THREADS = re.compile(rb"\nThreads:\s*(\d+)")
_PRIVATE = re.compile(rb"\nPrivate_(?:Clean|Dirty):\s*(\d+) kB")
_SHARE = re.compile(rb"\n(?:Pss_Anon|Pss_Shmem|SwapPss):\s*(\d+) kB")


class Member(NamedTuple):
    """A process of a tree, with the bytes that only it or it and others hold.

    Attributes:
        pid: the process.
        parent: under which it was found.
        threads: how many it has.
        where: the folder in /proc that knows its memory; that of another thread where the first has ended.
        anonymous: bytes of its own or shared with forks, resident.
        shared: bytes of shared memory that it maps, resident.
        tables: bytes of its page tables: mapping, without touching, costs them too.
        swapped: bytes in swap.
    """

    pid: int
    parent: int
    threads: int
    where: str
    anonymous: int = 0
    shared: int = 0
    tables: int = 0
    swapped: int = 0

    @property
    def held(self) -> int:
        """All of its bytes; those that it shares with forks are in here in full."""
        return self.anonymous + self.shared + self.tables + self.swapped


class Times(NamedTuple):
    """Of a process: seconds of processor time, those of children that it waited for, and page faults.

    It is dead if none of its threads lives: only its parent still has to take note.
    """

    own: float
    waited: float
    faults: int
    parent: int
    dead: bool


class Tree:
    """All descendants of one process.

    Args:
        root: the process above them; not one of them itself.
        proc: a descriptor of the folder /proc in which their numbers hold.
        ignore: descendants that do not count, such as a namespace's init; what is below them does.
    """

    def __init__(self, root: int, proc: int, ignore: Iterable[int] = ()) -> None:
        self.root = root
        self.ignore = frozenset(ignore)
        self._proc = proc
        # Needs CONFIG_PROC_CHILDREN, proc_tid_children(5); otherwise all of /proc is looked through.
        self.listed = self.read(f"{root}/task/{root}/children") is not None

    def pids(self) -> list[int]:
        """The descendants that count."""
        return [member.pid for member in self.members()]

    def members(self) -> list[Member]:
        """The descendants that count, with their memory."""
        kin = None if self.listed else self.kin()
        found: list[Member] = []
        seen = {self.root}
        waiting = [(pid, self.root) for pid in self._children(self.root, 2, kin)]
        while waiting:
            pid, parent = waiting.pop()
            if pid in seen:
                continue
            seen.add(pid)
            member = self._member(pid, parent)
            if member is None:
                continue
            if pid not in self.ignore:
                found.append(member)
            waiting += [(child, pid) for child in self._children(pid, member.threads, kin)]
        return found

    def times(self, pid: int) -> Times | None:
        """Read a process's proc_pid_stat(5); None if it is gone."""
        text = self.read(f"{pid}/stat")
        if not text:
            return None
        # From the last parenthesis on: the name before it may hold anything.
        fields = text[text.rfind(b")") + 2 :].split(None, 18)
        user, system, user_waited, system_waited = map(int, fields[11:15])
        return Times(
            (user + system) / _TICKS,
            (user_waited + system_waited) / _TICKS,
            int(fields[7]),
            int(fields[1]),
            fields[0] in (b"Z", b"X") and int(fields[17]) <= 1,
        )

    def share(self, member: Member) -> int:
        """Its memory with every shared page divided by those who map it: exact, but slow (3 ms a GiB).

        Returns:
            Bytes. All that it holds where the kernel does not tell: who hides, counts in full.
        """
        try:
            descriptor = os.open(
                f"{member.where}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc
            )
        except OSError as error:
            gone = error.errno in _GONE and self.times(member.pid) is None
            return 0 if gone or error.errno == errno.ESRCH else member.held
        try:
            found = _SHARE.findall(os.read(descriptor, _PAGE))
        except OSError:
            return 0  # it ended meanwhile
        finally:
            os.close(descriptor)
        return sum(map(int, found)) * 1024 + member.tables if found else member.held

    def private(self, pid: int) -> int:
        """Bytes that a process shares with nobody, files not among them; 0 where the kernel does not tell."""
        found = _PRIVATE.findall(self.read(f"{pid}/smaps_rollup") or b"")
        return sum(map(int, found)) * 1024

    def read(self, path: str) -> bytes | None:
        """Read a small file of /proc; None if it is not there (any more)."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.EACCES:
                return None
            raise
        try:
            text = part = os.read(descriptor, _PAGE)
            while len(part) > _PAGE - 64:  # else the kernel had no more
                part = os.read(descriptor, _PAGE)
                text += part
            return text
        except ProcessLookupError:
            return None
        finally:
            os.close(descriptor)

    def numbers(self, path: str) -> list[int]:
        """The names in a folder of /proc that are numbers; none if it is gone or closed to us."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.EACCES:
                return []
            raise
        try:
            return [int(name) for name in os.listdir(descriptor) if name.isdigit()]
        except OSError:
            return []
        finally:
            os.close(descriptor)

    def status_of(self, path: str) -> os.stat_result | None:
        """Follow a link of /proc, such as an open file's, and tell what is there."""
        try:
            return os.stat(path, dir_fd=self._proc)
        except OSError:
            return None

    def _member(self, pid: int, parent: int) -> Member | None:
        where = str(pid)
        status = self.read(f"{where}/status")
        threads = _THREADS.search(status) if status else None
        if status is None or threads is None:
            return None
        count = int(threads[1])
        memory = _MEMORY.search(status)
        if memory is None and count > 1:  # the first thread has ended and shows nothing, the others live
            for thread in self.numbers(f"{pid}/task"):
                where = f"{pid}/task/{thread}"
                memory = _MEMORY.search(self.read(f"{where}/status") or b"")
                if memory:
                    break
        if memory is None:
            return Member(pid, parent, count, where)
        anonymous, shared, tables, swapped = memory.groups()
        return Member(
            pid,
            parent,
            count,
            where,
            int(anonymous) << 10,
            int(shared) << 10,
            int(tables) << 10,
            int(swapped) << 10,
        )

    def _children(self, pid: int, threads: int, kin: dict[int, list[int]] | None) -> list[int]:
        if kin is not None:
            return kin.get(pid, [])
        if threads == 1:
            return [int(child) for child in (self.read(f"{pid}/task/{pid}/children") or b"").split()]
        return [
            int(child)
            for thread in self.numbers(f"{pid}/task")
            for child in (self.read(f"{pid}/task/{thread}/children") or b"").split()
        ]

    def kin(self) -> dict[int, list[int]]:
        """Every living process of /proc, by its parent."""
        kin: dict[int, list[int]] = {}
        for pid in self.numbers("."):
            times = self.times(pid)
            if times and not times.dead:
                kin.setdefault(times.parent, []).append(pid)
        return kin


class Swept(NamedTuple):
    """What became of a sweep: whether nothing is left; and how those ended who were the root's children."""

    clean: bool
    ended: dict[int, int]


def sweep(tree: Tree, seconds: float = 5.0) -> Swept:
    """Kill and reap every process of a tree but the ignored, also those that fork faster than they are seen.

    To be called by the root itself, which must be a child subreaper (PR_SET_CHILD_SUBREAPER): then who loses
    its parent becomes its child, and "no child" from wait(2) is the kernel's word that nobody is left.

    Args:
        tree: whose descendants go.
        seconds: how long to try; a process in an uninterruptible sleep may outlast it.

    Returns:
        Whether it is clean, and the wait statuses by pid.
    """
    deadline = time.monotonic() + seconds
    ended: dict[int, int] = {}
    struck: set[int] = set()
    while True:
        before = struck
        struck = {member.pid for member in tree.members() if _strike(tree, member)}
        childless = _reap(ended)
        if childless or (not struck and _nobody(tree)):
            return Swept(True, ended)
        if time.monotonic() > deadline:
            return Swept(False, ended)
        if struck <= before:  # all are dying: the kernel takes its time to free their memory
            time.sleep(0.001)


def _strike(tree: Tree, member: Member) -> bool:
    """Kill one process, after making sure that its number is not somebody else's by now."""
    try:
        process = os.pidfd_open(member.pid)
    except ProcessLookupError:
        return False
    except OSError:  # no descriptor left, or a kernel before 5.3
        times = tree.times(member.pid)
        if times is None or times.dead:
            return False
        if times.parent in (member.parent, tree.root):
            os.kill(member.pid, signal.SIGKILL)
        return True
    try:
        times = tree.times(member.pid)  # of whom the descriptor holds, or of nobody
        if times is None or times.dead:
            return False
        if times.parent in (member.parent, tree.root) or times.parent in tree.ignore:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(process)


def _reap(ended: dict[int, int]) -> bool:
    """Reap all that have ended; return whether there is no child at all any more."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        if len(ended) < 10_000:  # a bomb of forks makes more than anybody wants to know
            ended[pid] = status


def _nobody(tree: Tree) -> bool:
    """Look through all of /proc: the lists of children may miss one whose brother just ended."""
    kin = tree.kin()
    waiting = [tree.root]
    while waiting:
        for pid in kin.get(waiting.pop(), []):
            if pid not in tree.ignore:
                return False
            waiting.append(pid)
    return True
