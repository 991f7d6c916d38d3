"""Limits of a whole tree of processes: what passes them is found in time, what does not is left alone."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from isolate_magic.child.tree import Tree, sweep
from isolate_magic.child.watchdog import Limits, Watchdog

from .keeper import in_a_fork, proc, start, watched

MIB = 2**20
HUGE = 14  # MADV_HUGEPAGE
MAP_NORESERVE = 0x4000


def filled(size: int, shared: bool = False, huge: bool = False) -> mmap.mmap:
    """Map memory and write to all of it."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE))
    if huge:
        memory.madvise(HUGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    step = 4 * MIB
    for offset in range(0, size, step):
        ctypes.memset(address + offset, 1, min(step, size - offset))  # lets go of the GIL
    return memory


def pause(seconds: float = 30.0) -> None:
    select.select([], [], [], seconds)


def test_memory_of_one_process_is_limited() -> None:
    seen = watched(lambda: (filled(600 * MIB), pause()), memory=200 * MIB)
    assert seen["kind"] == "memory"
    assert seen["text"].startswith("memory limit of 200 MiB passed: ")
    assert seen["text"].endswith(" in 1 process")
    assert seen["peak"] > 200 * MIB


def test_memory_of_eight_processes_is_limited_together() -> None:
    def program() -> None:
        for _ in range(8):
            start(lambda: (filled(40 * MIB), pause()))
        pause()

    seen = watched(program, memory=200 * MIB)
    assert seen["kind"] == "memory"
    assert seen["text"].endswith(" in 9 processes")


def test_shared_memory_is_limited() -> None:
    seen = watched(lambda: (filled(300 * MIB, shared=True), pause()), memory=200 * MIB)
    assert seen["kind"] == "memory"


def test_memory_below_the_limit_is_left_alone() -> None:
    def program() -> None:
        for _ in range(10):
            filled(100 * MIB)

    seen = watched(program, memory=200 * MIB)
    assert seen["kind"] is None
    assert 100 * MIB < seen["peak"] < 200 * MIB


@pytest.mark.parametrize("shared", [False, True])
def test_pages_that_eight_forks_share_count_once(shared: bool) -> None:
    def program() -> None:
        memory = filled(100 * MIB, shared=shared)
        for _ in range(8):
            start(lambda: pause(0.5))
        for _ in range(8):
            os.wait()
        del memory

    seen = watched(program, memory=200 * MIB)
    assert seen["kind"] is None
    assert seen["looks"] >= 30


def test_forks_that_write_to_shared_pages_are_found_though_what_they_hold_stays_the_same() -> None:
    def program() -> None:
        memory = filled(100 * MIB)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for _ in range(3):
            start(lambda: (pause(0.3), ctypes.memset(address, 2, 100 * MIB), pause()))
        pause()

    seen = watched(program, memory=260 * MIB)
    assert seen["kind"] == "memory"
    assert seen["seconds"] > 0.3


def test_starting_a_program_does_not_count_the_memory_twice() -> None:
    def program() -> None:
        memory = filled(120 * MIB)
        for _ in range(50):
            subprocess.run(["/bin/true"], check=True)
        del memory

    seen = watched(program, memory=200 * MIB)
    assert seen["kind"] is None


def test_a_process_that_borrows_its_parents_memory_does_not_count_it_twice() -> None:
    def borrowing() -> None:
        libc = ctypes.CDLL(None)
        stack = ctypes.create_string_buffer(MIB)
        memory = filled(120 * MIB)
        # clone(2) with CLONE_VM | SIGCHLD: pause(2) as its function, on a stack of its own.
        top = ctypes.addressof(stack) + MIB
        libc.clone(
            ctypes.cast(libc.pause, ctypes.c_void_p), ctypes.c_void_p(top), 0x100 | signal.SIGCHLD, None
        )
        pause(0.5)
        del memory

    seen = watched(borrowing, memory=200 * MIB)
    assert seen["kind"] is None
    assert seen["left"] >= 1


def test_page_tables_count() -> None:
    def program() -> None:
        step, size = 2 * MIB, 2**37
        memory = mmap.mmap(
            -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE, prot=mmap.PROT_READ
        )
        for offset in range(0, size, step):
            memory[offset]
        pause()

    seen = watched(program, memory=100 * MIB)
    assert seen["kind"] == "memory"


def test_processes_are_limited() -> None:
    seen = watched(lambda: ([start(pause) for _ in range(6)], pause()), processes=5)
    assert (seen["kind"], seen["text"].startswith("limit of 5 processes passed: ")) == ("processes", True)
    assert watched(lambda: ([start(lambda: None) for _ in range(4)], pause(0.2)), processes=5)["kind"] is None


def test_threads_are_limited_over_all_processes() -> None:
    def program() -> None:
        for _ in range(5):
            threading.Thread(target=pause, daemon=True).start()
        pause()

    seen = watched(lambda: (start(program), program()), threads=10)
    assert (seen["kind"], "12 in 2 processes" in seen["text"] or "11 in" in seen["text"]) == ("threads", True)
    assert (
        watched(lambda: (threading.Thread(target=pause, daemon=True).start(), pause(0.2)), threads=10)["kind"]
        is None
    )


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_is_limited() -> None:
    seen = watched(lambda: burn(5), cpu=0.3)
    assert seen["kind"] == "cpu"
    assert 0.3 < seen["cpu"] < 0.6


@pytest.mark.parametrize("waiting", [True, False])
def test_processor_time_of_those_that_have_ended_counts(waiting: bool) -> None:
    def program() -> None:
        if not waiting:  # then the kernel adds their time to nobody's
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for _ in range(20):
            pid = start(lambda: burn(0.1))
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass

    seen = watched(program, cpu=0.6)
    assert seen["kind"] == "cpu"
    assert 0.6 < seen["cpu"] < 1.5


def test_limits_can_be_replaced_while_the_program_runs() -> None:
    def act() -> Any:
        tree = Tree(os.getpid(), proc())
        dog = Watchdog(tree, Limits(processes=5))
        start(lambda: pause())
        start(lambda: pause())
        before = dog.look(time.monotonic())
        dog.replace(Limits(processes=1))
        after = dog.look(time.monotonic())
        return before, after and after.text, sweep(tree).clean

    assert in_a_fork(act) == [None, "limit of 1 processes passed: 2", True]


def test_an_idle_program_is_looked_at_a_hundred_times_a_second_for_little() -> None:
    seen = watched(lambda: pause(1.0), memory=2**30, processes=10)
    assert seen["looks"] >= 80  # 100, less what a busy machine takes
    assert seen["cost"] / seen["looks"] < 0.0005  # 0.05 ms alone; ten times that beside others' tests


def test_the_memory_curve_is_bounded_and_keeps_the_peak() -> None:
    def act() -> Any:
        tree = Tree(os.getpid(), proc())
        dog = Watchdog(tree, Limits())
        begin = time.monotonic()
        pid = start(lambda: (filled(30 * MIB), pause()))
        for tick in range(3000):
            if tick == 1000:
                while dog.memory < 30 * MIB:
                    dog.look(begin + 10)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            dog.look(begin + tick / 100)
        return dog.curve, dog.peak

    curve, peak = in_a_fork(act)
    assert 50 <= len(curve) <= 200
    assert max(size for _, size in curve) == peak
    assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, _ in curve)


