"""What a companion tells of itself: numbers and events (host)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from isolate_magic import bulletin, registry
from isolate_magic.bulletin import Event, Events, Subscription
from isolate_magic.meter import measure
from isolate_magic.process import Process
from isolate_magic.protection import Protection
from isolate_magic.report import CrashReport


class Observed:
    """Be the part of a `Companion` that is looked at."""

    name: str
    restarts: int
    closed: bool

    def __init__(self) -> None:
        self._process: Process | None = None
        self.crashes: list[CrashReport] = []
        self.deaths: Counter[str] = Counter()
        """How often it died, by the kind that its crash report tells."""

    @property
    def pid(self) -> int | None:
        """Tell the process id, or None while there is no process."""
        process = self._alive()
        return process.pid if process else None

    @property
    def state(self) -> str:
        """Tell how it is: `new`, `idle`, `busy`, `dead` or `stopped`."""
        process = self._process
        if process is None:
            return "new"
        if not process.talk.closed:
            return "busy" if process.talk.slots else "idle"
        if process.report is None or process.report.kind == "stop":  # None in a fork of the main session
            return "stopped"
        return "dead"

    @property
    def crash(self) -> CrashReport | None:
        """Tell how it last died, or None."""
        return self.crashes[-1] if self.crashes else None

    @property
    def report(self) -> Protection | None:
        """Tell what confines the process: each field of the policy and what enforces it; None without one."""
        process = self._alive()
        return process.protection if process else None

    @property
    def stats(self) -> dict[str, Any]:
        """Measure the companion: its own process and all that it has started.

        Returns:
            `pid`, `state`, `restarts`, and, None while there is no process:

            `uptime` in seconds; `cpu` in seconds of processor time; `processes`, `threads`, `open_files`;
            `calls`, the requests made of it; `proxies`, the objects lent to us;

            `rss`, the resident memory in bytes: what was imported before the fork is shared with the zygote
            and counts in full, for each process; `uss`, what would be free if it ended; `memory`, what
            its `limit` is compared with: no files, but page tables and swap; `peak`, the most
            resident memory that is known of: by the kernel, of each process, and by each look, of all;

            `io`: `read_bytes` and `write_bytes`, which went to and from the disk, and `read_chars` and
            `write_chars`, which calls have read and written. `uss`, `io` and `open_files` are
            also None where the kernel does not let this user know.
        """
        return {
            "pid": self.pid, "state": self.state, "restarts": max(self.restarts, 0), **measure(self._alive()),
        }  # fmt: skip

    def events(self) -> Events:
        """Return an asynchronous iterator over what happens to it from now on; it ends when it is closed.

        >>> async def watch(companion):
        ...     async for event in companion.events():
        ...         print(event.kind, event.details)
        """
        return Events(self)

    def on(self, kind: str, function: Callable[[Event], object]) -> Subscription:
        """Call a function at every event of a kind, until it is closed; see `isolate_magic.on`."""
        return Subscription(self, kind, function)

    def _alive(self) -> Process | None:
        process = self._process
        return process if process is not None and not process.talk.closed else None

    def _born(self, process: Process, before: Process | None) -> None:
        kind = "restart" if self.restarts else "start"
        bulletin.tell(self, kind, process.pid, before.report if before is not None else None)

    def _buried(self, report: CrashReport) -> None:
        if report.kind not in ("stop", "rewind"):
            self.crashes = [*self.crashes, report][-20:]
            self.deaths[report.kind] += 1
            registry.crashes.append(report)
        if report.kind == "rewind":
            return
        kind = report.kind if report.kind in ("stop", "memory", "cpu") else "crash"
        bulletin.tell(self, kind, report.pid, report)
