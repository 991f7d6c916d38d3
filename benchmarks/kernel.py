"""The isolated kernel beside ipykernel: start to first result, a cell, crash to next result."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn
from benchmarks.kernels import Kernel

_SECONDS = 60


class Ours(Contestant):
    """Start kernels, run cells in one, and let it crash."""

    measures_itself = True

    def __init__(self) -> None:
        from isolate_magic.kernel.specification import install

        install("isolated", "trusted", user=True)  # into the folder that the harness gives for Jupyter's data
        self.kernel = Kernel("isolated")
        self.kernel.client.wait_for_ready(timeout=_SECONDS)
        self.kernel.run("1+1")

    def start(self, _number: int) -> float:
        """Start one more kernel, until its first cell has been answered."""
        begin = time.perf_counter()
        kernel = Kernel("isolated")
        try:
            kernel.run("1+1")
            return time.perf_counter() - begin
        finally:
            kernel.end()

    def cell(self, _number: int) -> float:
        """Run a cell and see its output."""
        begin = time.perf_counter()
        self.kernel.client.execute_interactive("1+1", timeout=_SECONDS, output_hook=lambda message: None)
        return time.perf_counter() - begin

    def crash(self, _number: int) -> float:
        """Let a cell crash, until the next one has been answered."""
        file = Path(os.environ["JUPYTER_DATA_DIR"]) / "crashed"
        code = f"import os, time; open({str(file)!r}, 'w').write(str(time.monotonic())); os.abort()"
        # `stop_on_error` would let the next cell be aborted, should it come at once.
        self.kernel.client.execute(code, stop_on_error=False, reply=True, timeout=_SECONDS)
        self.kernel.run("1+1")
        return time.monotonic() - float(file.read_text())  # one clock for all processes (clock_gettime(2))

    def stop(self) -> None:
        """End the kernel."""
        self.kernel.end()


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    field.enter({
        "ours": ("kernel:Ours", {}), "ipykernel": ("kernels:Starts", {"loaded": False}),
        "cells": ("kernels:Calls", {}),
    })  # fmt: skip
    turns = [
        Turn("kernel start ipykernel", "ipykernel", "start"),
        Turn("kernel start ours", "ours", "start"),
        Turn("kernel restart ipykernel", "ipykernel", "restart"),
        Turn("kernel crash ours", "ours", "crash", 3),
        Turn("kernel cell ipykernel", "cells", "cell", 40),
        Turn("kernel cell ours", "ours", "cell", 40),
    ]
    return field.rounds(turns, 1 if quick else 15, warm_up=not quick)
