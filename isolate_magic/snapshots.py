"""The snapshots of one companion: when they are taken, how many there are, and the way back (host).

One is taken by itself before a cell of a notebook and before the first call after it, and kept until the
next. Those with a name stay until they are dropped. All of them end with the companion.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil

from isolate_magic import fence, tree
from isolate_magic.birth import open_ends
from isolate_magic.crew import Crew
from isolate_magic.defaults import defaults
from isolate_magic.errors import SnapshotError, StartError
from isolate_magic.ration import tidy
from isolate_magic.snapshot import Snapshot, listen
from isolate_magic.succession import accompany, succeed

MODES = ("auto", "off")
MOST = 8
"""Snapshots with a name that a companion may have."""
SHARE = 0.2
"""Of the time that passes, snapshots that are taken by themselves may cost no more."""
CREDIT = 0.25
"""Seconds that they may cost in a row, after a time without."""
NO_WAY_BACK = ("stop", "cpu", "disk")
"""Deaths after which the next process starts afresh: what the limit counts is used up in the snapshot too."""

_crew = Crew("isolate_magic-snapshots", 1)
_FAULT = 2e-6  # seconds that it takes to copy a page which is written to for the first time, about


class Snapshots:
    """Take and keep the snapshots of a companion.

    Args:
        companion: the companion.
        mode: `auto` takes them by itself, `off` only on request.

    Attributes:
        latest: the one that was taken by itself, or None.
        named: those with a name.
        chosen: the one that the next death leads back to, if that was asked for.
        returns: whether a death leads back to the newest one.
        why_not: why the last one could not be taken; "" if it was.
        rewinds: how often the companion went back.
    """

    def __init__(self, companion: Any, mode: str | None = None) -> None:
        self.companion = companion
        self.mode = _mode(defaults.snapshots if mode is None else mode)
        self.returns = True
        self.latest: Snapshot | None = None
        self.named: dict[str, Snapshot] = {}
        self.chosen: Snapshot | None = None
        self.why_not = ""
        self.rewinds = 0
        self.scouts: list[Snapshot] = []  # awake
        self._leaving: list[Snapshot] = []
        self._taking = threading.Lock()  # one at a time, whichever thread asks
        self._credit, self._counted = CREDIT, time.monotonic()
        self._faults = (0, 0)

    def all(self) -> list[Snapshot]:
        """Return all that could be woken, oldest first."""
        found = [*self.named.values(), *([self.latest] if self.latest else [])]
        return sorted((one for one in found if one.alive()), key=lambda one: one.taken)

    # ------------------------------------------------------------ taking

    def before(self, process: Any, moment: str) -> None:
        """Take one by itself, unless that cannot be or would cost too much; `why_not` tells then.

        Args:
            process: the process that is there.
            moment: what it is taken before, in words.
        """
        process.talk.unsaved = None
        if self.mode == "off" or not self._taking.acquire(blocking=False):
            return
        try:
            self._afford(process)
            taken = self._take(process, "", moment)
            before, self.latest = self.latest, taken
            self._replace(before)
            self._tell(process, 0)
        except SnapshotError as error:
            self.why_not = str(error)
        finally:
            self._taking.release()

    def after(self, process: Any, moment: str) -> None:
        """Let the first call from now on take one."""
        if self.mode == "auto":
            process.talk.unsaved = lambda: self.before(process, moment)

    def keep(self, process: Any, name: str) -> Snapshot:
        """Take one and keep it under a name; one that had the name before is dropped.

        Raises:
            SnapshotError: it cannot be taken, or there are too many.
        """
        if name not in self.named and len(self.named) >= MOST:
            raise SnapshotError(
                f"companion {self.companion.name!r} has {MOST} snapshots with names already, each of which "
                f"holds memory; drop one of {', '.join(self.named)} first"
            )
        with self._taking:
            taken = self._take(process, name, f"snapshot {name!r}")
            before = self.named.pop(name, None)
            self.named[name] = taken
            self._replace(before)
            self._tell(process, 0)
        return taken

    def _afford(self, process: Any) -> None:
        """Raise SnapshotError where one would cost too much of the time, or more memory than there is."""
        now = time.monotonic()
        copied = self._copied(process.pid)
        self._credit = min(CREDIT, self._credit + SHARE * (now - self._counted) - copied * _FAULT)
        self._counted = now
        if self._credit <= 0:
            raise SnapshotError(
                f"they have cost more than {SHARE:.0%} of the time lately; the next one is taken in "
                f"{-self._credit / SHARE:.1f} s"
            )
        held, free = tree.held(process.pid), psutil.virtual_memory().available
        if held > free:
            raise SnapshotError(
                f"the companion holds {held / 2**30:.2f} GiB, and only {free / 2**30:.2f} GiB are free "
                "for what of it may change"
            )

    def _copied(self, pid: int) -> int:
        """Return how many pages the process was given since the last look: about those that were shared."""
        before, self._faults = self._faults, (pid, tree.faults(pid))
        return self._faults[1] - before[1] if before[0] == pid else 0

    def _take(self, process: Any, name: str, moment: str) -> Snapshot:
        """Fork one.

        Raises:
            SnapshotError: it cannot be.
        """
        talk, started = process.talk, time.perf_counter()
        if talk.slots or talk.desk.within()[0]:
            raise SnapshotError("the companion is at work on something else")
        if process.policy.processes == 1:
            raise SnapshotError("its policy allows one process, and a snapshot is another one")
        with ExitStack() as undo, ExitStack() as lent:
            try:
                ends, theirs = open_ends(undo, lent)
            except OSError as error:
                raise SnapshotError(f"no descriptors are left ({error.strerror})") from None
            listen(ends)
            made = Snapshot(process, ends, name, moment)
            undo.callback(self._tell, process, 0)
            self._tell(process, 2)
            try:
                mark = self._forked(process, theirs, made)
                lent.close()
                made.meet(undo)
                if process.lane is None:
                    process.zygote.adopt(made.pid)
            except (StartError, OSError) as error:
                if not process.trusted:  # which would hold us up like this before each cell
                    raise process.talk.break_off(f"a snapshot that is none ({error})") from None
                raise SnapshotError(str(error)) from None
            undo.pop_all()
        made.mark, made.lent = mark, talk.lent.copy()
        made.cost = time.perf_counter() - started
        self._credit -= made.cost
        self.why_not = ""
        process.lasting = True
        return made

    def _forked(self, process: Any, theirs: list[int], made: Snapshot) -> int:
        """Let the companion fork itself; return the highest number that it had lent."""
        talk = process.talk
        tokens = tuple(next(talk.desk.tokens) for _ in theirs)
        for token, end in zip(tokens, theirs, strict=True):
            talk.desk.hand_over(token, end)
        made.number = next(talk.numbers)
        told = talk.call(talk.service, "freeze", (tokens,), {}, made.number)
        if type(told) is str:
            raise SnapshotError(tidy(told, 500) if not process.trusted else told)
        if type(told) is not int:
            raise talk.break_off("it took a snapshot that is none")
        return told

    def _tell(self, process: Any, leeway: int) -> None:
        """Tell the supervisor which processes are snapshots, and how many more may be on their way."""
        if process.lane is not None:
            held = (*self.named.values(), *self.scouts, *self._leaving, self.latest, self.chosen)
            pids = [one.pid for one in held if one is not None]
            process.lane.say({"do": "snapshots", "pids": pids, "leeway": leeway})

    # ------------------------------------------------------------ letting go

    def drop(self, name: str) -> None:
        """Drop the one with a name."""
        self._drop(self.named.pop(name))

    def discard(self) -> None:
        """End them all."""
        process = self.companion._process
        if process is not None and process.report is not None:
            self.let_go(process)
        found = [*self.named.values(), self.latest, self.chosen]
        self.named, self.latest, self.chosen = {}, None, None
        for one in dict.fromkeys(found):
            if one is not None:
                self._drop(one)
        if process is not None:
            process.lasting = False
            if not process.talk.closed:
                process.talk.unsaved = None
                self._tell(process, 0)

    def _replace(self, one: Snapshot | None) -> None:
        """Drop one in a thread: to free what only it holds may take longer than to take the next."""
        if one is None:
            return
        self._leaving.append(one)  # which its supervisor must not take for a process of the user's

        def leave() -> None:
            self._drop(one)
            self._leaving.remove(one)

        _crew.do(leave)

    def _drop(self, one: Snapshot) -> None:
        one.kill()
        if one.lane is None and not one.awake:
            one.process.zygote.reap(one.pid)

    def leave(self) -> None:
        """Let go of them in a forked copy of the main session."""
        for one in (*self.named.values(), self.latest):
            if one is not None:
                one.leave()
        self.named, self.latest, self._taking = {}, None, threading.Lock()

    def let_go(self, dead: Any) -> None:
        """Let the supervisor and the folder of a dead process go, which nothing goes on with."""
        if dead.lasting:
            dead.lasting = False
            if dead.lane is not None:
                dead.lane.close()
                dead.zygote.reap(dead.pid)
            fence.remove_scratch(dead.scratch)

    # ------------------------------------------------------------ going back

    def ahead_of(self, kind: str) -> str:
        """Return the moment that a death of this kind leads back to; "" if it leads nowhere."""
        found = self.target(kind)
        return found.moment if found is not None else ""

    def target(self, kind: str) -> Snapshot | None:
        """Return the snapshot that a death of this kind leads back to."""
        if self.chosen is not None and self.chosen.alive():
            return self.chosen
        if kind in NO_WAY_BACK or not self.returns:
            return None
        found = self.all()
        return found[-1] if found else None

    def wake(self, dead: Any, make: Callable[[Snapshot], Any]) -> Any:
        """Go on with a snapshot in place of a dead process.

        Args:
            dead: the process.
            make: makes a process of a snapshot.

        Returns:
            the new process.

        Raises:
            IsolateError: the snapshot did not wake, or died at once.
        """
        found = self.target(dead.report.kind)
        if found is None:
            raise StartError("the snapshot has died with it")
        found = self._twin(found)
        self.chosen = None
        if dead.lane is not None:
            self._tell(dead, 1)  # the one that wakes
            dead.zygote.adopt(found.pid, dead.pid)
            dead.lane.say({"do": "awake", "pid": found.pid})
        process = make(found)
        try:
            succeed(dead.talk, process.talk, found)
        except BaseException:
            process.lasting = False
            process.end("stop", "its snapshot did not wake")
            raise
        self._tell(process, 0)
        self.rewinds += 1
        process.lasting = bool(self.all())
        return process

    @contextmanager
    def scout(self, process: Any, make: Callable[[Snapshot], Any]) -> Iterator[Any]:
        """Give a fork of a process, awake, which ends with the block.

        Args:
            process: the process.
            make: makes a process of a snapshot.

        Raises:
            SnapshotError: it cannot be forked now.
        """
        with self._taking:
            found = self._take(process, "", "the dry run")
        self.scouts.append(found)
        scout = make(found)
        scout.scout, scout.lasting = True, True

        def forsake() -> None:
            self.scouts.remove(found)
            self._tell(process, 0)

        scout.forsake = forsake
        try:
            self._tell(process, 0)
            accompany(process.talk, scout.talk, found)
            yield scout
        finally:
            scout.end("stop", "the dry run is over")
            if found in self.scouts:
                forsake()
            process.lasting = bool(self.all())

    def _twin(self, found: Snapshot) -> Snapshot:
        """Return a fork of a snapshot, which stays for the next death; itself if there can be none."""
        try:
            made = found.copy("")
        except (StartError, OSError):
            self.named.pop(found.name, None)
            self.latest = None if found is self.latest else self.latest
            return found
        if made.lane is None:
            made.process.zygote.adopt(made.pid)
        return made


def _mode(mode: str) -> str:
    if mode not in MODES:
        raise ValueError(f"snapshots are {' or '.join(map(repr, MODES))}, not {mode!r}")
    return mode
