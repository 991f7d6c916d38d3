"""A fork that is no child: who it belongs to, what works in it, and what happens where it cannot be."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

WAYS = {"aside": "aside.prepare()\nassert aside._ready is not None", "twice": "aside._ready = None"}


def ran(way: str, source: str) -> str:
    """Run some code in a process of its own, which adopts orphans as a zygote does; return what it prints."""
    start = "import os, sys\nfrom isolate_magic.child import aside, linux\nlinux.adopt_orphans()\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{start}{WAYS[way]}\n{textwrap.dedent(source)}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_it_is_no_child_of_who_forks(way: str) -> None:
    source = """
        r, w = os.pipe()
        worker = os.fork()
        if not worker:
            if aside.fork():
                os.write(w, b"x")
                sys.stdin.read()  # nothing; only to be something that runs
                os._exit(0)
            try:
                os.wait()
            except ChildProcessError:
                os._exit(7)
            os._exit(8)
        print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), os.read(r, 1))
        print(os.waitstatus_to_exitcode(os.wait()[1]))  # the fork, which came to us
    """
    assert ran(way, source) == "7 b'x'\n0\n"


@pytest.mark.parametrize("way", WAYS)
def test_both_go_on_with_memory_of_their_own(way: str) -> None:
    source = """
        r, w = os.pipe()
        kept, local = [1], 2
        def deep(n):
            return deep(n - 1) + 1 if n else aside.fork()
        copy = deep(200) != 200
        kept.append(3 if copy else 4)
        if copy:
            os.write(w, repr((kept, local, sum(range(1000)), sorted("cab"))).encode())
            os._exit(0)
        print(os.read(r, 1000).decode(), kept)
    """
    assert ran(way, source) == "([1, 3], 2, 499500, ['a', 'b', 'c']) [1, 4]\n"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_registered_for_forks_runs(way: str) -> None:
    source = """
        r, w = os.pipe()
        told = []
        os.register_at_fork(
            before=lambda: told.append("before"), after_in_parent=lambda: told.append("parent"),
            after_in_child=lambda: told.append("child"),
        )
        if aside.fork():
            os.write(w, " ".join(told[-2:]).encode())
            os._exit(0)
        print(os.read(r, 100).decode(), told[-1])
    """
    assert ran(way, source) == "before child parent\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_fork_of_a_fork_works(way: str) -> None:
    source = """
        r, w = os.pipe()
        for generation in range(5):
            if not aside.fork():
                break
        else:
            os.write(w, b"five")
            os._exit(0)
        if generation:
            os._exit(0)
        print(os.read(r, 10).decode())
    """
    assert ran(way, source) == "five\n"


@pytest.mark.parametrize("way", WAYS)
def test_libraries_with_threads_go_on(way: str) -> None:
    pytest.importorskip("numpy")
    source = """
        import numpy as np
        r, w = os.pipe()
        a = np.random.default_rng(0).random((500, 500))
        before = float((a @ a).sum())
        if aside.fork():
            os.write(w, str(float((a @ a).sum()) == before).encode())
            os._exit(0)
        print(os.read(r, 10).decode(), float((a @ a).sum()) == before)
    """
    assert ran(way, source) == "True True\n"


@pytest.mark.parametrize("way", WAYS)
def test_where_there_is_no_process_it_says_so(way: str) -> None:
    source = """
        import resource
        if os.getuid() == 0:
            os.setgid(54321); os.setuid(54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        try:
            aside.fork()
        except BlockingIOError as error:
            print(error.strerror)
        print(os.getpid() > 0)
    """
    assert ran(way, source) == "Resource temporarily unavailable\nTrue\n"


@pytest.mark.parametrize("way", WAYS)
def test_many_of_them_leave_nothing_behind(way: str) -> None:
    source = """
        import gc
        def held():
            gc.collect()
            return len(os.listdir("/proc/self/fd")), len(open("/proc/self/maps").readlines())
        def one():
            if aside.fork():
                os._exit(0)
            while True:
                try:
                    os.wait()
                except ChildProcessError:
                    return
        for _ in range(5): one()
        before = held()
        for _ in range(100): one()
        after = held()
        print(before[0] == after[0], after[1] - before[1] < 5)
    """
    assert ran(way, source) == "True True\n"
