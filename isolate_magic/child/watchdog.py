"""Looks after the limits of a companion and of everything that it started (zygote, in the keeper).

How memory is weighed is in `scales.py`, how files are counted in `disk.py`.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from isolate_magic.child.disk import Disk
from isolate_magic.child.scales import Scales
from isolate_magic.child.tree import Member, Tree

_LONGEST, _SHORTEST = 0.010, 0.001  # seconds between two looks: never less than 100 a second
_LAZY = 0.05  # the same, where nothing is limited that grows quickly
_CALM = 0.05  # seconds without growth, after which a little more is risked
_CPU_EVERY = 0.02
_SAMPLES = 200

_SETATTR = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
_RESET_ON_FORK = 1  # sched_setattr(2)
_SLICE = 100_000  # nanoseconds, the least

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """What a companion may use, all its processes together; None is no limit.

    Attributes:
        memory: bytes.
        cpu: seconds of processor time.
        processes: how many at once.
        threads: how many at once.
        disk: bytes in the folders and in deleted files that are still open.
        folders: the user's: what is in them at the start does not count towards `disk`.
        scratch: made for the companion: all in them counts.
    """

    memory: int | None = None
    cpu: float | None = None
    processes: int | None = None
    threads: int | None = None
    disk: int | None = None
    folders: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()

    @property
    def ceiling(self) -> int | None:
        """Tell how much memory ends the tree: a little more, so that RLIMIT_DATA refuses some before."""
        return self.memory and self.memory + self.memory // 25

    @classmethod
    def parsed(cls, said: Mapping[str, Any]) -> Limits:
        """Make them from a dictionary as JSON has it.

        Raises:
            ValueError: a name is unknown, or a value is not a number above zero (folders: texts).
        """
        unknown = set(said) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown limits: {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {}
        for name, value in said.items():
            if name in ("folders", "scratch"):
                if not all(isinstance(folder, str) for folder in value):
                    raise ValueError(f"{name} must be texts, not {value!r}")
                values[name] = tuple(value)
            elif value is None or (isinstance(value, (int, float)) and value > 0):
                values[name] = value
            else:
                raise ValueError(f"the limit of {name} must be a number above 0, not {value!r}")
        return cls(**values)


@dataclass(frozen=True)
class Verdict:
    """A limit was passed: memory, cpu, processes, threads or disk, and a sentence with the numbers."""

    kind: str
    text: str


def wake_promptly() -> None:
    """Let this process run soon after it is woken, though those that it watches keep all processors busy.

    From Linux 6.12 on whoever asks for short slices of time gets them early (sched_setattr(2)); it needs no
    privilege, forks do not inherit it, and older kernels ignore it.
    """
    if _SETATTR is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # struct sched_attr: size, policy SCHED_OTHER, flags, nice, priority, runtime, deadline, period.
    attributes = struct.pack("IIQiIQQQ", 48, 0, _RESET_ON_FORK, nice, 0, _SLICE, 0, 0)
    _libc.syscall(ctypes.c_long(_SETATTR), ctypes.c_long(0), attributes, ctypes.c_long(0))


class Watchdog:
    """Looks at a tree of processes again and again, and says when a limit is passed. It kills nobody.

    To be made before the tree has processes: times and folders count from there.

    Args:
        tree: the processes.
        limits: theirs.

    Attributes:
        limits: as they are now.
        memory: bytes in use at the last look. Until the limit is near, pages shared by forks count for each.
        peak: the most of it.
        cpu: seconds of processor time so far, also of processes that have ended.
        spared: processes that do not count, but their memory does: sleeping snapshots.
        leeway: how many more there may be, for as long as a snapshot is forked.

    Raises:
        OSError: a folder cannot be watched.
    """

    def __init__(self, tree: Tree, limits: Limits) -> None:
        self._tree = tree
        self.limits = Limits()
        self.memory = self.peak = 0
        self.cpu = 0.0
        self.spared: frozenset[int] = frozenset()
        self.leeway = 0
        self._start = time.monotonic()
        self._cost = self._late = self._due = 0.0
        self._ledger = _Ledger(tree)
        self._scales = Scales(tree)
        self._curve = _Curve()
        self._moved = 0.0
        self._next_cpu = 0.0
        self._disk: Disk | None = None
        # Bytes a second that all processors together can fill: 7.8 GiB with two, measured with huge pages.
        self._rate = min(64, 4 * len(os.sched_getaffinity(0))) * 2**30
        self.replace(limits)

    def replace(self, limits: Limits) -> None:
        """Put other limits in force. Folders that stay the same go on counting from where they began.

        Raises:
            OSError: a folder cannot be watched; then the old limits stay.
        """
        same = self._disk and (limits.folders, limits.scratch) == (self.limits.folders, self.limits.scratch)
        if self._disk and same and limits.disk:
            self._disk.limit = limits.disk
        else:
            disk = Disk(limits.disk, limits.folders, limits.scratch) if limits.disk else None
            if self._disk:
                self._disk.close()
            self._disk = disk
        self.limits = limits

    def close(self) -> None:
        """Give the watched folders back."""
        if self._disk:
            self._disk.close()
            self._disk = None

    @property
    def curve(self) -> list[tuple[float, int]]:
        """Memory over time: at most 200 (seconds since the start, bytes), each the most since the last."""
        return self._curve.samples()

    def look(self, now: float) -> Verdict | None:
        """Look once at everything that is due.

        Args:
            now: `time.monotonic()`.

        Returns:
            The first limit found passed.
        """
        self._late = max(self._late / 2, now - self._due if self._due else 0.0)
        begin = time.thread_time()
        members = self._tree.members()
        verdict = self._counted(members) or self._weighed(members, now)
        if now >= self._next_cpu:
            self._next_cpu = now + _CPU_EVERY
            verdict = verdict or self._timed(members)
        if self._disk and not verdict:
            passed = self._disk.look(now, self._tree)
            if passed:
                verdict = Verdict("disk", f"disk limit of {_size(self._disk.limit)} passed: {passed}")
        self._cost = min(_LONGEST, time.thread_time() - begin)
        return verdict

    def delay(self) -> float:
        """Seconds until the next look: as long as filling what is left of the memory takes, in bounds."""
        delay = self._delay()
        self._due = time.monotonic() + delay
        return delay

    def _delay(self) -> float:
        limits = self.limits
        if self._disk and self._disk.pressing:
            return _SHORTEST
        if not (limits.memory or limits.processes or limits.threads):
            return _LAZY
        left = math.inf
        if limits.ceiling:
            left = limits.ceiling - self.memory
            if self._start + self._curve.now - self._moved > _CALM:
                left += limits.ceiling // 10
        # Who is woken late on a busy machine, asks early. A look at very many processes may itself take long;
        # half of the time is for others then.
        return max(_SHORTEST, min(_LONGEST, left / self._rate) - self._late, self._cost)

    def _counted(self, members: list[Member]) -> Verdict | None:
        limits = self.limits
        counted = [member for member in members if member.pid not in self.spared]
        if limits.processes and len(counted) > limits.processes + self.leeway:
            return Verdict("processes", f"limit of {limits.processes} processes passed: {len(counted)}")
        threads = sum(member.threads for member in counted)
        if limits.threads and threads > limits.threads + self.leeway:
            within = _processes(len(counted))
            return Verdict("threads", f"limit of {limits.threads} threads passed: {threads} in {within}")
        return None

    def _weighed(self, members: list[Member], now: float) -> Verdict | None:
        before, limit = self.memory, self.limits.ceiling
        self.memory = self._scales.weighed(members, limit, now)
        self.peak = max(self.peak, self.memory)
        self._curve.add(now - self._start, self.memory)
        if self.memory != before:
            self._moved = now
        if limit and self._scales.proved and self.memory > limit:
            numbers = f"{_size(self.memory)} in {_processes(len(members))}"
            return Verdict("memory", f"memory limit of {_size(self.limits.memory or 0)} passed: {numbers}")
        return None

    def _timed(self, members: list[Member]) -> Verdict | None:
        self.cpu = self._ledger.total(members)
        limit = self.limits.cpu
        if limit and self.cpu > limit:
            return Verdict("cpu", f"processor time limit of {limit:g} s passed: {self.cpu:.2f} s")
        return None


class _Ledger:
    """Processor time of a tree, which never goes down when a process ends.

    The kernel adds the time of a process to its parent's only if the parent waits for it. So two sums are
    kept, each at most what was used: the kernel's, and that of every process as last seen. The larger is the
    truth but for processes that nobody waits for and that live less than the time between two looks.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._own: dict[int, float] = {}
        self._dead = self._most = 0.0
        self._before = self._waited()

    def total(self, members: list[Member]) -> float:
        """Return the seconds so far."""
        kernel = self._waited() - self._before
        own: dict[int, float] = {}
        for member in members:
            times = self._tree.times(member.pid)
            if times:
                own[member.pid] = times.own
                kernel += times.own + times.waited
        self._dead += sum(last for pid, last in self._own.items() if own.get(pid, -1.0) < last)
        self._own = own
        self._most = max(self._most, kernel, self._dead + sum(own.values()))
        return self._most

    def _waited(self) -> float:
        """What the keeper, and a namespace's init, have waited for."""
        found = (self._tree.times(pid) for pid in (self._tree.root, *self._tree.ignore))
        return sum(times.waited for times in found if times)


class _Curve:
    """Samples over a time of unknown length: when there are too many, every second one goes."""

    def __init__(self) -> None:
        self.now = 0.0
        self._samples: list[tuple[float, int]] = []
        self._every = _LONGEST
        self._most = (0.0, 0)

    def add(self, seconds: float, size: int) -> None:
        self.now = seconds
        if size >= self._most[1]:
            self._most = (seconds, size)
        if self._samples and seconds - self._samples[-1][0] < self._every:
            return
        self._samples.append(self._most)
        self._most = (seconds, 0)
        if len(self._samples) >= _SAMPLES - 2:
            pairs = zip(self._samples[::2], self._samples[1::2], strict=False)
            self._samples = [max(pair, key=lambda sample: sample[1]) for pair in pairs]
            self._every *= 2

    def samples(self) -> list[tuple[float, int]]:
        return [*self._samples, self._most] if self._most[1] else list(self._samples)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _size(count: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} B"
