"""Rewind: what a snapshot costs before a cell and afterwards, and how soon one is back after a crash."""

from __future__ import annotations

import tempfile
import time

from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn

SIZES = (100, 1000, 8000)
"""Megabytes of arrays."""
BACK = 1000
"""Megabytes that are there again after a crash, and that a cell writes to."""
_PIECE = 100


class Ours(Contestant):
    """Hold a companion with arrays.

    Args:
        megabytes: of arrays.
        snapshots: `auto` or `off`.
    """

    measures_itself = True

    def __init__(self, megabytes: int, snapshots: str) -> None:
        from isolate_magic import Companion

        self.companion = Companion("benchmark", preload=("numpy",), snapshots=snapshots).start()
        pieces = megabytes // _PIECE
        self.companion.run(f"import numpy as np\na = [np.ones({_PIECE * 125_000}) for _ in range({pieces})]")

    def take(self, number: int) -> float:
        """Take a snapshot, and give it back."""
        begin = time.perf_counter()
        self.companion.snapshot("one")
        took = time.perf_counter() - begin
        self.companion.drop_snapshot("one")
        return took

    def cell(self, _number: int) -> float:
        """Run a small cell, as often as a user would at most, so that each has a snapshot of its own."""
        time.sleep(0.1)
        begin = time.perf_counter()
        self.companion.run("1 + 1")
        return time.perf_counter() - begin

    def write(self, _number: int) -> float:
        """Write to all of the arrays in a cell."""
        time.sleep(0.1)
        begin = time.perf_counter()
        self.companion.run("for one in a: one += 1")
        took = time.perf_counter() - begin
        time.sleep(3.0 if self.companion.snapshots.mode == "auto" else 0.0)  # until it may cost that again
        return took

    def crash(self, _number: int) -> float:
        """Crash a cell; return the time from the signal to the next result, with every array there."""
        from isolate_magic import ProcessTerminationError

        time.sleep(0.1)
        with tempfile.NamedTemporaryFile() as noted:
            try:
                # CLOCK_MONOTONIC, which is the same for all processes (clock_gettime(2)).
                self.companion.run(
                    "import os, time\n"
                    f"with open({noted.name!r}, 'w') as file: file.write(str(time.perf_counter()))\n"
                    "os.kill(os.getpid(), 11)"
                )
            except ProcessTerminationError:
                pass
            begin = float(noted.read())
        if not self.companion.run("sum(one.size for one in a)"):
            raise RuntimeError("the arrays are gone")
        return time.perf_counter() - begin

    def stop(self) -> None:
        """End the companion."""
        self.companion.close()


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    figures: dict[str, Figure] = {}
    for size in SIZES:
        megabytes = SIZES[0] if quick else size
        names = {mode: f"ours, {size} MB, {mode}" for mode in ("auto", "off")}
        field.enter({names["auto"]: ("rewind:Ours", {"megabytes": megabytes, "snapshots": "auto"})})
        turns = [Turn(f"snapshot {size}", names["auto"], "take", 5)]
        if size == SIZES[0] or size == BACK:
            field.enter({names["off"]: ("rewind:Ours", {"megabytes": megabytes, "snapshots": "off"})})
            turns += [Turn(f"cell {size} {mode}", name, "cell", 5) for mode, name in names.items()]
        if size == BACK:
            turns += [Turn("crash", names["auto"], "crash", 3)]
        figures |= field.rounds(turns, 1 if quick else 5, warm_up=not quick)
        field.end(5)
    return figures | _written(field, quick)


def _written(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure cells that write to everything; what lay in huge pages lies in small ones afterwards."""
    names = {mode: f"ours, written, {mode}" for mode in ("auto", "off")}
    megabytes = SIZES[0] if quick else BACK
    field.enter(
        {name: ("rewind:Ours", {"megabytes": megabytes, "snapshots": mode}) for mode, name in names.items()}
    )
    turns = [Turn(f"write {mode}", name, "write") for mode, name in names.items()]
    turns += [Turn("snapshot written", names["auto"], "take", 3)]
    return field.rounds(turns, 1 if quick else 5, warm_up=not quick)
