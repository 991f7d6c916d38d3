"""The memory of a tree of processes, quick and right at once (zygote, in the keeper).

Three numbers, from cheap to dear:

- what the processes *hold*, summed: pages shared by forks count several times. Below the limit, all is well.
- what they have *certainly* taken: the growth of each since it was first seen; nobody can share that but
  forks that come later, whose growth begins then. Above the limit there is nothing to prove, so filling
  memory quickly, in one process or in many, is ended at once.
- their *share*: each page divided by those who map it (PSS). It decides between the two. After it was read,
  memory can have grown by what the processes hold more, and by a page for each page fault (a shared page that
  is written to becomes a page of one's own, and what is held stays the same); only when that could pass the
  limit it is read again, and at most half of the time. The growth since it was read is certain as above.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Mapping

from isolate_magic.child.tree import Member, Times, Tree

_YOUNG = 0.2  # seconds; a vfork(2) has called exec by then
_BLIND = 0.002  # seconds without a look at what is held
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine())
_KCMP_VM = 1  # kcmp(2)

_libc = ctypes.CDLL(None, use_errno=True)


class Scales:
    """Weigh the memory of a tree, as exactly as its distance from the limit asks for.

    Args:
        tree: the processes.

    Attributes:
        proved: whether what was weighed last is at least that much.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.proved = False
        self._first: dict[int, tuple[float, int]] = {}  # when first seen, and the least it held since
        self._read: dict[int, tuple[int, int]] = {}  # what each held and its faults when shares were read
        self._after: dict[int, Member] = {}  # as they were just after
        self._total: int | None = None
        self._next = self._next_early = 0.0

    def weighed(self, members: list[Member], limit: int | None, now: float) -> int:
        """Return the bytes in use; `proved` tells whether they are at least that many."""
        held = sum(member.held for member in members)
        first = self._first
        self._first = {
            member.pid: (seen[0], min(seen[1], member.anonymous)) if seen else (now, member.anonymous)
            for member in members
            for seen in (first.get(member.pid),)
        }
        self.proved = False
        if not limit or held <= limit // 2:
            self._total = None
            return held
        members = self._distinct(members, now)
        certain = self._certain(members)
        if certain > limit:
            self.proved = True
            return certain
        if held > limit:
            return self._shares(members, limit, now)
        if certain + limit // 16 < held and now >= self._next_early:
            early = self._read_shares(members, self._times(members), now, limit)
            self.proved = early > limit  # else it lets us be certain sooner when it comes to it
            return max(held, early)
        return held

    def _certain(self, members: list[Member]) -> int:
        grown = sum(self._grown(member) for member in members)
        grown += max((member.shared for member in members), default=0)
        return max(grown, self._since_read(members))

    def _grown(self, member: Member) -> int:
        _, least = self._first.get(member.pid, (0.0, member.anonymous))
        return max(0, member.anonymous - least) + member.tables

    def _times(self, members: list[Member]) -> dict[int, Times | None]:
        return {member.pid: self._tree.times(member.pid) for member in members}

    def _shares(self, members: list[Member], limit: int, now: float) -> int:
        times = self._times(members)
        if self._total is not None:
            possible = self._total + sum(self._since(member, times) for member in members)
            if possible <= limit or now < self._next:
                return min(possible, limit)
        self.proved = True
        return self._read_shares(members, times, now, limit)

    def _read_shares(
        self, members: list[Member], times: Mapping[int, Times | None], now: float, limit: int
    ) -> int:
        """Return the sum of the shares; or what is certain meanwhile, should that pass the limit."""
        begin, looked, total = time.thread_time(), time.monotonic(), 0
        for member in members:
            total += self._tree.share(member)
            if time.monotonic() - looked > _BLIND:  # on a busy machine this may take a quarter of a second
                certain = self._certain(self._distinct(self._tree.members(), now))
                if certain > limit:
                    return certain
                looked = time.monotonic()
        self._total = total
        cost = time.thread_time() - begin
        self._next, self._next_early = now + 2 * cost, now + 50 * cost
        self._read = {member.pid: (member.held, _faults(times[member.pid])) for member in members}
        self._after = {member.pid: member for member in self._tree.members()}
        return total

    def _since_read(self, members: list[Member]) -> int:
        """The least that it must be by now: growth since then is shared with nobody, but all lost may be."""
        if self._total is None:
            return 0
        by_pid = {member.pid: member for member in members}
        total = self._total
        for pid, old in self._after.items():
            new = by_pid.get(pid)
            total += _own(new) - _own(old) + min(0, new.shared - old.shared) if new else -old.held
        return total

    def _since(self, member: Member, times: Mapping[int, Times | None]) -> int:
        """The most that it can have taken since the shares were read."""
        held, faults = self._read.get(member.pid, (0, 0))
        return max(0, member.held - held) + max(0, _faults(times[member.pid]) - faults) * _PAGE

    def _distinct(self, members: list[Member], now: float) -> list[Member]:
        """Leave out those that run in the very memory of their parent, as between vfork and exec."""
        by_pid = {member.pid: member for member in members}
        return [
            member
            for member in members
            if member.parent not in by_pid or not self._same(member, by_pid[member.parent], now)
        ]

    def _same(self, member: Member, parent: Member, now: float) -> bool:
        result = -1
        if _KCMP is not None:
            one, other = (int(each.where.rpartition("/")[2]) for each in (member, parent))
            result = _libc.syscall(*map(ctypes.c_long, (_KCMP, one, other, _KCMP_VM, 0, 0)))
        if result >= 0:
            return result == 0
        # Docker forbids kcmp. A fork that wrote to all of its pages looks the same: believed only briefly.
        alike = (member.anonymous, member.shared) == (parent.anonymous, parent.shared)
        return alike and now - self._first.get(member.pid, (now, 0))[0] < _YOUNG


def _own(member: Member) -> int:
    return member.anonymous + member.swapped


def _faults(times: Times | None) -> int:
    return times.faults if times else 0
