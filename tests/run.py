"""Run the whole suite: three shares of its modules beside each other, then those that measure, alone.

Most tests wait for processes, so three shares take a third of the time of one on two cores. What measures time
or memory runs by itself afterwards.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
ALONE = {
    "test_watchdog", "test_spinning", "test_benchmarks", "test_soak", "test_interrupts", "test_timelimit",
    "test_resources", "test_everywhere", "test_threads", "test_sessions", "test_doctor", "test_memory",
    "test_bulk_frames", "test_following",
}  # fmt: skip
HEAVY = {
    "test_scripts": 90, "test_python_suites": 60, "test_workloads": 60, "test_channel": 60, "test_death": 40,
    "test_docs": 40, "test_magics": 20, "test_output_browser": 20, "test_tensors": 20, "test_everyday": 20,
}  # fmt: skip
"""Seconds that some modules take; the others take about five."""


def main() -> int:
    """Run everything and return the exit status."""
    modules = sorted(TESTS.rglob("test_*.py"))
    alone = [path for path in modules if path.stem in ALONE]
    others = [path for path in modules if path.stem not in ALONE]
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="suite-") as folder,
        tempfile.TemporaryFile("w+") as first,
        tempfile.TemporaryFile("w+") as second,
    ):
        outputs = (None, first, second)
        # Folders of their own, since pytest removes those of all runs but the last three.
        runs = [
            subprocess.Popen(
                [*command(share), f"--basetemp={folder}/{number}"], stdout=output, stderr=subprocess.STDOUT
            )
            for number, (share, output) in enumerate(zip(shares(others, 3), outputs, strict=True))
        ]
        for run, output in zip(runs, outputs, strict=True):
            failed |= run.wait()
            if output is not None:
                output.seek(0)
                print(output.read(), flush=True)
    return failed | subprocess.run(command(alone), check=False).returncode


def command(paths: list[Path]) -> list[str]:
    """Return the command that runs some modules."""
    return [sys.executable, "-m", "pytest", *sys.argv[1:], *map(str, paths)]


def shares(paths: list[Path], count: int) -> list[list[Path]]:
    """Part modules into shares that take about the same time."""
    found: list[list[Path]] = [[] for _ in range(count)]
    load = [0] * count
    for path in sorted(paths, key=lambda path: -HEAVY.get(path.stem, 5)):
        least = load.index(min(load))
        found[least].append(path)
        load[least] += HEAVY.get(path.stem, 5)
    return found


if __name__ == "__main__":
    sys.exit(main())
