"""Calls that follow each other closely spin instead of sleeping; nothing else does, and nothing idle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic import Companion, output

CPUS = sorted(os.sched_getaffinity(0))
two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs: on one there is no spin")


@pytest.fixture
def add_one(companion: Companion) -> Any:
    return companion.run("def add_one(x): return x + 1\nadd_one")


@contextmanager
def bound(companion: Companion, here: int, there: int) -> Iterator[None]:
    """Bind this thread to one CPU and the companion to another, or to the same."""
    assert companion.pid
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {here})
    os.sched_setaffinity(companion.pid, {there})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        os.sched_setaffinity(companion.pid, before)


def spun_here(companion: Companion) -> int:
    """Return how many times this process has looked in vain for a frame of the companion."""
    return companion._process.talk.spin.spun  # type: ignore[union-attr]


def spun_there(companion: Companion) -> int:
    """Return how many times the companion has looked in vain for a frame of ours."""
    found: int = companion.run("from isolate_magic.link import packing\npacking.here.spin.spun")
    return found


def work_of(pid: int) -> float:
    """Return the CPU time of a process's main thread (proc(5): schedstat), in seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def sleeps_of(pid: int) -> int:
    """Return how often a process has gone to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


@two_cpus
def test_calls_one_after_the_other_let_neither_side_sleep(companion: Companion, add_one: Any) -> None:
    assert companion.pid
    pids = (os.getpid(), companion.pid)

    def awake() -> bool:
        before = [sleeps_of(pid) for pid in pids]
        for number in range(1000):
            assert add_one(number) == number + 1
        return all(sleeps_of(pid) - slept < 500 for pid, slept in zip(pids, before, strict=True))

    with bound(companion, CPUS[0], CPUS[1]):
        until(awake, 60)  # other programs may need the CPUs meanwhile


def test_both_on_one_cpu_sleep_at_once(companion: Companion, add_one: Any) -> None:
    with bound(companion, CPUS[0], CPUS[0]):
        for number in range(300):
            add_one(number)  # until both have noticed
        here, there = spun_here(companion), spun_there(companion)
        for number in range(1000):
            add_one(number)
        assert spun_here(companion) == here
        assert spun_there(companion) == there


@pytest.mark.parametrize("burst", [0, 2000])
def test_host_and_companion_left_alone_use_no_cpu(companion: Companion, add_one: Any, burst: int) -> None:
    assert companion.pid
    for number in range(burst):
        add_one(number)
    begin = time.process_time(), work_of(companion.pid)
    time.sleep(0.5)  # what is measured is the idle time itself
    assert time.process_time() - begin[0] < 0.01
    assert work_of(companion.pid) - begin[1] < 0.005


def test_a_long_call_lets_the_host_sleep(companion: Companion, add_one: Any) -> None:
    nap = companion.run("import time\ntime.sleep")
    for number in range(500):
        add_one(number)
    before, begin = spun_here(companion), time.process_time()
    nap(0.5)
    assert time.process_time() - begin < 0.02
    assert spun_here(companion) - before < 1000


def test_calls_far_apart_let_the_companion_sleep_at_once(companion: Companion, add_one: Any) -> None:
    for number in range(500):
        add_one(number)
    before = spun_there(companion)
    for number in range(300):
        time.sleep(0.0005)  # the pause of a program that has something else to do
        add_one(number)
    # Every spin in vain is some hundred looks; only the first of them and one in 2, 4, 8 ... calls may be.
    assert spun_there(companion) - before < 5000


def test_what_a_short_call_prints_is_shown_before_it_returns(companion: Companion) -> None:
    class Record:
        text = ""

        def stream(self, _name: str, text: str) -> None:
            self.text += text

        def message(self, kind: str, content: dict[str, Any]) -> None:
            raise AssertionError(kind)

    say: Callable[[str], None] = companion.run("import os\ndef say(x): os.write(1, x.encode())\nsay")
    record = Record()
    before = output.use(record)
    try:
        for number in range(1000):
            say(f"<{number}>")
            assert record.text.endswith(f"<{number}>")
    finally:
        output.use(before)
    assert record.text == "".join(f"<{number}>" for number in range(1000))
