"""The main session ends or forks: what becomes of its zygote and companions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic import Companion

SCRIPT = """
import json, os, signal, subprocess, sys, threading, time
from isolate_magic import Companion
one, two = Companion("one"), Companion("two")
one.start(); two.start()
forked = 0
if {forks}:
    forked = os.fork()
    if not forked:
        os.closerange(1, 3)
        signal.pause()
print(json.dumps([one.pid, two.pid, one._process.zygote.pid, forked]), flush=True)
one.run({code!r})
"""
NATIVE = "import ctypes\nwhile True: ctypes.CDLL(None).usleep(10**9)"
SPIN = "while True: pass"
DEAF = (
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60)); "
    + NATIVE.replace("\n", "; exec('''")
    + "''')"
)
DAEMON = "import os\nif os.fork(): print(1)\nimport time; time.sleep(1000)"


def gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie that waits for its parent has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@contextmanager
def session(code: str, forks: bool = False) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    source = SCRIPT.format(code=code, forks=forks)
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids: list[int] = json.loads(process.stdout.readline())
    try:
        yield process, pids
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if pids[3]:
            os.kill(pids[3], signal.SIGKILL)


@pytest.mark.parametrize(
    "code", [SPIN, NATIVE, DEAF, "import time; time.sleep(1000)"], ids=["spin", "native", "deaf", "nap"]
)
@pytest.mark.parametrize("forks", [False, True], ids=["alone", "forked"])
def test_a_killed_session_takes_zygote_and_companions_along_within_a_second(code: str, forks: bool) -> None:
    with session(code, forks) as (process, pids):
        assert not any(map(gone, pids[:3]))
        process.send_signal(signal.SIGKILL)
        until(lambda: all(map(gone, pids[:3])), 1)


def test_a_session_killed_while_the_zygote_imports_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\nfor _ in range(6000): time.sleep(0.01)\n")
    code = (
        "import os, signal\nfrom isolate_magic import spawner\nz = spawner.zygote(('slow_to_import',))\n"
        "print(z.pid, flush=True)\nsignal.pause()"
    )
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        zygote = int(process.stdout.readline())
        until(lambda: b"slow_to_import" in Path(f"/proc/{zygote}/cmdline").read_bytes())
        process.kill()
        until(lambda: gone(zygote), 1.5)


def in_a_fork(work: Any) -> Any:
    """Run a function in a fork of this process and return its result, which is JSON."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        result: Any = "nothing"
        try:
            result = work()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        finally:
            os.write(write, json.dumps(result).encode())
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        told = json.load(answer)
    os.waitpid(pid, 0)
    return told


def test_in_a_fork_old_proxies_are_stale_and_a_new_companion_works(companion: Companion) -> None:
    thing = companion.run("class C: x = 5\nC()")
    pid = companion.pid

    def work() -> list[Any]:
        told: list[Any] = []
        for use in (lambda: thing.x, lambda: companion.run("1")):
            try:
                told.append(use())
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
        with Companion("of-the-fork") as other:
            told.append(other.run("6 * 7"))
            told.append(other.pid != pid)
        told.append([companion.state, companion.pid])
        companion.stop()
        return told

    stale, refused, answer, own, state = in_a_fork(work)
    assert stale.startswith("StaleProxyError: ")
    assert "forked" in stale
    assert refused.startswith("StartError: ")
    assert "make one of your own" in refused
    assert answer == 42
    assert own is True
    assert state == ["stopped", None]
    assert companion.pid == pid
    assert thing.x == 5


def test_a_fork_inside_a_callback_disturbs_nothing(companion: Companion) -> None:
    def callback() -> int:
        told = in_a_fork(lambda: os.getpid())
        return int(told != os.getpid())

    assert companion.run("f()", push={"f": callback}) == 1
    assert companion.run("1 + 1") == 2


def test_a_fork_that_runs_to_its_end_hangs_neither_side() -> None:
    code = """
import os, sys
from isolate_magic import Companion
c = Companion("c"); x = c.run("class C: y = 7\\nC()")
pid = os.fork()
if pid:
    status = os.waitpid(pid, 0)[1]
    print(status, x.y, c.run("'mine'"))
else:
    try: x.y
    except Exception as e: print(type(e).__name__, flush=True)
    print(Companion("own").run("'its own'"), flush=True)
"""
    done = subprocess.run(
        # Python 3.12 warns of any fork with threads, ours and everybody's.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.splitlines() == ["StaleProxyError", "its own", "0 7 mine"]
    assert done.stderr == ""


def test_forks_while_other_threads_call_neither_hang_nor_hurt(companion: Companion) -> None:
    import threading

    double = companion.run("def double(x): return 2 * x\ndouble")
    stop = threading.Event()
    wrong: list[Any] = []

    def use() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if double(number) != 2 * number:
                wrong.append(number)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert in_a_fork(lambda: Companion("fork").run("5")) == 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_what_follows_a_cell_is_done_once_for_each_use_and_never_fails(companion: Companion) -> None:
    companion.run("done = []\nget_ipython().events.register('post_execute', lambda: done.append(1))")
    talk = companion._process.talk  # type: ignore[union-attr]
    companion.call(len, "abc")
    companion.run("done.clear()")  # which is a cell there, and does it by itself as well
    companion.after_cell()
    assert len(companion.pull("done")) >= 1
    companion.after_cell()
    before = talk.latest
    companion.after_cell()
    assert talk.latest == before
    os.kill(companion.pid or 0, signal.SIGKILL)
    companion.after_cell()