def test_limits_are_read_strictly() -> None:
    assert Limits.parsed({"memory": 5, "folders": ["/tmp"], "cpu": None}) == Limits(
        memory=5, folders=("/tmp",)
    )
    with pytest.raises(ValueError, match="unknown limits: memroy"):
        Limits.parsed({"memroy": 5})
    with pytest.raises(ValueError, match="limit of cpu must be a number above 0, not 0"):
        Limits.parsed({"cpu": 0})


SAMPLER = """
import select, sys, psutil
def share(process):
    try:
        with open(f"/proc/{process.pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    except (OSError, psutil.Error):
        return 0
tests, most = psutil.Process(int(sys.argv[1])), 0
others = {child.pid for child in tests.children(recursive=True)}  # of other tests
print(flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    most = max(most, sum(share(one) for one in tests.children(recursive=True) if one.pid not in others))
print(most * 1024)
"""


@pytest.mark.parametrize(
    "shape", ["two threads, huge pages", "eight processes, huge pages", "eight processes", "one thread"]
)
def test_the_host_never_sees_more_than_a_fifth_above_a_gibibyte(shape: str) -> None:
    available = int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0])
    if available < 3 * MIB:
        pytest.skip("less than 3 GiB of free memory")

    def threads() -> None:
        for _ in range(2):
            threading.Thread(target=filled, args=(2**30, False, True), daemon=True).start()
        pause()

    def processes() -> None:
        for _ in range(8):
            start(lambda: (filled(400 * MIB, huge="huge" in shape), pause()))
        pause()

    program = {"two": threads, "eight": processes}.get(shape.split()[0], lambda: (filled(2 * 2**30), pause()))
    with subprocess.Popen(
        [sys.executable, "-c", SAMPLER, str(os.getpid())], stdin=-1, stdout=-1, text=True
    ) as sampler:
        assert sampler.stdout
        sampler.stdout.readline()
        seen = watched(program, seconds=60, memory=2**30)
        most = int(sampler.communicate("\n")[0])
    assert seen["kind"] == "memory"
    assert 0.8 * 2**30 < most < 1.2 * 2**30, f"{most / MIB:.0f} MiB"
