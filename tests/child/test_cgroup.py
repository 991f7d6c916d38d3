"""Control groups: found where they can be had, in force while a companion lives, and gone with it.

What needs a memory controller is skipped where none can be had; `tests/boundary/machine/boot` runs it.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic import Companion, ConfinementError, LimitExceeded, MemoryExceeded, Policy, byvalue
from isolate_magic.child import cgroup
from isolate_magic.child.cgroup import Group

from .keeper import in_a_fork, start

MIB = 2**20
HYBRID = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
)


def plan(**limits: Any) -> dict[str, Any]:
    """Return as much of a plan as a group looks at."""
    none = {"memory": None, "cpu": None, "processes": None, "threads": None, "disk": None}
    return {"limits": none | limits, "files": {"rooted": False}, "disk": 1 << 30, "walled": False}


def pause() -> None:
    select.select([], [], [], 30)


@pytest.fixture
def group() -> Iterator[Callable[..., Group]]:
    """Give a function that makes a group in which a file is in use; skips where there can be none."""
    made: list[Group] = []

    def make(file: str, **limits: Any) -> Group:
        made.append(Group(plan(**limits)))
        if file not in made[-1].applied:
            pytest.skip(f"no {file} here: {made[-1].lacking}")
        return made[-1]

    yield make
    for one in made:
        one.kill()
        one.remove()


@pytest.fixture
def limited(request: pytest.FixtureRequest) -> Callable[..., Companion]:
    """Give a function that starts a companion whose group has a file; skips where it has none."""

    def make(file: str, policy: Policy) -> Companion:
        companion = Companion(f"grouped-{os.getpid()}", policy=policy)
        request.addfinalizer(companion.close)
        try:
            companion.start()
        except ConfinementError as error:
            pytest.skip(str(error))
        assert companion.report is not None
        told = companion.report.details["cgroup"]
        if file not in told["applied"]:
            pytest.skip(f"no {file} here: {told['lacking']}")
        return companion

    return make


def folder(pid: int) -> Path:
    """Return the folder of a process's group."""
    mounted = cgroup.hierarchy(Path("/proc/self/mountinfo").read_text())
    found = mounted and cgroup.located(Path(f"/proc/{pid}/cgroup").read_text(), *mounted)
    if not found:
        pytest.skip("no cgroup v2 is mounted that can be written")
    return Path(found)


# ---------------------------------------------------------------- finding


def test_the_hierarchy_is_found_beside_those_of_the_first_version() -> None:
    assert cgroup.hierarchy(HYBRID) == ("/sys/fs/cgroup/unified", "/")


def test_a_hierarchy_that_is_mounted_read_only_is_none() -> None:
    assert cgroup.hierarchy("30 1 0:2 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n") is None
    assert cgroup.hierarchy("30 1 0:2 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup ro\n") is None
    assert cgroup.hierarchy("30 1 0:2 / /sys/fs/cgroup rw - tmpfs cgroup2 rw\n") is None


def test_a_mountpoint_with_spaces_is_read() -> None:
    line = "30 1 0:2 /a\\134b /mnt/my\\040groups rw - cgroup2 none rw\n"
    assert cgroup.hierarchy(line) == ("/mnt/my groups", "/a\\b")


@pytest.mark.parametrize(
    ("own", "root", "found"),
    [
        ("/", "/", "/groups"),
        ("/user.slice/a.scope", "/", "/groups/user.slice/a.scope"),
        ("/docker/1/session", "/docker/1", "/groups/session"),
        ("/docker/1", "/docker/1", "/groups"),
        ("/docker/2", "/docker/1", None),
        ("/../other", "/", "/groups/other"),
    ],
)
def test_the_own_group_is_found_below_what_is_mounted(own: str, root: str, found: str | None) -> None:
    assert cgroup.located(f"4:memory:/elsewhere\n0::{own}\n", "/groups", root) == found


def test_without_a_second_version_there_is_no_own_group() -> None:
    assert cgroup.located("4:memory:/here\n", "/groups", "/") is None


def test_counters_are_read() -> None:
    assert cgroup.counters("low 0\noom 3\noom_kill 2\n") == {"low": 0, "oom": 3, "oom_kill": 2}


# ---------------------------------------------------------------- making and removing


def test_without_limits_no_group_is_made() -> None:
    made = Group(plan())
    assert (made.applied, made.lacking, made.fds) == ([], "no limit needs one", [])
    made.join(os.getpid())
    made.kill()
    assert made.verdict(9) is None
    made.remove()


