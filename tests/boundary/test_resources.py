"""Attacks on resources: each limit has its own error and kind, and what is not limited by name does not grow."""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from boundary.conftest import start
from boundary.scene import Scene
from waiting import until

from isolate_magic import (
    CellTimeout,
    Companion,
    CpuExceeded,
    DiskExceeded,
    LimitExceeded,
    MemoryExceeded,
    Policy,
    ProcessesExceeded,
    ProcessTerminationError,
    ThreadsExceeded,
)

_IMPORTS = "import ctypes, errno, mmap, os, resource, socket, sys, threading, time, re, fcntl, subprocess, signal\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@pytest.fixture
def limited(request: pytest.FixtureRequest, tier: str) -> Any:
    """Give a function that starts a companion with limits."""

    def make(code: str = "", **limits: Any) -> Companion:
        companion = start("limited", tier, Policy(extends="untrusted", **limits))
        request.addfinalizer(companion.close)
        companion.run(_IMPORTS + code)
        return companion

    return make


def _ended(companion: Companion, code: str, error: type[LimitExceeded], kind: str) -> None:
    with pytest.raises(error) as caught:
        companion.run(code)
    assert type(caught.value) is error
    assert caught.value.report.kind == kind
    assert "limit" in caught.value.report.reason
    assert companion.crash == caught.value.report


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("code", ["bytearray(1 << 30)", "mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)",
                                  "import numpy; numpy.ones(1 << 27)", "[0] * (1 << 28)"])  # fmt: skip
def test_a_heap_that_is_too_large_is_a_memory_error(code: str, limited: Any) -> None:
    companion = limited(memory="256MiB")
    pid = companion.pid
    with pytest.raises((MemoryError, OSError, ValueError)):
        companion.run(f"x = {code}\nlen(x)" if "import" not in code else f"{code}\nNone")
    assert companion.pid == pid
    assert companion.run("1 + 1") == 2


_CHILDREN = "for _ in range({0}):\n if not os.fork():\n  b = bytearray({1} << 20)\n  for i in range(0, len(b), 4096): b[i] = 1\n  time.sleep(60)\ntime.sleep(30)"


@pytest.mark.parametrize(
    "code",
    [
        _CHILDREN.format(8, 60),
        "s = mmap.mmap(-1, 512 << 20)\nfor i in range(0, len(s), 4096): s[i] = 1\ntime.sleep(30)",
        "l = []\nwhile True:\n m = mmap.mmap(-1, 8 << 20); l.append(m)\n for i in range(0, len(m), 4096): m[i] = 1",
        "b = bytearray(100 << 20)\nfor _ in range(6):\n if not os.fork():\n  for i in range(0, len(b), 4096): b[i] = 2\n  time.sleep(60)\ntime.sleep(30)",
    ],
    ids=["split over children", "shared memory", "many shared maps", "pages of a fork written again"],
)
def test_memory_counts_for_all_its_processes(code: str, limited: Any) -> None:
    companion = limited(memory="256MiB")
    _ended(companion, code, MemoryExceeded, "memory")
    assert companion.crash is not None
    assert companion.crash.curve


_RAISED = (
    "for n in ('DATA', 'CPU'):\n r = getattr(resource, 'RLIMIT_' + n)\n"
    " try: resource.setrlimit(r, (resource.getrlimit(r)[1],) * 2)\n except (OSError, ValueError): pass\n"
    "libc.mmap.restype = ctypes.c_void_p\n"
    "libc.mmap(None, ctypes.c_size_t(8 << 30), 3, 0x8022, -1, ctypes.c_long(0))\n"
    "x = bytearray(8 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1"
)


@pytest.mark.parametrize(
    "code",
    [
        _CHILDREN.format(5, 400),
        _RAISED,
    ],
    ids=["by children", "with raised limits"],
)
def test_nobody_ever_sees_more_than_a_little_above_the_limit(code: str, limited: Any) -> None:
    companion = limited(memory="1GiB")
    root = psutil.Process(companion.pid).ppid()
    most, done = [0], threading.Event()

    def sample() -> None:
        while not done.is_set():
            most[0] = max(most[0], sum(map(_share, _below(root))))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        with pytest.raises((MemoryExceeded, MemoryError)):  # where the limits cannot be raised, by the kernel
            companion.run(code)
    finally:
        done.set()
        sampler.join()
    assert most[0] / 2**30 < 1.2


