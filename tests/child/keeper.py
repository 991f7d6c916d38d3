"""A small keeper for tests: a fork that is a subreaper, watches what a function starts, and reports as JSON."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle

from isolate_magic.child import linux
from isolate_magic.child.tree import Tree, sweep
from isolate_magic.child.watchdog import Limits, Watchdog, wake_promptly

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_ROOT = Path(__file__).parents[2]


def proc() -> int:
    return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)


def in_a_fork(act: Callable[[], Any]) -> Any:
    """Run a function in a forked subreaper; return what it returned, through JSON."""
    parent = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            linux.die_with_parent(parent)
            linux.prctl(_SUBREAPER, 1)
            said = json.dumps(act()).encode()
            os.write(writer, said)
            status = 0
        except BaseException:
            traceback.print_exc()
            sweep(Tree(os.getpid(), proc()))
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, os.waitstatus_to_exitcode(status)
    return json.loads(said)


_RUN = """
import json, os, pickle, sys, traceback
from isolate_magic.child import linux
from isolate_magic.child import linux
from isolate_magic.child.tree import Tree, sweep
linux.die_with_parent(int(sys.argv[1]))
linux.adopt_orphans()
act = pickle.load(sys.stdin.buffer)
try:
    said = json.dumps(act()).encode()
except BaseException:
    traceback.print_exc()
    sweep(Tree(os.getpid(), os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)))
    os._exit(1)
os.write(int(sys.argv[2]), said)
os._exit(0)
"""


def in_a_program(act: Callable[[], Any]) -> Any:
    """Run a function in a subreaper; return what it returned, through JSON.

    Unlike a fork of pytest it holds nothing that other tests have loaded, so its memory can be weighed.
    """
    for name in {act.__module__, __name__, *(cell.__module__ for cell in _functions(act))}:
        cloudpickle.register_pickle_by_value(sys.modules[name])
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answer:
        command = [sys.executable, "-c", _RUN, str(os.getpid()), str(writer)]
        try:
            done = subprocess.run(
                command, input=cloudpickle.dumps(act), pass_fds=[writer], cwd=_ROOT, timeout=100
            )
        finally:
            os.close(writer)
        said = answer.read()
    assert done.returncode == 0, done.returncode
    return json.loads(said)


def _functions(act: Callable[[], Any]) -> list[Any]:
    """Return the functions that a closure holds."""
    return [cell.cell_contents for cell in act.__closure__ or () if hasattr(cell.cell_contents, "__code__")]


def start(program: Callable[[], object]) -> int:
    """Fork a child that runs a function and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            program()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return pid


def watched(program: Callable[[], object], seconds: float = 10.0, **limits: Any) -> dict[str, Any]:
    """Watch a program until it ends or passes a limit; return the verdict and what the watchdog saw."""

    def keep() -> dict[str, Any]:
        wake_promptly()
        tree = Tree(os.getpid(), proc())
        dog = Watchdog(tree, Limits.parsed(limits))
        begin = time.monotonic()
        ended = os.pidfd_open(start(program))
        verdict, looks, cost = None, 0, time.process_time()
        while verdict is None and time.monotonic() < begin + seconds:
            if select.select([ended], [], [], dog.delay())[0]:
                break
            verdict = dog.look(time.monotonic())
            looks += 1
        cost = time.process_time() - cost
        left = tree.pids()
        swept = sweep(tree)
        return {
            "kind": verdict and verdict.kind,
            "text": verdict and verdict.text,
            "peak": dog.peak,
            "cpu": dog.cpu,
            "curve": dog.curve,
            "looks": looks,
            "cost": cost,
            "seconds": time.monotonic() - begin,
            "left": len(left),
            "clean": swept.clean,
        }

    result = in_a_program(keep)
    assert result["clean"]
    return result