def test_a_walled_companion_is_not_moved_for_nothing() -> None:
    made = Group(plan(memory=64 * MIB) | {"walled": True})
    assert made.applied == [] or "memory.max" in made.applied
    made.remove()


def test_what_is_lacking_is_said() -> None:
    made = Group(plan(memory=64 * MIB, processes=2))
    assert made.lacking or {"memory.max", "pids.max"} <= set(made.applied)
    made.remove()


def test_one_write_kills_all_in_it(group: Callable[..., Group]) -> None:
    def act() -> list[int]:
        made = group("cgroup.kill", processes=50)
        go, ready = os.pipe(), os.pipe()

        def program() -> None:
            os.read(go[0], 1)
            for _ in range(5):
                if not os.fork():
                    os.setsid()
                    os.write(ready[1], b"+")
                    pause()
            pause()

        pid = start(program)
        made.join(pid)
        assert made.applied
        os.write(go[1], b"!")
        got = b""
        while len(got) < 5:
            got += os.read(ready[0], 5)
        made.kill()
        statuses = [os.wait()[1] for _ in range(6)]
        made.remove()
        return statuses

    assert in_a_fork(act) == [signal.SIGKILL] * 6


def test_a_group_of_a_supervisor_that_was_killed_is_removed_by_the_next(group: Callable[..., Group]) -> None:
    first = group("cgroup.kill", processes=2)
    above = Path(os.readlink(f"/proc/self/fd/{first.fds[0]}"))

    def abandon() -> str:
        left = Group(plan(processes=2))
        return left._name

    name = in_a_fork(abandon)
    assert (above / name).exists()
    second = group("cgroup.kill", processes=2)
    assert not (above / name).exists()
    assert (above / first._name).exists()
    assert (above / second._name).exists()
    first.remove()
    second.remove()
    assert not (above / first._name).exists()


def test_the_group_of_the_session_stays_as_it_is() -> None:
    mine = folder(os.getpid()) / "cgroup.subtree_control"
    before = mine.read_text() if mine.exists() else ""
    Group(plan(memory=64 * MIB, processes=2)).remove()
    assert not mine.exists() or mine.read_text() == before


def test_a_group_beside_one_with_a_limit_would_evade_it(group: Callable[..., Group]) -> None:
    outer = group("memory.max", memory=256 * MIB)

    def act() -> list[Any]:
        outer.join(os.getpid())
        inner = Group(plan(memory=64 * MIB))
        told = [inner.applied, inner.lacking]
        inner.remove()
        return told

    applied, lacking = in_a_fork(act)
    assert "memory.max" not in applied
    assert "evade" in lacking


# ---------------------------------------------------------------- companions


def test_a_companion_lives_in_a_group_that_goes_with_it(limited: Callable[..., Companion]) -> None:
    companion = limited("cgroup.kill", Policy(memory="1GiB"))
    place = folder(companion.pid)
    assert place.name.startswith("isolate-")
    assert (place / "cgroup.procs").read_text() == f"{companion.pid}\n"
    companion.close()
    until(lambda: not place.exists())


def test_a_companion_without_limits_stays_where_it_is(limited: Callable[..., Companion]) -> None:
    with Companion("ungrouped", policy=Policy(cpu="1h")) as companion:
        assert not folder(companion.pid).name.startswith("isolate-")
        assert companion.report is not None
        assert companion.report.details["cgroup"] == {"applied": [], "lacking": "no limit needs one"}