def _below(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        try:
            children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            continue
        found += children
        waiting += children
    return found


def _share(pid: int) -> int:
    """Return the memory of a process, shared pages in parts (proc_pid_smaps(5), Pss without files)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(map(int, re.findall(r"\n(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+)", text)))


@pytest.mark.parametrize(
    "code",
    [
        "libc.memfd_create(b'x', 0)",
        "libc.shmget(0, 64 << 20, 0o1600)",
        "libc.syscall(447, 0)",
    ],
    ids=["memfd", "System V", "secret"],
)
def test_there_is_no_memory_beside_the_limits(code: str, limited: Any) -> None:
    companion = limited()
    assert companion.run(code) == -1


def test_deleted_files_count_as_well(limited: Any) -> None:
    companion = limited("", disk="16MiB")
    with pytest.raises((OSError, DiskExceeded)):
        companion.run(
            "import tempfile\nheld = []\nfor _ in range(40):\n f = tempfile.TemporaryFile(); f.write(b'x' * (1 << 20)); f.flush(); held.append(f)\n"
            "time.sleep(2)\nraise OSError(28, 'never refused') if not 1 else OSError(0, 'got through')"
        )
    if companion.crash is None:
        assert companion.run("len(held)") < 17


def test_pipes_and_sockets_hold_little(limited: Any) -> None:
    companion = limited()
    total = companion.run(
        "total = 0\n"
        "try:\n"
        "  while True:\n"
        "    r, w = os.pipe(); os.set_blocking(w, False)\n"
        "    try: fcntl.fcntl(w, 1031, 1 << 20)\n"
        "    except OSError: pass\n"
        "    try: total += os.write(w, bytes(1 << 20))\n"
        "    except BlockingIOError: pass\n"
        "except OSError: pass\n"
        "total"
    )
    assert total < 200 << 20  # at most so many pipes as it may have open files
    assert companion.run("1") == 1


# ---------------------------------------------------------------- time


def test_processor_time_is_limited(limited: Any) -> None:
    _ended(limited(cpu=0.5), "while True: pass", CpuExceeded, "cpu")


def test_processor_time_counts_for_all_its_processes(limited: Any) -> None:
    code = "while True:\n pid = os.fork()\n if not pid:\n  e = time.process_time() + .05\n  while time.process_time() < e: pass\n  os._exit(0)\n os.waitpid(pid, 0)"
    _ended(limited(cpu=0.7), code, CpuExceeded, "cpu")


@pytest.mark.parametrize("code", ["re.match('(a+)+$', 'a' * 40 + 'b')", "10 ** 10 ** 8", "(1 << 10 ** 9) ** 3"],
                         ids=["a regular expression", "a power", "a product"])  # fmt: skip
def test_a_call_that_never_ends_is_ended(code: str, limited: Any) -> None:
    companion = limited(cpu="5min")
    with pytest.raises((CellTimeout, ProcessTerminationError, MemoryError)) as caught:
        companion.run(f"x = {code}\nNone", timeout=0.5)
    assert not isinstance(caught.value, CpuExceeded)
    assert companion.run("1 + 1", sink=_Silent()) == 2


class _Silent:
    def stream(self, name: str, text: str) -> None: ...

    def display(self, *args: Any, **kwargs: Any) -> None: ...


# ---------------------------------------------------------------- processes and threads


def test_processes_are_limited(limited: Any) -> None:
    code = "for _ in range(30):\n if not os.fork(): time.sleep(60)\ntime.sleep(30)"
    _ended(limited(processes=8), code, ProcessesExceeded, "processes")


def test_a_single_process_cannot_fork(limited: Any) -> None:
    companion = limited(processes=1)
    for code in ("os.fork()", "subprocess.run(['/bin/true'])", "os.posix_spawn('/bin/true', ['true'], {})"):
        with pytest.raises(OSError):
            companion.run(code)
    assert companion.run("t = threading.Thread(target=print); t.start(); t.join()") is None


def test_a_bomb_of_forks_is_ended(limited: Any, scene: Scene) -> None:
    marker = f"bomb{scene.stray[-8:]}"
    companion = limited(f"libc.prctl(15, {marker.encode()!r})\n")
    with pytest.raises(LimitExceeded) as caught:
        companion.run("while True:\n try: os.fork()\n except OSError: pass")
    assert caught.value.report.kind in ("processes", "threads", "cpu")
    until(lambda: not _named(marker), 10)
    assert companion.run("1 + 1", sink=_Silent()) == 2


def _named(marker: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and marker in (folder / "comm").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


_THREADS = (
    "made, stop = 0, threading.Event()\n"
    "try:\n  for _ in range({0}): threading.Thread(target=stop.wait, daemon=True).start(); made += 1\n"
    "except RuntimeError: pass\nmade"
)


def test_threads_are_refused_at_the_limit(limited: Any) -> None:
    companion = limited(threads=100)
    try:
        made = companion.run(_THREADS.format(600))
    except ThreadsExceeded as error:  # where the kernel counts those of others with this user
        assert error.report.kind == "threads"
        return
    assert 20 < made <= 100


def test_too_many_threads_are_the_end(limited: Any) -> None:
    companion = limited()
    assert companion.run(_THREADS.format(60)) == 60
    assert companion._process is not None
    companion.change_policy(companion.policy.but(threads=20))
    _ended(companion, "time.sleep(30)", ThreadsExceeded, "threads")


# ---------------------------------------------------------------- files


def test_a_file_cannot_grow_beyond_the_disk(limited: Any) -> None:
    companion = limited(disk="16MiB")
    with pytest.raises(OSError) as caught:
        companion.run("os.truncate(open('big', 'wb').name, 1 << 60)")
    assert caught.value.errno in (27, 28)  # EFBIG, ENOSPC
    with pytest.raises((OSError, DiskExceeded)) as caught:
        companion.run("with open('big', 'wb') as f:\n for _ in range(64): f.write(bytes(1 << 20)); f.flush()")
    assert isinstance(caught.value, DiskExceeded) or caught.value.errno in (27, 28)


@pytest.mark.parametrize(
    "code",
    [
        "for i in range(64):\n with open(f'f{i}', 'wb') as f: f.write(bytes(1 << 20))\n",
        "for i in range(30000): open(f'e{i}', 'wb').close()\n",
        "import tempfile\nfor i in range(64):\n with open(f'{tempfile.gettempdir()}/f{i}', 'wb') as f: f.write(bytes(1 << 20))\n",
        "for i in range(64):\n with open(f'/dev/shm/f{i}', 'wb') as f: f.write(bytes(1 << 20))\n",
    ],
    ids=["bytes", "files", "temporary files", "shared memory"],
)
def test_the_scratch_space_is_limited(code: str, limited: Any, tier: str) -> None:
    companion = limited(disk="16MiB")
    with pytest.raises((OSError, DiskExceeded)) as caught:
        companion.run(f"{code}time.sleep({0 if tier == 'N' else 30})")
    if isinstance(caught.value, DiskExceeded):
        assert caught.value.report.kind == "disk"
    else:
        refused = (13,) if "/dev/shm" in code and tier == "L" else (27, 28)  # where the folder is the host's
        assert caught.value.errno in refused, caught.value


def test_folders_in_folders_end_it_where_they_could_hide_files(limited: Any, tier: str) -> None:
    code = "for i in range(500): os.mkdir('d'); os.chdir('d')\n"
    companion = limited(disk="16MiB")
    if tier == "N":  # where the file system itself counts
        companion.run(code + "os.chdir('/')")
        return
    _ended(companion, code + "time.sleep(30)", DiskExceeded, "disk")


def test_the_user_s_folder_is_limited(limited: Any, scene: Scene) -> None:
    folder = scene.folder / "out/limited"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    companion = limited(disk="8MiB", write=[str(folder)])
    code = f"for i in range(64):\n with open({str(folder)!r} + f'/f{{i}}', 'wb') as f: f.write(bytes(1 << 20))\ntime.sleep(30)"
    try:
        _ended(companion, code, DiskExceeded, "disk")
    finally:
        shutil.rmtree(folder)


def test_open_files_are_limited(limited: Any) -> None:
    companion = limited(open_files=64)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        companion.run("held = []\nwhile True: held.append(os.dup(0))")
    assert caught.value.errno == 24
    assert companion.run("n = len(held); [os.close(fd) for fd in held]; n") < 64
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# ---------------------------------------------------------------- priority


def test_it_is_the_first_to_go_and_the_last_to_be_served(limited: Any) -> None:
    companion = limited()
    assert companion.run(
        "try:\n open('/proc/self/oom_score_adj', 'w').write('-500')\nexcept OSError as e: how = e.errno\nhow"
    ) in (13, 30, 1)
    assert Path(f"/proc/{companion.pid}/oom_score_adj").read_text() == "500\n"
    for code in (
        "os.nice(-3)",
        "os.setpriority(0, 0, 0)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    ):
        with pytest.raises(OSError):
            companion.run(code)
    assert psutil.Process(companion.pid).nice() >= 5


def test_its_processors_stay_those_that_it_was_given(limited: Any) -> None:
    first = min(os.sched_getaffinity(0))
    companion = limited(cpus=[first])
    companion.run("try: os.sched_setaffinity(0, range(64))\nexcept OSError: pass")
    assert psutil.Process(companion.pid).cpu_affinity() == [first]
