"""The processes below a keeper: all are found, and none survives a sweep."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic.child.tree import Tree, sweep

from .keeper import in_a_fork, proc, start

MIB = 2**20


def here() -> Tree:
    return Tree(os.getpid(), proc())


def pause() -> None:
    while True:
        signal.pause()


@pytest.mark.parametrize("listed", [True, False])
def test_descendants_of_every_thread_are_found(listed: bool) -> None:
    def program() -> None:
        def of_a_thread() -> None:
            start(lambda: (start(pause), pause()))
            threading.Event().wait()

        threading.Thread(target=of_a_thread, daemon=True).start()
        pause()

    def act() -> Any:
        tree = here()
        assert tree.listed
        tree.listed = listed
        start(program)
        until(lambda: len(tree.pids()) == 3)
        members = tree.members()
        return sorted(member.threads for member in members), os.getpid() in tree.pids(), sweep(tree).clean

    assert in_a_fork(act) == [[1, 1, 2], False, True]


def test_an_ignored_process_does_not_count_but_what_is_below_it_does() -> None:
    def act() -> Any:
        outer = start(lambda: (start(pause), pause()))
        tree = here()
        until(lambda: len(tree.pids()) == 2)
        ignoring = Tree(os.getpid(), proc(), ignore={outer})
        inner = ignoring.pids()
        swept = sweep(ignoring)
        alive = Path(f"/proc/{outer}").exists()
        return len(inner), outer in inner, swept.clean, alive, sweep(tree).clean

    assert in_a_fork(act) == [1, False, True, True, True]


def test_an_orphan_stays_in_the_tree() -> None:
    def act() -> Any:
        tree = here()
        os.waitpid(start(lambda: start(lambda: (os.setsid(), pause()))), 0)
        until(lambda: [member.parent for member in tree.members()] == [os.getpid()])
        return sweep(tree).clean

    assert in_a_fork(act)


def test_memory_shows_after_the_first_thread_has_ended() -> None:
    def program() -> None:
        def filling() -> None:
            held = bytearray(os.urandom(1)) * (50 * MIB)
            threading.Event().wait()
            del held

        threading.Thread(target=filling, daemon=True).start()
        exit_thread = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
        ctypes.CDLL(None).syscall(exit_thread, 0)

    def act() -> Any:
        tree = here()
        pid = start(program)

        def seen() -> bool:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state == "Z" and any(tree.share(member) > 50 * MIB for member in tree.members())

        until(seen, 30)
        return tree.members()[0].anonymous > 50 * MIB, sweep(tree).clean

    assert in_a_fork(act) == [True, True]


def test_a_name_cannot_pretend_memory_threads_or_times() -> None:
    def program() -> None:
        Path("/proc/self/comm").write_text("a) R 1\nThreads")
        pause()

    def act() -> Any:
        tree = here()
        pid = start(program)
        until(lambda: b"a)" in (tree.read(f"{pid}/stat") or b""))
        times = tree.times(pid)
        assert times
        return times.parent == os.getpid(), tree.members()[0].threads, sweep(tree).clean

    assert in_a_fork(act) == [True, 1, True]


def test_a_process_that_is_gone_is_nobody() -> None:
    def act() -> Any:
        tree = here()
        pid = start(lambda: None)
        os.waitpid(pid, 0)
        return tree.times(pid), tree.read(f"{pid}/status"), tree.numbers(f"{pid}/task"), tree.pids()

    assert in_a_fork(act) == [None, None, [], []]


def chain() -> None:
    """Fork and exit without end: no process lives longer than a fork takes."""
    while True:
        if os.fork():
            os._exit(0)


def test_chains_of_processes_that_fork_and_exit_are_killed_completely() -> None:
    def act() -> Any:
        tree = here()
        for _ in range(4):
            start(chain)
        time.sleep(0.05)  # let them run
        began = time.monotonic()
        swept = sweep(tree)
        took = time.monotonic() - began
        return swept.clean, took < 5, tree.pids()

    assert in_a_fork(act) == [True, True, []]


def test_a_crowd_with_its_own_sessions_and_ignored_signals_is_killed() -> None:
    def program() -> None:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(5):
            start(lambda: (os.setsid(), [start(pause) for _ in range(5)], pause()))
        pause()

    def act() -> Any:
        tree = here()
        pid = start(program)
        until(lambda: len(tree.pids()) == 31)
        swept = sweep(tree)
        return swept.clean, os.WTERMSIG(swept.ended[pid]), len(swept.ended)

    clean, killed_by, ended = in_a_fork(act)
    assert (clean, killed_by) == (True, signal.SIGKILL)
    assert 1 <= ended <= 31


def test_a_sweep_of_nothing_is_clean() -> None:
    assert in_a_fork(lambda: sweep(here()).clean)