@pytest.mark.parametrize("tier", ["N", "L"])
def test_an_untrusted_companion_cannot_touch_its_group(
    tier: str, limited: Callable[..., Companion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", tier)
    companion = limited("memory.max", Policy.of("untrusted"))
    place = folder(companion.pid)
    for code in (
        f"open({str(place / 'memory.max')!r}, 'w').write('max')",
        f"open({str(place.parent / 'cgroup.procs')!r}, 'w').write('0')",
        f"open({str(place.parent / 'cgroup.kill')!r}, 'w').write('1')",
        f"import os; os.mkdir({str(place / 'sub')!r})",
    ):
        with pytest.raises(OSError):
            companion.run(code)
    assert folder(companion.pid) == place
    assert not [path for path in place.iterdir() if path.is_dir()]
    assert not [fd for fd in companion.run(_OPEN) if "cgroup" in fd]


_OPEN = """
import os
def shown(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
[shown(fd) for fd in range(64)]
"""


def test_a_trusted_companion_has_no_descriptor_of_its_group(limited: Callable[..., Companion]) -> None:
    companion = limited("cgroup.kill", Policy(memory="1GiB"))
    assert not [fd for fd in companion.run(_OPEN) if "cgroup" in fd or "isolate-" in fd and "/sys" in fd]


def test_the_report_names_the_group(limited: Callable[..., Companion]) -> None:
    companion = limited("memory.max", Policy(memory="1GiB", threads=100))
    assert companion.report is not None
    by = {layer.field: layer.enforced_by for layer in companion.report.layers}
    assert "cgroup (memory.max)" in by["memory"]
    assert "cgroup (pids.max)" in by["threads"]


_UNMAPPED = """
import os
fd = os.memfd_create("unmapped")
for _ in range(600):
    os.write(fd, bytes(1 << 20))
"""
_IN_MEMORY = """
import os, tempfile
with tempfile.TemporaryFile(dir="/dev/shm") as file:
    for _ in range(600):
        file.write(bytes(1 << 20))
"""


@pytest.mark.parametrize(
    "code", [_UNMAPPED, _IN_MEMORY], ids=["a memfd that nobody maps", "a file in memory"]
)
def test_memory_that_no_process_maps_is_limited(code: str, limited: Callable[..., Companion]) -> None:
    companion = limited("memory.max", Policy(memory="256MiB"))
    with pytest.raises(MemoryExceeded) as caught:
        companion.run(code)
    assert caught.value.report.kind == "memory"
    assert caught.value.report.reason.startswith("memory limit of 256 MiB passed: at 272 MiB")
    assert companion.run("1 + 1") == 2


def test_memory_that_is_taken_in_a_blink_is_limited(limited: Callable[..., Companion]) -> None:
    companion = limited("memory.max", Policy(memory="256MiB"))
    place = folder(companion.pid)
    assert (place / "memory.max").read_text() == f"{272 * MIB}\n"
    with pytest.raises(MemoryExceeded):
        companion.run(
            "import mmap, threading\nshared = mmap.mmap(-1, 1 << 30)\nshared.madvise(14)\n"
            "for at in range(0, 1 << 30, 4096): shared[at] = 1"
        )


def test_who_obeys_memory_and_disk_lives(limited: Callable[..., Companion]) -> None:
    policy = Policy(extends="untrusted", memory="256MiB", disk="128MiB", trusted=False)
    companion = limited("memory.max", policy)
    companion.run(
        "held = bytearray(180 << 20)\nfor at in range(0, len(held), 4096): held[at] = 1\n"
        "with open('/tmp/full', 'wb') as file:\n    for _ in range(120): file.write(bytes(1 << 20))"
    )
    assert companion.run("len(held)") == 180 << 20


def test_files_that_are_read_do_not_count(limited: Callable[..., Companion], tmp_path: Path) -> None:
    companion = limited("memory.max", Policy(memory="128MiB"))
    stored = Path("/var/tmp") / f"isolate-{os.getpid()}"
    try:
        with stored.open("wb") as file:
            for _ in range(300):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert (
            companion.run(f"total = 0\nfor part in open({str(stored)!r}, 'rb'): total += len(part)\ntotal")
            == 300 * MIB
        )
    finally:
        stored.unlink()


@pytest.mark.parametrize("way", ["direct", "memfd"])
def test_what_was_copied_out_does_not_count(
    way: str, limited: Callable[..., Companion], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setenv("ISOLATE_MAGIC_COPIES", way)
    companion = limited("memory.max", Policy(memory="400MiB"))
    companion.run("import numpy\nlarge = numpy.ones(8 << 20)")
    copies = [byvalue(companion.pull("large")) for _ in range(8)]
    assert sum(copy.nbytes for copy in copies) == 512 * MIB
    assert companion.run("len(large)") == 8 << 20


def test_limits_change_while_it_runs(limited: Callable[..., Companion]) -> None:
    companion = limited("memory.max", Policy(memory="512MiB", threads=50))
    place = folder(companion.pid)
    assert (place / "pids.max").read_text() == "50\n"
    companion.change_policy(companion.policy.but(memory="256MiB", threads=40))
    until(lambda: (place / "pids.max").read_text() == "40\n")
    assert (place / "memory.max").read_text() == f"{272 * MIB}\n"


def test_forks_are_refused_at_the_limit_also_to_root(limited: Callable[..., Companion]) -> None:
    companion = limited("pids.max", Policy(threads=20))
    try:
        code = companion.run(
            "import os, time\nhow = 0\nfor _ in range(40):\n    try:\n        pid = os.fork()\n"
            "    except OSError as error:\n        how = error.errno\n        break\n"
            "    if not pid:\n        time.sleep(60)\nhow"
        )
    except LimitExceeded as error:  # the watchdog saw a thread of ours that was just ending
        assert error.report.kind == "threads"
        return
    assert code == errno.EAGAIN
