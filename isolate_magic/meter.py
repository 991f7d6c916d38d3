"""The numbers of one companion's processes, measured from outside (host)."""

from __future__ import annotations

import time
from functools import reduce
from typing import Any

from isolate_magic import tree
from isolate_magic.tree import Io, Member

LIGHT = ("cpu", "rss", "memory", "limit", "peak", "processes", "threads", "open_files", "calls")
"""What `Meter.look` tells."""

FULL = ("uptime", *LIGHT, "uss", "io", "proxies")
"""What `Meter.measure` tells."""


class Meter:
    """Measure one process of a companion and all that it has started.

    Args:
        process: the `isolate_magic.process.Process`.
    """

    def __init__(self, process: Any) -> None:
        self.process = process
        self._root = tree.parent(process.pid) if process.lane is not None else 0
        self._cpu = 0.0
        self._peak = 0

    def look(self) -> dict[str, Any]:
        """Return what is cheap to know; see `Companion.stats` for what it means."""
        return self._looked(self._members())

    def measure(self) -> dict[str, Any]:
        """Return all; see `Companion.stats`."""
        members = self._members()
        return {
            "uptime": time.monotonic() - self.process.started, **self._looked(members),
            "uss": _own(members), "io": _io(members), "proxies": len(self.process.talk.revival.proxies),
        }  # fmt: skip

    def _members(self) -> list[Member]:
        return tree.members(self.process.pid, self._root)

    def _looked(self, members: list[Member]) -> dict[str, Any]:
        rss = sum(member.rss for member in members)
        # Time is lost with a process that nobody waits for; what was seen once is not taken back.
        self._cpu = max(self._cpu, sum(tree.seconds(member.pid) for member in members))
        self._peak = max(self._peak, rss, *(member.top for member in members), 0)
        limit = self.process.policy.memory
        return {
            "cpu": self._cpu,
            "rss": rss,
            "memory": _counted(members, limit),
            "limit": limit,
            "peak": self._peak,
            "processes": len(members),
            "threads": sum(member.threads for member in members),
            "open_files": tree.total(members, tree.open_files),
            "calls": self.process.talk.latest,
        }


def measure(process: Any) -> dict[str, Any]:
    """Return all numbers of a `isolate_magic.process.Process`; None for each where there is none."""
    return dict.fromkeys(FULL) if process is None else process.meter.measure()


def _counted(members: list[Member], limit: int | None) -> int:
    """Return memory as the limit counts it: pages shared by forks in full, until that passes it."""
    held = sum(member.held for member in members)
    if limit is None or held <= limit:
        return held
    found = [tree.shares(member) for member in members]
    return min(
        held,
        sum(member.held if one is None else one.share for member, one in zip(members, found, strict=True)),
    )


def _own(members: list[Member]) -> int | None:
    def own(member: Member) -> int | None:
        found = tree.shares(member)
        return None if found is None else found.own

    return tree.total(members, own)


def _io(members: list[Member]) -> Io | None:
    found = [(member.pid, tree.io(member.pid)) for member in members]
    if any(part is None and not tree.gone(pid) for pid, part in found):
        return None
    nothing = Io(0, 0, 0, 0)
    return reduce(
        lambda one, other: Io(*map(sum, zip(one, other or nothing, strict=True))),
        [part for _, part in found],
        nothing,
    )
