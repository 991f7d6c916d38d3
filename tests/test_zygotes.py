"""Zygotes: what they give their companions, what they keep from them, and how they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import until

from isolate_magic import Companion, ConfinementError, Policy, ProcessTerminationError, StartError


def zygote_pid(companion: Companion) -> int:
    process = companion._process
    assert process is not None
    return process.zygote.pid


def test_a_module_that_cannot_be_preloaded_is_a_start_error_that_names_it() -> None:
    companion = Companion("bad-preload", preload=["json", "no_such_module_at_all"])
    for _ in range(2):
        with pytest.raises(StartError, match="No module named 'no_such_module_at_all'"):
            companion.start()
    assert companion.state == "new"


def test_a_module_that_crashes_at_import_is_a_start_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashes_at_import.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(StartError, match="importing crashes_at_import"):
        Companion("crashes", preload=["crashes_at_import"]).start()


def test_preloaded_modules_are_there_at_once(companion: Companion) -> None:
    with Companion("preloaded", preload=["wave"]) as loaded:
        assert loaded.run("import sys; 'wave' in sys.modules") is True
    assert companion.run("import sys; 'wave' in sys.modules") is False


def test_a_killed_zygote_takes_its_companions_and_the_next_start_makes_a_new_one() -> None:
    with Companion("one", env={"Z": "1"}) as one, Companion("two", env={"Z": "1"}) as two:
        zygote = zygote_pid(one)
        assert zygote_pid(two) == zygote
        os.kill(zygote, signal.SIGKILL)
        until(lambda: (one.state, two.state) == ("dead", "dead"))
        for companion in (one, two):
            assert companion.crash is not None
            assert "zygote is gone" in companion.crash.reason
            assert companion.run("1 + 1") == 2
            assert zygote_pid(companion) != zygote
        assert not Path(f"/proc/{zygote}").exists()


def test_a_zygote_killed_under_a_cell_is_reported() -> None:
    with Companion("busy", env={"Z": "2"}) as companion:
        zygote = zygote_pid(companion)
        with pytest.raises(ProcessTerminationError, match="zygote is gone"):
            companion.run(
                "f(); import time; time.sleep(30)", push={"f": lambda: os.kill(zygote, signal.SIGKILL)}
            )
        assert companion.run("1 + 1") == 2


def test_a_zygote_that_died_between_two_lives_is_replaced() -> None:
    with Companion("stopped", env={"Z": "3"}) as companion:
        zygote = zygote_pid(companion)
        companion.stop()
        os.kill(zygote, signal.SIGKILL)
        until(lambda: " Z " in Path(f"/proc/{zygote}/stat").read_text())
        assert companion.run("1 + 1") == 2


def test_secrets_of_the_environment_reach_neither_zygote_nor_companion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-5471")
    with Companion("discreet", env={"WANTED": "yes"}) as companion:
        assert companion.run("import os; os.environ.get('AWS_SECRET_ACCESS_KEY')") is None
        assert companion.run("os.environ['WANTED']") == "yes"
        assert companion.run("os.environ['PATH']") == os.environ["PATH"]
        for pid in (companion.pid, zygote_pid(companion)):
            assert b"canary-5471" not in Path(f"/proc/{pid}/environ").read_bytes()
        found = companion.run(
            "import subprocess; subprocess.run(['env'], capture_output=True, text=True).stdout"
        )
        assert "canary-5471" not in found


def test_openblas_spins_for_as_long_as_its_user_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = "import os; os.environ['OPENBLAS_THREAD_TIMEOUT']"
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    with Companion("short") as companion:
        assert companion.run(ask) == "22"
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "26")
    with Companion("long") as companion:
        assert companion.run(ask) == "26"


def test_each_companion_draws_its_own_random_numbers() -> None:
    drawn = []
    code = "import random, numpy, uuid; (random.random(), float(numpy.random.rand()), str(uuid.uuid4()))"
    with Companion("dice", preload=["numpy"]) as companion:
        for _ in range(3):
            drawn.append(companion.run(code))
            companion.restart()
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 3


def test_folder_path_and_arguments_are_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lies_here.py").write_text("where = __file__")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["program", "--option"])
    with Companion("placed") as companion:
        assert companion.run("import os; os.getcwd()") == str(tmp_path)
        assert companion.run("import sys; tuple(sys.path)") == tuple(sys.path)
        assert companion.run("tuple(sys.argv)") == ("program", "--option")
        assert companion.run("import lies_here; lies_here.where") == str(tmp_path / "lies_here.py")


def test_a_folder_that_is_gone_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with Companion("nowhere") as companion:
        assert companion.run("1 + 1") == 2


def test_stdin_is_empty(companion: Companion) -> None:
    assert companion.run("import sys, os; sys.stdin.read() + os.read(0, 10).decode()") == ""


def test_only_the_descriptors_that_are_needed_are_open(companion: Companion) -> None:
    def kinds(pid: int | None) -> list[str]:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        return sorted(link.split(":")[0].removesuffix(" (deleted)") for link in links)

    extra = open("/dev/zero")  # noqa: SIM115
    os.set_inheritable(extra.fileno(), True)
    with extra, Companion("frugal", env={"Z": "4"}) as frugal:
        # /dev/null; stdout and stderr twice; channel, door; the words twice; the event loop's three.
        frugal.run("1")
        assert kinds(frugal.pid) == sorted(
            ["/dev/null", *["pipe"] * 4, *["socket"] * 4, *["/memfd"] * 2, "anon_inode"]
        )
        assert "/dev/zero" not in kinds(zygote_pid(frugal))


def test_the_programs_that_a_cell_starts_inherit_nothing_but_the_three_streams(companion: Companion) -> None:
    found = companion.run(
        "import subprocess as s; s.run('ls /proc/self/fd', shell=True, capture_output=True).stdout.decode()"
    )
    assert sorted(found.split()) == ["0", "1", "2", "3"]  # 3 is the folder that ls reads
    companion.run("import os; os.system('ls /proc/self/fd > /tmp/isolate-fds-$PPID')")
    listed = Path(f"/tmp/isolate-fds-{companion.pid}")
    assert sorted(listed.read_text().split()) == ["0", "1", "2", "3"]
    listed.unlink()


def test_a_session_with_many_descriptors_open_can_start_companions() -> None:
    code = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(1500)]
from isolate_magic import Companion
print(Companion("c").run("1 + 1"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_start_without_descriptors_left_leaks_none_and_says_why() -> None:
    code = """
