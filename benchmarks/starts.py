"""Starts: from the request to the first result, with nothing preloaded and with numpy and pandas."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks import things
from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn


class Ours(Contestant):
    """Start and restart companions.

    Args:
        loaded: whether numpy and pandas are preloaded, and the first result needs them.
    """

    measures_itself = True

    def __init__(self, loaded: bool) -> None:
        from isolate_magic import Companion

        self.preload = ("numpy", "pandas") if loaded else ()
        self.source = things.USE_BOTH if loaded else "1+1"
        self.companion = Companion("benchmark", preload=self.preload)
        self.work: Callable[[Any], Any] = _call_both if loaded else _call_one
        self.work(self.companion)

    def fork(self, _number: int) -> float:
        """Start from a warm zygote, until the first call has returned."""
        return self._start(self.work)

    def fork_cell(self, _number: int) -> float:
        """Start from a warm zygote, until the first cell has returned."""
        return self._start(lambda companion: companion.run(self.source))

    def _start(self, work: Callable[[Any], Any]) -> float:
        self.companion.stop()
        begin = time.perf_counter()
        work(self.companion.start())
        return time.perf_counter() - begin

    def restart(self, _number: int) -> float:
        """Restart a companion that has been used."""
        self.work(self.companion)
        begin = time.perf_counter()
        work = self.work
        work(self.companion.restart())
        return time.perf_counter() - begin

    def cold(self, _number: int) -> float:
        """Start a zygote first, which imports everything: what the first start of a session costs."""
        from isolate_magic import Companion

        # A zygote serves one environment, so another variable makes another zygote.
        mark = {"BENCHMARK": str(time.monotonic_ns())}
        begin = time.perf_counter()
        with Companion("cold", preload=self.preload, env=mark) as companion:
            self.work(companion)
            return time.perf_counter() - begin

    def stop(self) -> None:
        """End the companion."""
        self.companion.close()


def _call_both(companion: Any) -> None:
    if companion.call(things.use_both) != 6:
        raise RuntimeError("a wrong result")


def _call_one(companion: Any) -> None:
    if companion.call(things.add_one, 1) != 2:
        raise RuntimeError("a wrong result")


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    figures = {}
    for kind, loaded in (("bare", False), ("loaded", True)):
        ours, theirs = f"ours, {kind}", f"ipykernel, {kind}"
        options = {"loaded": loaded}
        field.enter({ours: ("starts:Ours", options), theirs: ("kernels:Starts", options)})
        turns = [
            Turn(f"start {kind} ipykernel", theirs, "start"),
            Turn(f"fork {kind} ours", ours, "fork", 5),
            Turn(f"fork cell {kind} ours", ours, "fork_cell", 5),
            Turn(f"restart {kind} ipykernel", theirs, "restart"),
            Turn(f"restart {kind} ours", ours, "restart", 5),
            Turn(f"cold {kind} ours", ours, "cold"),
        ]
        figures |= field.rounds(turns, 1 if quick else 5, warm_up=not quick)
    return figures
