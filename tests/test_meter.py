"""The numbers of a companion: those of psutil, summed from outside over all of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from boundary.conftest import start

from isolate_magic import Companion, Policy
from isolate_magic.meter import FULL

POLICIES = {
    "": Policy(),
    "L": Policy(extends="untrusted", processes=8, memory="2GiB"),
    "N": Policy(extends="untrusted", processes=8, memory="2GiB"),
}
FAMILY = """
import os, time

def work(size):
    body = bytearray(os.urandom(1 << 20) * size)  # pages of its own
    begin = time.process_time()
    while time.process_time() - begin < 0.3:
        body[0] ^= 1
    with open(os.devnull, "wb", buffering=0) as sink:
        sink.write(body)
    return body

def fork(function):
    if not os.fork():
        held = function()
        os.write(said, b".")
        os.read(wait, 1)  # for ever: nobody writes
        os._exit(0)

heard, said = os.pipe()
wait, kept_open = os.pipe()
here = work(64)
fork(lambda: work(48))
fork(lambda: fork(lambda: work(24)))
brief = os.fork()
if not brief:
    work(8)
    os._exit(0)
os.waitpid(brief, 0)
for _ in range(3):
    os.read(heard, 1)
"""


@pytest.fixture(scope="module", params=list(POLICIES), ids=lambda tier: tier or "unconfined")
def family(request: pytest.FixtureRequest) -> Iterator[Companion]:
    """Give a companion of four processes, which have worked and now wait."""
    tier = str(request.param)
    made = start("family", tier, POLICIES[tier])
    made.run(FAMILY)
    yield made
    made.close()


def outside(companion: Companion) -> dict[str, Any]:
    """Measure a companion as anybody can who knows its process id."""
    first = psutil.Process(companion.pid)
    tree = [first, *first.children(recursive=True)]
    infos, times, counters = (
        [one.memory_full_info() for one in tree], [one.cpu_times() for one in tree],
        [one.io_counters() for one in tree],
    )  # fmt: skip
    return {
        "rss": sum(info.rss for info in infos),
        "uss": sum(info.uss for info in infos),
        "pss": sum(info.pss for info in infos),
        "cpu": sum(sum(each[:4]) for each in times),
        "processes": len(tree),
        "threads": sum(one.num_threads() for one in tree),
        "open_files": sum(one.num_fds() for one in tree),
        "io": {
            name: sum(getattr(each, name) for each in counters)
            for name in ("read_bytes", "write_bytes", "read_chars", "write_chars")
        },
    }


@pytest.mark.parametrize("name", ["rss", "uss", "cpu"])
def test_sizes_and_times_are_those_of_psutil(family: Companion, name: str) -> None:
    assert family.stats[name] == pytest.approx(outside(family)[name], rel=0.05)


def test_the_whole_family_is_in_the_numbers(family: Companion) -> None:
    stats = family.stats
    assert stats["processes"] == 4
    assert stats["rss"] > stats["uss"] > (48 + 24) << 20  # the first 64 MiB they share
    assert stats["cpu"] > 4 * 0.28  # also of the one that has ended


@pytest.mark.parametrize("name", ["processes", "threads", "open_files"])
def test_counts_are_those_of_psutil(family: Companion, name: str) -> None:
    assert family.stats[name] == outside(family)[name]


def test_what_was_read_and_written_is_what_psutil_says(family: Companion) -> None:
    ours, theirs = family.stats["io"], outside(family)["io"]
    for name in ("read_bytes", "write_bytes", "read_chars", "write_chars"):
        assert getattr(ours, name) == pytest.approx(theirs[name], rel=0.05, abs=4096), name
    assert ours.write_chars > (64 + 48 + 24 + 8) << 20


def test_memory_is_what_the_limit_counts(family: Companion) -> None:
    stats = family.stats
    assert stats["limit"] == family.policy.memory
    assert stats["uss"] - (20 << 20) < stats["memory"] < stats["rss"]


def test_the_peak_stays_when_memory_is_given_back(companion: Companion) -> None:
    companion.run("body = bytearray(200 << 20)")
    companion.run("del body")
    stats = companion.stats
    assert stats["peak"] > 200 << 20 > stats["rss"]
    assert stats["peak"] == pytest.approx(mark(companion.pid), rel=0.05)


def mark(pid: int | None) -> int:
    """Return the most that a process ever had resident, as the kernel tells."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def test_the_peak_of_a_family_is_at_least_what_was_seen_of_all(companion: Companion) -> None:
    companion.run(FAMILY)
    seen = companion.stats["rss"]
    companion.run("import signal\nos.kill(os.getpid(), 0)\nos.write(kept_open, b'...')\nos.wait(), os.wait()")
    assert companion.stats["rss"] < seen <= companion.stats["peak"]


def test_writing_to_the_disk_is_counted(companion: Companion, tmp_path: Any) -> None:
    before = companion.stats["io"].write_bytes
    companion.run(
        f"import os\nwith open({str(tmp_path / 'large')!r}, 'wb') as file:\n"
        "    file.write(bytes(8 << 20))\n    os.fsync(file)"
    )
    outer = psutil.Process(companion.pid).io_counters().write_bytes
    assert companion.stats["io"].write_bytes == outer
    assert outer - before >= 8 << 20


def test_near_the_limit_pages_that_forks_share_count_once() -> None:
    with Companion("sharing", policy=Policy(memory="400MiB", processes=8)) as companion:
        companion.run("body = bytearray(250 << 20)")
        companion.run("import os\nwait, kept_open = os.pipe()\nif not os.fork():\n    os.read(wait, 1)")
        stats = companion.stats
        assert stats["processes"] == 2
        assert stats["rss"] > 500 << 20
        assert 250 << 20 < stats["memory"] < 350 << 20


def test_every_request_counts_as_a_call(companion: Companion) -> None:
    before = companion.stats["calls"]
    for _ in range(10):
        companion.call(os.getpid)
    assert companion.stats["calls"] == before + 10


def test_without_a_process_there_are_no_numbers() -> None:
    companion = Companion("unborn")
    stats = companion.stats
    assert [stats[name] for name in FULL] == [None] * len(FULL)
    assert (stats["pid"], stats["state"], stats["restarts"]) == (None, "new", 0)
    companion.close()


@pytest.mark.parametrize(
    ("options", "tiers"), [([], "L"), (["--user"], "(L or N)")], ids=["root", "ordinary user"]
)
def test_the_numbers_are_right_for_other_users_too(options: list[str], tiers: str) -> None:
    if os.environ.get("ISOLATE_MAGIC_TESTS_EVERYWHERE") or os.geteuid():
        pytest.skip("this is that run, or only root can become others")
    tests = Path(__file__).parent
    done = subprocess.run(
        [str(tests / "boundary" / "readable"), *options, sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
         str(tests / "test_meter.py"), "-k", f"psutil and {tiers}"],
        env=os.environ | {"ISOLATE_MAGIC_TESTS_EVERYWHERE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, cwd=tests.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout
