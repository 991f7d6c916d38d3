"""A driver: one process that holds one contestant and times it on request.

Every contestant has a driver of its own, started by exec, so that the threads, the heap and the
children of one do not disturb another, and every child is forked before any thread runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import psutil

_CPUS = sorted(os.sched_getaffinity(0))


class Contestant:
    """Be measured: each public method without an argument of its own is an operation.

    Attributes:
        measures_itself: whether operations return what they measured; the others are timed.
    """

    measures_itself = False

    def measure(self, operation: str, count: int, *arguments: Any) -> float:
        """Run an operation `count` times; return the median, in seconds unless it measures itself.

        Args:
            operation: the method; it gets the number of the repetition and `arguments`.
            count: how often.
            arguments: what else it gets.
        """
        work = getattr(self, operation)
        if self.measures_itself:
            return median([work(number, *arguments) for number in range(count)])
        took = []
        for number in range(count):
            begin = time.perf_counter_ns()
            work(number, *arguments)
            took.append(time.perf_counter_ns() - begin)
        return median(took) / 1e9

    def place(self, _number: int, apart: bool) -> float:
        """Bind this process and its children to one CPU, or to two: itself to one, them to the other."""
        here, there = _CPUS[0], _CPUS[1 if apart else 0]
        _bind(os.getpid(), here)
        for child in psutil.Process().children(recursive=True):
            _bind(child.pid, there)
        return 0.0

    def stop(self) -> None:
        """End every child."""


def _bind(pid: int, cpu: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # the thread has ended meanwhile
            os.sched_setaffinity(int(task.name), {cpu})


def serve(pipe: Connection, place: str, options: dict[str, Any]) -> None:
    """Make the contestant and measure until the other end of the pipe is closed.

    Args:
        pipe: gets `(True, value)` or `(False, error text)`, first for the making.
        place: `module:Class` within this package.
        options: arguments of the class.
    """
    module, name = place.split(":")
    contestant = None
    try:
        contestant = getattr(import_module(f"benchmarks.{module}"), name)(**options)
        pipe.send((True, None))
        while True:
            pipe.send(_measured(contestant, *pipe.recv()))
    except EOFError:
        return
    except Exception as error:  # border: the harness shows it and goes on with the others
        pipe.send((False, f"{type(error).__name__}: {error}"))
    finally:
        if contestant is not None:
            contestant.stop()


def _measured(contestant: Any, operation: str, count: int, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, contestant.measure(operation, count, *arguments)
    except Exception as error:  # border: as above
        return False, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    _pipe = Connection(int(sys.argv[1]))
    serve(_pipe, *_pipe.recv())
