"""How a companion ends that is stopped: in good order if it can, at once if it is at work, and always."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import until

from isolate_magic import Companion, Policy, ProcessTerminationError

ENDS = [Companion.stop, Companion.restart, Companion.close]


@pytest.mark.parametrize("end", ENDS)
def test_open_files_are_written(
    companion: Companion, tmp_path: Path, end: Callable[[Companion], object]
) -> None:
    companion.run(
        "import gzip, os, zipfile\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "text = open('text', 'w'); text.write('kept')\n"
        "raw = open('raw', 'w+b'); raw.write(b'kept')\n"
        "packed = gzip.open('packed.gz', 'wt'); packed.write('kept')\n"
        "archive = zipfile.ZipFile('archive.zip', 'w'); archive.writestr('name', 'kept')\n"
        "import types; module = types.ModuleType('m'); module.log = open('log', 'w'); module.log.write('kept')\n"
        "import sys; sys.modules['m'] = module\n"
        "loop = [open('loop', 'w')]; loop.append(loop); loop[0].write('kept'); del loop\n"
    )
    end(companion)
    for name in ("text", "raw", "log", "loop"):
        assert (tmp_path / name).read_text() == "kept"
    with gzip.open(tmp_path / "packed.gz", "rt") as packed:
        assert packed.read() == "kept"
    with zipfile.ZipFile(tmp_path / "archive.zip") as archive:
        assert archive.read("name") == b"kept"


@pytest.mark.parametrize("end", ENDS)
def test_what_was_registered_with_atexit_runs(
    companion: Companion, tmp_path: Path, end: Callable[[Companion], object]
) -> None:
    companion.run(
        f"import atexit, tempfile; place = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})\n"
        f"atexit.register(lambda: open({str(tmp_path / 'said')!r}, 'w').write(str(kept))); kept = 5"
    )
    end(companion)
    assert [path.name for path in tmp_path.iterdir()] == ["said"]
    assert (tmp_path / "said").read_text() == "5"


def test_the_library_of_c_cleans_up_as_well(companion: Companion, tmp_path: Path) -> None:
    file = tmp_path / "stdio"
    companion.run(
        "import ctypes; c = ctypes.CDLL(None); c.fopen.restype = ctypes.c_void_p\n"
        f"c.fputs(b'kept', ctypes.c_void_p(c.fopen({os.fsencode(file)!r}, b'w')))"
    )
    companion.stop()
    assert file.read_text() == "kept"


def test_a_thread_that_is_no_daemon_is_waited_for(companion: Companion, tmp_path: Path) -> None:
    companion.run(
        "import threading, time\n"
        f"def work(): time.sleep(0.3); open({str(tmp_path / 'done')!r}, 'w').close()\n"
        "threading.Thread(target=work).start()"
    )
    companion.stop()
    assert (tmp_path / "done").exists()


def test_its_last_words_are_shown_and_it_may_call_back(
    companion: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    companion.run("import atexit; atexit.register(say, 'bye')", push={"say": said.append})
    companion.run("atexit.register(print, 'last words')")
    companion.stop()
    assert said == ["bye"]
    assert capsys.readouterr().out == "last words\n"


@pytest.mark.parametrize(
    "code",
    [
        "import atexit, time; atexit.register(time.sleep, 1000)",
        "import atexit, ctypes; atexit.register(ctypes.string_at, 0)",
        "import atexit, os; atexit.register(os._exit, 3)",
        "import atexit, signal, os; atexit.register(os.kill, os.getpid(), signal.SIGKILL)",
        "import atexit; atexit.register(lambda: 1 / 0)",
        "import atexit; atexit.register(exit)",
        "import threading; threading.Thread(target=threading.Event().wait).start()",
        "import atexit, signal, threading; signal.signal(2, signal.SIG_IGN); atexit.register(threading.Event().wait)",
    ],
)
@pytest.mark.parametrize("policy", ["trusted", "untrusted"])
def test_whatever_it_does_at_its_end_it_ends_and_is_no_crash(code: str, policy: str) -> None:
    with Companion("stubborn", policy=policy) as companion:
        companion.run(code)
        pid, begun = companion.pid, time.monotonic()
        companion.stop()
        assert time.monotonic() - begun < 20
        assert companion.pid is None
        assert not os.path.exists(f"/proc/{pid}")
        assert not companion.crashes
        assert companion.run("1 + 1") == 2


@pytest.mark.parametrize("policy", ["trusted", "untrusted"])
@pytest.mark.parametrize("code", ["exit", "quit()", "print('bye'); exit()"])
def test_a_cell_that_says_exit_ends_it_in_good_order(code: str, policy: str, tmp_path: Path) -> None:
    writing = replace(Policy.of(policy), write=(str(tmp_path),)) if policy == "untrusted" else Policy()
    with Companion("leaver", policy=writing, snapshots="auto") as companion:
        companion.run(f"kept = 1; f = open({str(tmp_path / 'file')!r}, 'w'); f.write('kept')")
        assert companion.run(code) is None
        assert companion.pid is None
        assert (tmp_path / "file").read_text() == "kept"
        assert not companion.crashes
        assert companion.run("'kept' in globals()") is False


def test_an_exit_in_a_dry_run_ends_nothing_but_that(companion: Companion) -> None:
    companion.run("kept = 1")
    companion.run("exit", dry=True)
    assert companion.run("kept") == 1


def test_an_exit_in_a_callback_ends_the_call_around_it(companion: Companion) -> None:
    with pytest.raises(ProcessTerminationError, match="stopped"):
        companion.run("call()", push={"call": lambda: companion.run("exit")})
    assert companion.run("1 + 1") == 2


def test_one_that_is_at_work_is_ended_at_once(companion: Companion, tmp_path: Path) -> None:
    running = tmp_path / "running"
    deaths: list[str] = []

    def work() -> None:
        try:
            companion.run(f"import atexit; atexit.register(open({str(tmp_path / 'said')!r}, 'w').write, 'no')\n"
                          f"open({str(running)!r}, 'w').close()\nwhile True: pass")  # fmt: skip
        except ProcessTerminationError as error:
            deaths.append(error.report.kind)

    thread = threading.Thread(target=work)
    thread.start()
    until(running.exists, 30)
    companion.stop()
    thread.join(30)
    assert deaths == ["stop"]
    assert (tmp_path / "said").read_text() == ""


def test_a_killed_one_is_asked_nothing(companion: Companion, tmp_path: Path) -> None:
    companion.run(f"import atexit; atexit.register(open({str(tmp_path / 'said')!r}, 'w').close)")
    companion.run(f"f = open({str(tmp_path / 'file')!r}, 'w'); f.write('lost')")
    companion.kill()
    assert (tmp_path / "file").read_text() == ""


def test_no_snapshot_cleans_up_what_its_original_still_uses(tmp_path: Path) -> None:
    with Companion("original", snapshots="auto") as companion:
        companion.run(f"import atexit; atexit.register(open({str(tmp_path / 'ends')!r}, 'a').write, 'once ')")
        companion.snapshot("here")
        companion.run("1")
        companion.drop_snapshot("here")
        companion.run("2", dry=True)
        assert (tmp_path / "ends").read_text() == ""
        companion.kill()  # and goes on as it was before
        assert companion.run("3") == 3
    assert (tmp_path / "ends").read_text() == "once "


def test_the_end_of_the_session_is_in_good_order_too(tmp_path: Path) -> None:
    program = (
        "from isolate_magic import Companion\n"
        "for name in 'ab':\n"
        '    Companion(name).run(f\'f = open({name!r}, "w"); f.write("kept")\')\n'
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["kept", "kept"]


def test_many_that_do_not_want_to_leave_do_not_hold_up_the_end_of_the_session() -> None:
    program = (
        "import time\nfrom isolate_magic import Companion\n"
        "for number in range(8):\n"
        "    Companion(f'c{number}').run('import atexit, time; atexit.register(time.sleep, 1000)')\n"
        "print(time.monotonic(), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    assert time.monotonic() - float(done.stdout) < 12


def test_files_in_the_scratch_folder_of_the_untrusted_are_written(tmp_path: Path) -> None:
    with Companion("pupil", policy=replace(Policy.of("untrusted"), write=(str(tmp_path),))) as companion:
        companion.run(f"f = open({str(tmp_path / 'answer')!r}, 'w'); f.write('42')")
    assert (tmp_path / "answer").read_text() == "42"
