"""Spins: they find what comes at once, end soon when nothing comes, and stop when they do not pay."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from functools import partial

import pytest

from isolate_magic.link.spin import LIMIT, Spin

two_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs: on one there is no spin"
)


class Pipe:
    """Have something to read, or not, and count the looks."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.poll = select.poll()
        self.poll.register(self.read, select.POLLIN)
        self.looks = 0

    def look(self) -> list[tuple[int, int]]:
        self.looks += 1
        return self.poll.poll(0)

    def looked(self, spin: Spin) -> bool:
        """Wait once and return whether that has looked."""
        before = self.looks
        spin.wait()
        return self.looks > before

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@two_cpus
def test_what_is_there_is_found(pipe: Pipe) -> None:
    spin = Spin(pipe.look, os.getpid())
    os.write(pipe.write, b"x")
    assert spin.wait() == [(pipe.read, select.POLLIN)]


@two_cpus
def test_a_spin_in_vain_ends_after_its_limit(pipe: Pipe) -> None:
    took = []
    for _ in range(20):
        begin = time.perf_counter()
        assert not Spin(pipe.look, os.getpid()).wait()
        took.append(time.perf_counter() - begin)
    assert LIMIT <= min(took) < 2 * LIMIT


@two_cpus
def test_spins_in_vain_become_rare_and_success_makes_them_usual_again(pipe: Pipe) -> None:
    spin = Spin(pipe.look, os.getpid())
    looked = [pipe.looked(spin) for _ in range(3000)]
    assert looked[0]
    assert not looked[1]
    assert sum(looked[:500]) < 10
    assert 5 < sum(looked[500:]) < 15  # it goes on trying, now and then
    os.write(pipe.write, b"x")
    for _ in range(300):
        spin.wait()
    # Not all: another program may take the CPU in the midst of one.
    assert sum(pipe.looked(spin) for _ in range(100)) > 50


@two_cpus
def test_what_is_found_late_counts_as_a_spin_in_vain() -> None:
    def look() -> str:
        nonlocal looks
        looks += 1
        time.sleep(2 * LIMIT)  # as long as another thread might keep the GIL
        return "found"

    looks = 0
    spin = Spin(look, os.getpid())
    assert sum(spin.wait() == "found" for _ in range(100)) == looks < 10


def test_two_processes_that_share_one_cpu_do_not_spin(pipe: Pipe) -> None:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        spin = Spin(pipe.look, os.getpid())
        os.write(pipe.write, b"x")
        assert not any(map(pipe.looked, [spin] * 1000))
    finally:
        os.sched_setaffinity(0, cpus)


def test_a_process_at_the_other_end_that_has_ended_is_no_error(pipe: Pipe) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert not Spin(partial(pipe.poll.poll, 0), pid).wait()
