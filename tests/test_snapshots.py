"""Snapshots and the way back: what a crash leaves, what it costs, what nobody can make of them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic import (
    Companion,
    Policy,
    ProcessTerminationError,
    SnapshotError,
    StaleProxyError,
    StartError,
    TimeoutExceeded,
    isproxy,
    snapshots,
)

SEGFAULT = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def saved(request: pytest.FixtureRequest) -> Iterator[Companion]:
    """Give a companion that takes a snapshot before each cell."""
    with Companion(f"saved-{os.getpid()}", snapshots="auto") as made:
        yield made


def crash(companion: Companion, code: str = SEGFAULT) -> ProcessTerminationError:
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(code)
    return caught.value


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int, name: str) -> list[str]:
    """Return the processes of one companion below a zygote: itself and its snapshots, dead ones too."""
    found = subprocess.run(["ps", "-o", "comm=", "--ppid", str(pid)], capture_output=True, text=True)
    own = {f"isolate{sign}{name}"[:15] for sign in "-~"}
    return [line for line in found.stdout.splitlines() if line.removesuffix(" <defunct>") in own]


# ---------------------------------------------------------------- after a death


@pytest.mark.parametrize(
    "code",
    [
        SEGFAULT,
        "import os; os._exit(3)",
        "import os; os.abort()",
        "import os; os.kill(os.getpid(), 9)",
        "import os, signal; [os.close(fd) for fd in range(3, 12)]; print(1 / 0)",
    ],
)
def test_a_cell_that_kills_its_companion_costs_nothing_but_itself(saved: Companion, code: str) -> None:
    saved.run("x = [1]\ndef double(y): return 2 * y")
    x, double = saved.pull("x"), saved.pull("double")
    pid = saved.pid
    error = crash(saved, f"x.append(2)\nlost = 5\n{code}")
    assert error.report.rewound == "before a cell"
    assert saved.pid != pid
    assert saved.run("x") == [1]
    assert list(x) == [1]
    assert double(21) == 42
    with pytest.raises(NameError):
        saved.run("lost")


def test_the_error_says_where_it_led(saved: Companion) -> None:
    saved.run("x = 1")
    error = crash(saved)
    assert str(error).endswith("; rewound to before a cell")
    assert "rewound to before a cell: what was in it then is there again" in str(error.report)
    assert "Rewound to before a cell" in error.report._repr_html_()


def test_proxies_of_the_dead_cell_are_stale_and_say_so(saved: Companion) -> None:
    heard: list[Any] = []
    saved.run("x = [1]")
    with pytest.raises(ProcessTerminationError):
        saved.run(f"hear([5, object()])\n{SEGFAULT}", push={"hear": heard.append})
    with pytest.raises(StaleProxyError, match="when it was not there yet"):
        len(heard[0])


def test_what_was_lent_stays_lent_and_what_was_dropped_is_freed(saved: Companion) -> None:
    saved.run("class Thing: pass\nimport weakref\nkept, gone = Thing(), Thing()")
    kept, gone = saved.pull("kept"), saved.pull("gone")
    saved.run("watch = [weakref.ref(kept), weakref.ref(gone)]\ndel kept, gone")
    saved.run("pass")  # the snapshot holds both
    del gone
    crash(saved)
    assert saved.run("[ref() is not None for ref in watch]") == [True, False]
    del kept
    gc.collect()
    until(lambda: saved.run("[ref() is not None for ref in watch]") == [False, False])


def test_functions_of_this_session_can_be_called_after_it(saved: Companion) -> None:
    calls: list[int] = []
    saved.push({"hear": calls.append})
    saved.run("hear(1)")
    crash(saved, f"hear = None\nimport gc; gc.collect()\n{SEGFAULT}")
    saved.run("hear(2)")
    assert calls == [1, 2]


def test_modules_functions_and_classes_work_on(saved: Companion) -> None:
    json = saved.load_module("json")
    dumps = json.dumps
    fraction = saved.load_module("fractions").Fraction
    half = fraction(1, 2)
    crash(saved)
    assert json.dumps([1]) == dumps([1]) == "[1]"
    assert half + fraction(1, 2) == 1
    assert isinstance(half, fraction)


def test_a_module_that_the_dead_cell_loaded_is_loaded_again(saved: Companion) -> None:
    json = saved.load_module("json")
    saved.run("pass")
    crash(saved, f"import json.tool\n{SEGFAULT}")
    assert json.decoder.JSONDecoder().decode("[1]") == [1]


def test_random_numbers_go_on_as_if_nothing_had_happened(saved: Companion) -> None:
    saved.run("import random; random.seed(1); random.random()")
    expected = saved.run("[random.random() for _ in range(3)]", dry=True)
    crash(saved, f"random.random()\n{SEGFAULT}")
    assert saved.run("[random.random() for _ in range(3)]") == expected


def test_a_hanging_cell_that_is_killed_is_undone(saved: Companion) -> None:
    saved.run("x = 1")
    deaf = "import signal, ctypes\nx = 2\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\nwhile True: ctypes.CDLL(None).sleep(9)"
    with pytest.raises((TimeoutExceeded, ProcessTerminationError)) as caught:
        saved.run(deaf, timeout=0.3)
    assert caught.value.report.rewound
    assert saved.run("x") == 1


def test_a_death_while_idle_leads_to_after_the_last_cell(saved: Companion) -> None:
    saved.run("x = [1]")
    x = saved.pull("x")
    x.append(2)  # the first call after the cell, before which there is another snapshot
    assert saved.snapshots.all()[-1].moment == "after a cell"
    os.kill(saved.pid or 0, signal.SIGKILL)
    until(lambda: saved.snapshots.rewinds == 1)
    assert list(x) == [1]


def test_an_idle_death_is_told_at_the_next_use(saved: Companion, capsys: pytest.CaptureFixture[str]) -> None:
    saved.run("x = 1")
    saved.run("x")
    os.kill(saved.pid or 0, signal.SIGKILL)
    until(lambda: saved.snapshots.rewinds == 1)
    saved.run("x")
    assert "died while idle: SIGKILL (killed from outside); rewound to" in capsys.readouterr().err


def test_events_tell_of_it(saved: Companion) -> None:
    kinds: list[str] = []
    with saved.on("*", lambda event: kinds.append(event.kind)):
        crash(saved)
        until(lambda: "rewind" in kinds)
    assert kinds == ["crash", "rewind"]


def test_it_can_be_turned_off(saved: Companion) -> None:
    saved.run("x = 1")
    saved.snapshots.returns = False
    assert not crash(saved).report.rewound
    with pytest.raises(NameError):
        saved.run("x")


def test_after_a_crash_without_a_way_back_one_can_still_ask_for_it(saved: Companion) -> None:
    saved.run("x = 1")
    saved.snapshots.returns = False
    crash(saved, f"x = 2\n{SEGFAULT}")
    saved.rewind()
    assert saved.run("x") == 1


def test_many_crashes_in_a_row_lead_to_the_same_moment(
    saved: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.run("x = 1")
    saved.run("x")
    monkeypatch.setattr(snapshots, "CREDIT", -1.0)  # so that none is taken any more
    for _ in range(3):
        assert crash(saved, f"x = 2\n{SEGFAULT}").report.rewound
        assert saved.run("x") == 1


def test_what_the_dead_one_had_started_ends_with_it(saved: Companion) -> None:
    saved.run("import subprocess; child = subprocess.Popen(['sleep', '100'])")
    child = saved.run("child.pid")
    crash(saved)
    until(lambda: not os.path.exists(f"/proc/{child}") or "Z" in Path(f"/proc/{child}/stat").read_text())
    assert saved.run("child.wait()") == 0


# ---------------------------------------------------------------- by name


def test_one_can_go_back_to_a_name_again_and_again(companion: Companion) -> None:
    companion.run("x = [1]")
    x = companion.pull("x")
    companion.snapshot("one")
    for _ in range(3):
        companion.run("x.append(2)")
        assert len(x) == 2
        assert companion.rewind("one") == "snapshot 'one'"
        assert list(x) == [1]


def test_rewinding_is_no_crash(companion: Companion) -> None:
    companion.snapshot("one")
    companion.rewind("one")
    assert companion.crashes == []
    assert companion.state == "idle"


def test_the_newest_is_the_one_without_a_name_to_ask_for(companion: Companion) -> None:
    companion.run("x = 1")
    companion.snapshot("one")
    companion.run("x = 2")
    companion.snapshot("two")
    companion.run("x = 3")
    companion.rewind()
    assert companion.run("x") == 2


@pytest.mark.parametrize("name", ["", "a b", "x" * 61, None, 5])
def test_a_name_is_checked(companion: Companion, name: Any) -> None:
    with pytest.raises(ValueError, match="is no name for a snapshot"):
        companion.snapshot(name)


def test_what_is_not_there_is_said(companion: Companion) -> None:
    with pytest.raises(SnapshotError, match="has no snapshot$"):
        companion.rewind()
    companion.snapshot("one")
    with pytest.raises(SnapshotError, match="has no snapshot 'two'; it has one"):
        companion.rewind("two")
    companion.drop_snapshot("one")
    with pytest.raises(SnapshotError, match="it has none"):
        companion.drop_snapshot("one")


def test_their_number_is_bounded(companion: Companion) -> None:
    for number in range(snapshots.MOST):
        companion.snapshot(f"n{number}")
    with pytest.raises(SnapshotError, match="drop one of n0, n1"):
        companion.snapshot("more")
    companion.snapshot("n0")  # takes the place of the one before


@pytest.mark.parametrize("end", [Companion.stop, Companion.close, Companion.restart])
def test_they_vanish_with_their_companion(saved: Companion, end: Callable[[Companion], Any]) -> None:
    saved.run("x = 1")
    pids = [saved.snapshot("one").pid, *(one.pid for one in saved.snapshots.all())]
    end(saved)
    assert saved.snapshots.all() == []
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_they_vanish_with_the_session() -> None:
    code = (
        "from isolate_magic import Companion\nimport os\n"
        "c = Companion('c', snapshots='auto'); c.run('1'); c.snapshot('one')\n"
        "print(*(one.pid for one in c.snapshots.all()), flush=True)\nos.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pids = ended.stdout.split()
    assert len(pids) == 2, ended.stderr
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


# ---------------------------------------------------------------- dry runs


def test_a_dry_run_shows_what_would_be_and_changes_nothing(
    saved: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.run("x = [1]")
    pid, x = saved.pid, saved.pull("x")
    assert saved.run("x.append(2); print('seen', x); y = 5; len(x)", dry=True) == 2
    assert "seen [1, 2]" in capsys.readouterr().out
    assert list(x) == [1]
    assert saved.pid == pid
    with pytest.raises(NameError):
        saved.run("y")


def test_a_dry_run_takes_arguments_and_calls_back(companion: Companion) -> None:
    companion.run("x = [1]")
    x = companion.pull("x")
    assert (
        companion.run(
            "given.append(2); tell(len(given))", push={"given": x, "tell": lambda n: n * 10}, dry=True
        )
        == 20
    )
    assert list(x) == [1]


def test_an_object_of_a_dry_run_does_not_come_home(companion: Companion) -> None:
    assert companion.run("object()", dry=True) is None


def test_a_dry_run_that_crashes_says_so_and_nothing_is_lost(companion: Companion) -> None:
    companion.run("x = 1")
    pid = companion.pid
    with pytest.raises(ProcessTerminationError, match="SIGSEGV"):
        companion.run(SEGFAULT, dry=True)
    with pytest.raises(ProcessTerminationError, match="exit code 7"):
        companion.run("import os; os._exit(7)", dry=True)
    assert companion.run("x") == 1
    assert companion.pid == pid


def test_errors_of_a_dry_run_are_the_cells(companion: Companion) -> None:
    with pytest.raises(ZeroDivisionError):
        companion.run("1 / 0", dry=True)


def test_children_of_a_dry_run_end_with_it(companion: Companion) -> None:
    child = companion.run("import subprocess; subprocess.Popen(['sleep', '100']).pid", dry=True)
    until(lambda: not os.path.exists(f"/proc/{child}") or "Z" in Path(f"/proc/{child}/stat").read_text())


# ---------------------------------------------------------------- when there can be none


def test_a_thread_is_a_reason_that_is_told(saved: Companion) -> None:
    saved.run(
        "import threading; stop = threading.Event(); threading.Thread(target=stop.wait, name='mine').start()"
    )
    saved.run("x = 1")
    assert "mine" in saved.snapshots.why_not
    with pytest.raises(SnapshotError, match="mine"):
        saved.snapshot("one")
    saved.run("stop.set(); [t.join() for t in threading.enumerate() if t.name == 'mine']")
    saved.run("x")
    assert saved.snapshots.why_not == ""


def test_it_is_taken_right_after_the_processors_were_at_work(saved: Companion) -> None:
    """As *Run all* does: the threads of OpenBLAS spin for a tenth of a second where nobody tells them not to."""
    pytest.importorskip("numpy")
    saved.run("import numpy; a = numpy.ones((600, 600)); kept = 0")
    for _ in range(5):
        saved.run("a @ a; kept += 1")
    crash(saved)
    assert saved.run("kept") == 5


def test_where_one_process_is_allowed_there_is_none() -> None:
    policy = Policy(name="alone", processes=1)
    with Companion("alone", policy=policy, snapshots="auto") as made:
        made.run("x = 1")
        assert "allows one process" in made.snapshots.why_not
        with pytest.raises(SnapshotError, match="allows one process"):
            made.run("x", dry=True)


def test_a_call_within_a_call_takes_none(saved: Companion) -> None:
    f = saved.run("def f(g): return g()\nf")
    assert f(lambda: saved.run("1 + 1")) == 2
    with pytest.raises(SnapshotError, match="at work on something else"):
        f(lambda: saved.snapshot("inside"))


def test_where_memory_is_scarce_there_is_none(saved: Companion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots.tree, "held", lambda _pid: 1 << 60)
    saved.run("x = 1")
    assert "are free for what of it may change" in saved.snapshots.why_not


def test_it_backs_off_when_it_costs_too_much_of_the_time(
    saved: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.run("x = 1")
    taken = saved.snapshots.all()
    monkeypatch.setattr(saved.snapshots, "_credit", -1000.0)
    saved.run("x = 2")
    assert "more than 20% of the time" in saved.snapshots.why_not
    assert saved.snapshots.all() == taken
    assert crash(saved).report.rewound
    assert isproxy(saved.run("object()"))


@pytest.mark.parametrize("mode", ["on", "", 5])
def test_the_mode_is_checked(mode: Any) -> None:
    with pytest.raises(ValueError, match="snapshots are 'auto' or 'off'"):
        Companion("wrong", snapshots=mode)


# ---------------------------------------------------------------- nothing is left


def test_many_rounds_leave_nothing_behind(saved: Companion) -> None:
    kept = saved.run("kept = [0]\nkept")

    def rounds(count: int) -> None:
        for _ in range(count):
            assert crash(saved, f"kept.append(1)\n{SEGFAULT}").report.rewound

    def held() -> tuple[int, int, int, int]:
        assert saved._process is not None
        zygote = saved._process.zygote.pid
        until(lambda: len(children(zygote, saved.name)) <= 2)
        gc.collect()
        return (
            len(children(zygote, saved.name)),
            descriptors(os.getpid()),
            descriptors(zygote),
            descriptors(saved.pid or 0),
        )

    rounds(10)
    before, resident = held(), memory(os.getpid())
    rounds(60)
    assert held() == before
    assert memory(os.getpid()) - resident < 8 << 20
    assert list(kept) == [0]


def test_where_the_copy_cannot_be_made_the_snapshot_itself_goes_on(
    saved: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.run("x = 1")
    saved.run("x")
    monkeypatch.setattr(snapshots.Snapshot, "copy", _no_copy)
    assert crash(saved).report.rewound
    assert saved.run("x") == 1


def _no_copy(_self: Any, _name: str) -> Any:
    raise OSError("no process")


def test_a_snapshot_that_died_too_means_a_fresh_start(
    saved: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.run("x = 1")
    saved.run("x")
    for one in saved.snapshots.all():
        os.kill(one.pid, signal.SIGKILL)
    until(lambda: not saved.snapshots.all())
    assert not crash(saved, SEGFAULT).report.rewound or saved.run("1") == 1


def test_a_snapshot_that_cannot_be_adopted_leaves_nothing(
    saved: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved._process is not None
    zygote = saved._process.zygote
    monkeypatch.setattr(zygote, "adopt", _no_child)
    with pytest.raises(SnapshotError, match="no child"):
        saved.snapshot("one")
    before = descriptors(os.getpid())
    for _ in range(5):
        with pytest.raises(SnapshotError, match="no child"):
            saved.snapshot("one")
    assert descriptors(os.getpid()) == before
    monkeypatch.undo()
    assert saved.snapshot(
        "one"
    ).alive()  # and the zygote, which is asked again, collects those that have ended
    assert len(children(zygote.pid, saved.name)) == 2


def _no_child(_pid: int, _of: int = 0) -> None:
    raise StartError("no child")
