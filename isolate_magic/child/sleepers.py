"""The sleeping snapshots of a companion, as its supervisor sees them (supervisor).

They do not count as processes, but their memory does. When the companion ends, all that it has started
goes, and they stay, until the host says which of them takes its place or that none does.
"""

from __future__ import annotations

import os
import signal

from isolate_magic.child.tree import Tree, sweep
from isolate_magic.child.watchdog import Verdict, Watchdog

_LITTLE = 16  # of the limit; who passes it by less than they hold would have passed it a moment later


class Sleepers:
    """Know the snapshots of one companion.

    Args:
        tree: all its processes, theirs too.
        proc: a descriptor of the host's /proc.
        watchdog: looks at its limits.
    """

    def __init__(self, tree: Tree, proc: int, watchdog: Watchdog) -> None:
        self._tree = tree
        self._proc = proc
        self._watchdog = watchdog
        self._pids: frozenset[int] = frozenset()
        self._ended: set[int] = set()  # those that were, and have ended or soon do

    def __bool__(self) -> bool:
        return bool(self._pids)

    def know(self, pids: frozenset[int], leeway: int) -> None:
        """Take note which there are, and collect those that have ended.

        Args:
            pids: all of them.
            leeway: how many processes more there may be meanwhile.
        """
        self._ended |= self._pids - pids
        self._ended = {pid for pid in self._ended if not _collected(pid)}
        self._pids = self._watchdog.spared = pids
        self._watchdog.leeway = leeway

    def give_up(self, verdict: Verdict) -> bool:
        """End them instead of the companion, where it passes its limit of memory only together with them.

        Returns:
            whether they were ended.
        """
        ceiling = self._watchdog.limits.ceiling
        if verdict.kind != "memory" or not self._pids or ceiling is None:
            return False
        theirs = sum(map(self._tree.private, self._pids))
        if theirs < ceiling // _LITTLE or self._watchdog.memory - theirs > ceiling:
            return False
        for pid in self._pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has ended
                continue
        self.know(frozenset(), 0)
        return True

    def sweep_others(self) -> bool:
        """Kill all processes but them; return whether nothing else is left."""
        return sweep(Tree(self._tree.root, self._proc, [*self._tree.ignore, *self._pids])).clean

    def forget(self) -> None:
        """Spare them no longer."""
        self._pids = frozenset()


def _collected(pid: int) -> bool:
    """Return whether a process is gone, or no child of ours whom we would have to collect."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
