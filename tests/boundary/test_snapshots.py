"""A companion that is not trusted and lies about its snapshots: the host takes no harm and is not held up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import until

from isolate_magic import Companion, Policy, ProcessTerminationError, ProtocolError, SnapshotError, snapshot

# `lie` puts a function in the place of the fork; it gets the descriptors that a snapshot would have.
PRELUDE = """
import os, signal, socket, sys, time
from isolate_magic.child import snapshot
def lie(function): snapshot.Snapshots._fork = lambda self, ends: function(ends)
def say(end, packet, fds=()): socket.send_fds(socket.socket(fileno=os.dup(end)), [packet], list(fds))
"""


@pytest.fixture
def guest() -> Iterator[Companion]:
    with Companion("liar", snapshots="off") as companion:
        companion.run(PRELUDE)
        assert companion._process is not None
        companion._process.trusted = companion._process.box._trusted = False
        yield companion


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "source",
    [
        "lie(lambda ends: 5)",
        "lie(lambda ends: (say(ends[0], b'here'), 5)[1])",
        "lie(lambda ends: (say(ends[0], b'there'), 5)[1])",
        "lie(lambda ends: (say(ends[0], b'x' * 100_000), 5)[1])",
        "lie(lambda ends: (say(ends[0], b'here', [os.open('/dev/zero', 0)]), 5)[1])",
        "lie(lambda ends: object())",
        "lie(lambda ends: 2**63)",
        "lie(lambda ends: [5])",
    ],
)
def test_a_snapshot_that_is_none_ends_the_companion(
    guest: Companion, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_PATIENCE", 0.5)
    guest.run(source)
    before, begin = descriptors(), time.monotonic()
    with pytest.raises((ProtocolError, SnapshotError, ProcessTerminationError)):
        guest.snapshot("one")
    assert time.monotonic() - begin < 10
    assert guest.snapshots.all() == []
    assert guest.run("6 * 7") == 42
    until(lambda: descriptors() <= before)


def test_a_reason_of_its_own_cannot_act_on_a_terminal(guest: Companion) -> None:
    guest.run("lie(lambda ends: '\\x1b]0;owned\\x07' + 'x' * 10_000)")
    with pytest.raises(SnapshotError) as caught:
        guest.snapshot("one")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_another_process_of_its_own_may_pose_as_one_and_harms_only_itself(guest: Companion) -> None:
    guest.run(
        "def pose(ends):\n"
        "    if not os.fork():\n"
        "        say(ends[0], b'here'); time.sleep(0.1); say(ends[0], b'here'); time.sleep(100)\n"
        "    return 5\n"
        "lie(pose)"
    )
    mine = {child.pid for child in psutil.Process().children(recursive=True)}
    try:
        taken = guest.snapshot("one")
    except (SnapshotError, ProcessTerminationError):
        assert guest.run("1") == 1
        return
    assert taken.pid in mine | {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture
def walled() -> Iterator[Companion]:
    with Companion("walled", policy="untrusted", snapshots="auto") as companion:
        yield companion


def test_it_works_behind_a_wall(walled: Companion) -> None:
    walled.run("x = [1]")
    x = walled.pull("x")
    with pytest.raises(ProcessTerminationError) as caught:
        walled.run("x.append(2)\nimport os; os.kill(os.getpid(), 11)")
    assert caught.value.report.rewound
    assert caught.value.report.signal == "SIGSEGV"
    assert list(x) == [1]
    with pytest.raises(
        ProcessTerminationError
    ) as caught:  # that of one which has been woken is known as well
        walled.run("x.append(2)\nimport os; os._exit(5)")
    assert caught.value.report.exit_code == 5
    assert list(x) == [1]


def test_the_wall_stands_around_one_that_was_woken(walled: Companion) -> None:
    walled.run("x = 1")
    with pytest.raises(ProcessTerminationError):
        walled.run("import os; os._exit(5)")
    for source in (
        "open('/etc/shadow')",
        "import socket; socket.create_connection(('127.0.0.1', 22))",
        "import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
        "open('/root/new', 'w')",
    ):
        with pytest.raises((OSError, AssertionError)):
            walled.run(source)
    status = Path(f"/proc/{walled.pid}/status").read_text()
    assert "\nSeccomp:\t2" in status
    assert "\nNoNewPrivs:\t1" in status
    assert "\nCapEff:\t0000000000000000" in status


def test_what_a_dead_cell_has_started_is_gone_and_the_snapshot_is_not(walled: Companion) -> None:
    walled.run("x = 1")
    with pytest.raises(ProcessTerminationError) as caught:
        walled.run(
            "import os, time\n"
            "for _ in range(5):\n"
            "    if not os.fork():\n"
            "        os.setsid()\n"
            "        time.sleep(1000)\n"
            "os._exit(1)"
        )
    assert caught.value.report.rewound
    assert walled.run("x") == 1
    uid = os.stat(f"/proc/{walled.pid}").st_uid
    own = [process for process in psutil.process_iter(["uids", "name"]) if process.info["uids"].real == uid]
    if os.getuid() == 0:
        assert len([one for one in own if one.info["name"].startswith("isolate")]) <= 3


def test_limits_hold_for_one_that_was_woken(walled: Companion) -> None:
    walled.run("x = 1")
    for _ in range(2):
        with pytest.raises(ProcessTerminationError) as caught:
            walled.run(
                "import os, time\nfor _ in range(4):\n    if not os.fork(): x = b'x' * (500 << 20); time.sleep(100)\n"
                "time.sleep(100)"
            )
        assert caught.value.report.kind == "memory"
        assert caught.value.report.rewound
        with pytest.raises(ProcessTerminationError) as caught:
            walled.run("import os, time\nfor _ in range(100):\n    if not os.fork(): time.sleep(100)")
        assert caught.value.report.kind == "processes"
        assert caught.value.report.rewound
        assert walled.run("x") == 1


def test_snapshots_do_not_count_as_processes() -> None:
    policy = Policy(name="few", processes=3)
    with Companion("few", policy=policy, snapshots="auto") as companion:
        for number in range(4):
            companion.run(f"x = {number}")
            companion.snapshot(f"n{number}")
        companion.run(
            "import subprocess\nfor one in [subprocess.Popen(['sleep', '0.3']) for _ in range(2)]: one.wait()"
        )
        assert companion.crashes == []
        assert companion.snapshots.why_not == ""


def test_their_memory_counts_and_they_go_before_the_companion() -> None:
    policy = Policy(name="small", memory="600MiB")
    with Companion("small", policy=policy, snapshots="off") as companion:
        companion.run("x = bytearray(b'x' * (250 << 20))")
        pid = companion.pid
        companion.snapshot("one")
        companion.run("for at in range(0, len(x), 1 << 20): x[at : at + (1 << 20)] = b'y' * (1 << 20)")
        companion.run("more = bytearray(b'z' * (110 << 20))\nimport time; time.sleep(0.2)")
        assert companion.pid == pid
        assert companion.run("x[0], x[-1]") == (121, 121)


def test_the_limit_of_processor_time_is_not_given_back() -> None:
    with Companion("slow", policy=Policy(name="slow", cpu=0.5), snapshots="auto") as companion:
        companion.run("x = 1")
        with pytest.raises(ProcessTerminationError) as caught:
            companion.run("while True: pass")
        assert caught.value.report.kind == "cpu"
        assert not caught.value.report.rewound
        assert companion.run("1 + 1") == 2


def test_nothing_outlives_a_session_that_is_killed() -> None:
    code = (
        "import os, sys\nfrom isolate_magic import Companion\n"
        "c = Companion('c', policy='untrusted', snapshots='auto'); c.run('1'); c.snapshot('one')\n"
        "try: c.run('import os; os._exit(1)')\nexcept Exception: pass\n"
        "c.run('1')\n"
        "print(c.pid, *(one.pid for one in c.snapshots.all()), flush=True)\nos.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 3, ended.stderr
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_snapshot_that_is_killed_means_a_fresh_start(walled: Companion) -> None:
    walled.run("x = 1")
    walled.run("x")
    with pytest.raises(ProcessTerminationError) as caught:
        walled.run(
            "import os, signal\n"
            "me = os.getpid()\n"
            "for name in os.listdir('/proc'):\n"
            "    if name.isdigit() and int(name) not in (1, me):\n"
            "        try: os.kill(int(name), signal.SIGKILL)\n"
            "        except OSError: pass\n"
            "os.kill(me, signal.SIGKILL)"
        )
    assert caught.value.report.signal == signal.SIGKILL.name
    assert walled.run("6 * 7") == 42


def test_closing_right_behind_a_cell_leaves_no_supervisor() -> None:
    for _ in range(10):
        with Companion("hasty", policy="untrusted", snapshots="auto") as companion:
            companion.run("1")
            companion.run("2")  # the snapshot before it takes the place of another, which ends meanwhile
            assert companion._process is not None
            zygote = psutil.Process(companion._process.zygote.pid)
    until(lambda: not [one for one in zygote.children() if one.status() == psutil.STATUS_ZOMBIE])