import os, resource
from isolate_magic import Companion, StartError
c = Companion("c"); c.run("1"); c.stop()
before = len(os.listdir("/proc/self/fd"))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
failed = 0
for spare in range(0, 24):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + spare, hard))
    try: c.start(); c.stop()
    except StartError as error: failed += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    import gc; gc.collect()
    now = len(os.listdir("/proc/self/fd"))
    assert now == before, (spare, before, now)
assert failed > 5
assert not os.popen(f"ps -o stat= --ppid {c._process.zygote.pid}").read().count("Z")
print(c.run("1 + 1"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "2\n", done.stderr


def test_a_module_beside_the_script_can_be_preloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_script.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Companion("beside", preload=["beside_the_script"]) as companion:
        assert companion.run("import sys; 'beside_the_script' in sys.modules")


def test_a_start_that_is_refused_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", "L")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    refused = Companion("refused", policy=Policy(extends="untrusted", read=[str(closed)]))
    me = psutil.Process()
    for _ in range(3):
        with pytest.raises(ConfinementError):
            refused.start()
        assert [one for one in me.children(recursive=True) if one.status() == psutil.STATUS_ZOMBIE] == []
    refused.close()


def test_the_answer_to_a_question_that_was_interrupted_is_nobody_elses(companion: Companion) -> None:
    zygote = companion._process.zygote  # type: ignore[union-attr]
    zygote._control.send(b'{"do": "reap", "pid": 1, "number": 0}')  # whose answer nobody has waited for
    companion.restart()
    assert companion.run("6 * 7") == 42
