"""The way back: snapshots as a user asks for them, and what follows a death (host)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable

from isolate_magic import bulletin, frontend, output
from isolate_magic.errors import IsolateError, SnapshotError
from isolate_magic.inbox import UNSEEN
from isolate_magic.interrupts import Postponed
from isolate_magic.process import Process
from isolate_magic.report import CrashReport
from isolate_magic.snapshot import Snapshot
from isolate_magic.snapshots import NO_WAY_BACK, Snapshots

NAME = re.compile(r"[\w.-]{1,60}")
"""What a companion, and a snapshot, may be called."""


class Rewinding:
    """Be the part of a `Companion` that goes back to where it was."""

    name: str
    traced: bool
    snapshots: Snapshots
    _process: Process | None
    _lock: threading.RLock
    _owner: int
    _buried: Callable[[CrashReport], None]
    _living: Callable[[], Process]
    _alive: Callable[[], Process | None]
    _furnish: Callable[[Process], None]
    _rewound: Process | None = None  # whose death the user has not been told of, perhaps

    def snapshot(self, name: str) -> Snapshot:
        """Keep a copy of all that is in the companion now, to go back to with `rewind`.

        It is a sleeping fork: it costs some milliseconds, and memory only for what changes afterwards. It
        lasts until `drop_snapshot`, a snapshot of the same name, or the end of the companion.

        Args:
            name: 1 to 60 letters, digits, `_`, `.` and `-`.

        Raises:
            ValueError: the name is malformed.
            SnapshotError: it cannot be taken now, or there are too many; the text says why.

        >>> with Companion("saved") as companion:
        ...     companion.run("x = [1]")
        ...     _ = companion.snapshot("one")
        ...     companion.run("x.append(2)")
        ...     _ = companion.rewind("one")
        ...     companion.run("x")
        [1]
        """
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a snapshot: 1 to 60 letters, digits, '_', '.', '-'")
        return self.snapshots.keep(self._living(), name)

    def drop_snapshot(self, name: str) -> None:
        """Drop the snapshot with a name, and the memory that it holds.

        Raises:
            SnapshotError: there is none.
        """
        self._named(name)
        self.snapshots.drop(name)

    def rewind(self, name: str | None = None) -> str:
        """Go back to a snapshot: all that has happened in the companion since is undone.

        Proxies of objects that existed then stay valid, all others are stale. Files, sockets and
        other processes are not rewound.

        Args:
            name: the snapshot; the newest by default.

        Returns:
            the moment in words, such as `before cell In[5]`.

        Raises:
            SnapshotError: there is none.
        """
        with self._lock:
            found = self._named(name) if name is not None else self._newest()
            process = self._process
            assert process is not None
            self.snapshots.chosen = found
            with Postponed():
                process.end("rewind", f"rewound to {found.moment}")
            self._recover(process, asked=True)
            if self._process is process or self._alive() is None:
                raise SnapshotError(f"the snapshot {found.moment} did not wake; the next use starts anew")
        return found.moment

    def _named(self, name: str) -> Snapshot:
        found = self.snapshots.named.get(name)
        if found is None or not found.alive():
            have = ", ".join(self.snapshots.named) or "none"
            raise SnapshotError(f"companion {self.name!r} has no snapshot {name!r}; it has {have}")
        return found

    def _newest(self) -> Snapshot:
        found = self.snapshots.all()
        if not found:
            why = f": {self.snapshots.why_not}" if self.snapshots.why_not else ""
            raise SnapshotError(f"companion {self.name!r} has no snapshot{why}")
        return found[-1]

    # ------------------------------------------------------------ after a death

    def _at_death(self, process: Process) -> None:
        """Go back to a snapshot at once, before anybody finds a stale proxy; who holds the lock does it."""
        if self._lock.acquire(blocking=False):
            try:
                self._recover(process)
            finally:
                self._lock.release()

    def _recover(self, dead: Process, asked: bool = False) -> None:
        """Let a snapshot go on in place of a dead process, if that is due or asked for; harmless twice."""
        if dead is not self._process or dead.report is None or self._owner != os.getpid():
            return
        if not (asked or dead.report.rewound):
            if dead.report.kind in NO_WAY_BACK:
                self.snapshots.discard()
            return
        with Postponed():
            try:
                self._process = self.snapshots.wake(dead, self._woken)
            except IsolateError as error:
                self.snapshots.discard()
                output.default.stream("stderr", f"companion {self.name!r} could not be rewound: {error}\n")
                return
        frontend.current.succeed(dead, self._process)
        self._rewound = dead
        bulletin.tell(self, "rewind", self._process.pid, dead.report)

    def _tell_rewound(self) -> None:
        """Say that the companion died and went back, unless a cell or a call has failed with it."""
        dead, self._rewound = self._rewound, None
        report = dead.untold() if dead is not None else None
        if report is not None and (not report.during or report.during in UNSEEN):
            output.default.stream("stderr", f"{report.story}\n")

    def _scout(self, snapshot: Snapshot) -> Process:
        """Make a process of a fork for one cell; its death is a crash like any other, and nothing follows."""
        like = snapshot.process
        process = Process(self.name, like.zygote, like.policy, self._buried, self.traced, snapshot)
        snapshot.awake = True
        return process

    def _woken(self, snapshot: Snapshot) -> Process:
        dead = snapshot.process
        process = Process(self.name, dead.zygote, dead.policy, self._buried, self.traced, snapshot)
        snapshot.awake = True
        process.cells = dead.cells
        self._furnish(process)
        return process
