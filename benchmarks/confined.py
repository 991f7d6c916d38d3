"""Confinement: what `untrusted` costs beside a companion that nothing confines, in both tiers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import things
from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn

TIERS = ("N", "L")
FREE = "unconfined"
WORK = ("matmul", "sort", "fft")
CALLS = {"getppid": "`getppid`", "stat": "`stat` of a file", "open": "`open` of a file and `close`"}
_WINDOW = 2.0  # seconds that a supervisor is watched

_LOOPS = """
import os, time
import numpy as np

def _rounds(function, count):
    begin = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - begin) / count

def _open():
    os.close(os.open("/usr/bin/env", os.O_RDONLY))

_square = np.random.default_rng(0).random((300, 300))
_row = np.random.default_rng(1).random(300_000)
_doings = {
    "matmul": (lambda: _square @ _square, 20),
    "sort": (lambda: np.sort(_row), 5),
    "fft": (lambda: np.fft.rfft(_row), 5),
    "getppid": (os.getppid, 20_000),
    "stat": (lambda: os.stat("/usr/bin/env"), 5_000),
    "open": (_open, 2_000),
}

def add_one(number):
    return number + 1
"""


class Ours(Contestant):
    """Hold a companion in a tier, or one that nothing confines.

    Args:
        tier: `N`, `L`, or "" for none.
        loaded: whether numpy and pandas are preloaded, and the first result needs them.
        nice: whether the preset's `nice` holds.
    """

    measures_itself = True

    def __init__(self, tier: str, loaded: bool = False, nice: bool = True) -> None:
        from isolate_magic import Companion, Policy

        os.environ["ISOLATE_MAGIC_TIER"] = tier
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        policy = "trusted" if not tier else Policy(extends="untrusted", **({} if nice else {"nice": None}))
        self.source = things.USE_BOTH if loaded else "1+1"
        preload = ("numpy", "pandas") if loaded else ()
        self.companion = Companion("benchmark", preload=preload, policy=policy).start()

    def fork(self, _number: int) -> float:
        """Start from a warm zygote, until the first cell has returned."""
        self.companion.stop()
        begin = time.perf_counter()
        self.companion.start().run(self.source)
        return time.perf_counter() - begin

    def restart(self, _number: int) -> float:
        """Restart a companion that has been used, until the first cell has returned."""
        begin = time.perf_counter()
        self.companion.restart().run(self.source)
        return time.perf_counter() - begin

    def prepare(self, _number: int) -> float:
        """Define what the loops do."""
        self.companion.run(_LOOPS)
        self.add_one = self.companion.pull("add_one")
        return 0.0

    def loop(self, _number: int, what: str) -> float:
        """Repeat something there, timed there."""
        return float(self.companion.run(f"_rounds(*_doings[{what!r}])"))

    def call(self, number: int) -> float:
        """Call a function through its proxy."""
        begin = time.perf_counter()
        self.add_one(number)
        return time.perf_counter() - begin

    def weigh(self, _number: int) -> float:
        """Weigh all processes that the companion consists of, in bytes that they share with nobody."""
        self.companion.restart().run("1+1")
        time.sleep(0.5)
        return float(sum(process.memory_full_info().uss for process in self._processes()))

    def watch_idle(self, _number: int) -> float:
        """Return the share of a CPU that the supervisor takes while nothing happens."""
        return self._share("pass")

    def watch_busy(self, _number: int) -> float:
        """Return the share of a CPU that the supervisor takes while the companion computes."""
        return self._share(
            "_end = time.monotonic() + 2 * 60\nwhile time.monotonic() < _end: _square @ _square"
        )

    def _share(self, source: str) -> float:
        import threading

        thread = threading.Thread(target=self._quietly, args=(source,))
        thread.start()
        time.sleep(0.3)
        supervisor = self._processes()[-1].pid
        before, begin = _ran(supervisor), time.monotonic()
        time.sleep(_WINDOW)
        share = (_ran(supervisor) - before) / (time.monotonic() - begin)
        self.companion.interrupt()
        thread.join()
        return share

    def _quietly(self, source: str) -> None:
        try:
            self.companion.run(source)
        except KeyboardInterrupt:
            return

    def _processes(self) -> list[psutil.Process]:
        """Return the worker, then what belongs to it; the supervisor comes last."""
        worker = psutil.Process(self.companion.pid)
        above = worker.parent()
        if above is None or self.companion.policy.trusted:
            return [worker]
        return [worker, *(child for child in above.children() if child.pid != worker.pid), above]

    def stop(self) -> None:
        """End the companion."""
        self.companion.close()


def _ran(pid: int) -> float:
    """Return the seconds that a process has run, to the nanosecond (Documentation/scheduler/sched-stats)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _who(name: str, kind: str) -> str:
    """Name a contestant; "ours" is what a run must not lack, and tier L cannot be had everywhere."""
    return f"{'ours, ' if name.startswith('tier N') else ''}{name}, {kind}"


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    figures: dict[str, Figure] = {}
    for kind, loaded in (("bare", False), ("loaded", True)):
        names = {FREE: "", **{f"tier {tier}": tier for tier in TIERS}}
        field.enter({
            _who(name, kind): ("confined:Ours", {"tier": tier, "loaded": loaded})
            for name, tier in names.items()
        })  # fmt: skip
        turns = [
            Turn(f"{what} {kind} {name}", _who(name, kind), what, 5)
            for what in ("fork", "restart")
            for name in names
        ]
        figures |= field.rounds(turns, 1 if quick else 7, warm_up=not quick)
        weights = [Turn(f"weight {kind} {name}", _who(name, kind), "weigh") for name in names]
        figures |= field.rounds(weights, 1 if quick else 3, warm_up=False)
    return figures | _at_work(field, quick)


def _at_work(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure what goes on inside, with the preset's `nice` and without."""
    holders: dict[str, dict[str, Any]] = {FREE: {"tier": ""}}
    for tier in TIERS:
        holders[f"tier {tier}"] = {"tier": tier, "nice": False}
        holders[f"tier {tier}, nice"] = {"tier": tier}
    field.enter({_who(name, "at work"): ("confined:Ours", options) for name, options in holders.items()})
    field.rounds([Turn("", _who(name, "at work"), "prepare") for name in holders], 1, warm_up=False)
    loops = [
        Turn(f"{what} {name}", _who(name, "at work"), "loop", 3, (what,))
        for what in (*WORK, *CALLS)
        for name in holders
    ]
    loops += [Turn(f"call {name}", _who(name, "at work"), "call", 300) for name in holders]
    figures = field.rounds(loops, 1 if quick else 15, warm_up=not quick)
    watched = [
        Turn(f"{state} tier {tier}", _who(f"tier {tier}", "at work"), f"watch_{state}")
        for state in ("idle", "busy")
        for tier in TIERS
    ]
    return figures | field.rounds(watched, 1 if quick else 3, warm_up=False)
