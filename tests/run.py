"""Run the whole suite: four shares of its modules beside each other, then those that measure, alone.

Most tests wait for processes, so four shares take a third of the time of one on two cores. What measures time
or memory runs by itself afterwards. What has failed is run once more by itself, and named: a test that passes
only then has met a busy machine, or a fault that is rare, and either wants to be looked at. A share that hangs,
where no time limit of a test reaches it, is ended with the stacks of its threads and treated alike.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parent
ALONE = {
    "test_watchdog", "test_spinning", "test_soak", "test_interrupts", "test_resources",
    "test_resources_everywhere",
}  # fmt: skip
HEAVY = {
    "test_scripts": 90, "test_benchmarks": 50, "test_everywhere": 190, "test_checkpoint": 22, "test_top": 29, "test_notebooks": 21,
    "test_configuration": 23, "test_channel": 85, "test_python_suites": 60, "test_workloads": 50,
    "test_surface": 38, "test_bulk_frames": 12, "test_death": 35, "test_meter": 30, "test_sharing": 28, "test_docs": 26,
    "test_doctor": 12, "test_output_browser": 20, "test_tensors": 20, "test_lies": 18, "test_threads": 3, "test_card": 17,
    "test_processes": 15, "test_progress": 15, "test_codec_fuzz": 14, "test_sessions": 14, "test_aio": 12,
    "test_surface_comms": 12, "test_completion": 12, "test_tracing": 12, "test_comms": 12, "test_amendment": 9,
    "test_magics": 8, "test_releases": 8, "test_doorway": 8, "test_runners": 8, "test_audit": 7, "test_zygotes": 7,
    "test_kernel_runners": 45, "test_kernel_crashes": 30, "test_kernel_hostile": 20, "test_kernel_cells": 12,
    "test_kernel_conformance": 20, "test_kernel_specification": 9, "test_kernel_widgets": 6,
}  # fmt: skip
"""Seconds that some modules take on a machine without other load; the others take about two."""
BROWSER = 25  # the same for one of the browser
FAILED, INTERRUPTED, NOTHING = 1, 2, 5  # exit statuses of pytest
SILENT = 660.0
"""Seconds without a word after which a share hangs: more than the longest time limit of a test."""


def main() -> int:
    """Run everything and return the exit status."""
    modules = sorted(TESTS.rglob("test_*.py"))
    alone = [path for path in modules if path.stem in ALONE]
    others = [path for path in modules if path.stem not in ALONE]
    with tempfile.TemporaryDirectory(prefix="suite-") as folder:
        runs = [Share(paths, f"{folder}/{number}") for number, paths in enumerate(shares(others, 4))]
        statuses = [run.wait() for run in runs]
        runs.append(Share(alone, f"{folder}/alone"))
        statuses.append(runs[-1].wait())
        return max(
            run.again(status) if status in (FAILED, INTERRUPTED, -signal.SIGABRT) else status
            for run, status in zip(runs, statuses, strict=True)
        )


class Share:
    """Run some modules in a process of their own.

    Args:
        paths: the modules.
        folder: for what they write; pytest removes the folders of all runs but the last three.
    """

    def __init__(self, paths: list[Path], folder: str) -> None:
        self.command = [
            sys.executable,
            "-X",
            "faulthandler",
            "-m",
            "pytest",
            *sys.argv[1:],
            f"--basetemp={folder}",
        ]
        self.command += [
            "-p",
            "cacheprovider",
            "-o",
            f"cache_dir={folder}-cache",
            f"--ledger={folder}-passed",
        ]
        self.command += map(str, paths)
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the process
        self.process = subprocess.Popen(self.command, stdout=self.output, stderr=subprocess.STDOUT)

    def wait(self) -> int:
        """Print all that it says when it has ended; return its exit status."""
        while (status := self._poll()) is None:
            if time.time() - os.fstat(self.output.fileno()).st_mtime > SILENT:
                self.process.send_signal(signal.SIGABRT)  # faulthandler writes all stacks
        self.output.seek(0)
        print(self.output.read(), flush=True)
        return status

    def _poll(self) -> int | None:
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return None

    def again(self, status: int) -> int:
        """Run once more what has failed, or all that has not passed if it was ended; return the exit status."""
        print("Once more, by itself, what has failed:", flush=True)
        last = ["--last-failed", "--ledger="] if status == FAILED else []
        status = subprocess.run([*self.command, *last], check=False).returncode
        return 0 if status == NOTHING else status


def shares(paths: list[Path], count: int) -> list[list[Path]]:
    """Part modules into shares that take about the same time; those of the browser stay together."""
    together = [path for path in paths if path.parent.name == "browser"]
    groups = [[path] for path in paths if path not in together] + [together]
    found: list[list[Path]] = [[] for _ in range(count)]
    load = [0] * count
    for group in sorted(groups, key=lambda group: -_seconds(group)):
        least = load.index(min(load))
        found[least] += group
        load[least] += _seconds(group)
    return found


def _seconds(group: list[Path]) -> int:
    return sum(BROWSER if path.parent.name == "browser" else HEAVY.get(path.stem, 2) for path in group)


if __name__ == "__main__":
    sys.exit(main())
