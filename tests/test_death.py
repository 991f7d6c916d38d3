"""A companion dies, in every way and at every moment: what the main session sees of it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from isolate_magic import Companion, ProcessTerminationError, StaleProxyError, byvalue, output

DEATHS: dict[str, tuple[str, str, int | None]] = {
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": ("signal", "SIGKILL", None),
    "import ctypes; ctypes.string_at(0)": ("signal", "SIGSEGV", None),
    "import os; os.abort()": ("signal", "SIGABRT", None),
    "import os; os._exit(3)": ("exit", "", 3),
    "import faulthandler; faulthandler._stack_overflow()": ("signal", "SIGSEGV", None),
}
NAMES = ["SIGKILL", "SIGSEGV", "SIGABRT", "os._exit", "stack overflow"]
ways = pytest.mark.parametrize(("code", "expected"), DEATHS.items(), ids=NAMES)


class Record:
    """Remember what was shown."""

    def __init__(self) -> None:
        self.streams: dict[str, str] = {"stdout": "", "stderr": ""}

    def stream(self, name: str, text: str) -> None:
        self.streams[name] += text

    def message(self, kind: str, content: dict[str, Any]) -> None:
        pass


@pytest.fixture
def shown() -> Iterator[Record]:
    """Record what companions show."""
    record = Record()
    before = output.use(record)
    yield record
    output.use(before)


def children() -> list[int]:
    """Return the processes that this one or its zygotes have started and nobody has collected."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) in {os.getpid(), *zygotes()}:
            found.append(int(pid))
    return found


def zygotes() -> list[int]:
    from isolate_magic import spawner

    return [zygote.pid for zygote in spawner._zygotes.values()]


def check_after(companion: Companion, shown: Record, old: int, expected: tuple[str, str, int | None]) -> None:
    """Check all that holds after any death."""
    report = companion.crash
    assert report is not None
    assert (report.kind, report.signal, report.exit_code) == expected
    assert report.pid == old
    assert report.peak_memory is not None
    assert report.peak_memory > 1 << 20
    assert companion.state == "dead"
    assert companion.pid is None
    assert not Path(f"/proc/{old}").exists()
    assert not children()
    assert companion.run("2 + 2") == 4
    assert companion.pid not in (None, old)
    assert f"Started a new one (pid {companion.pid})" in shown.streams["stderr"]


@ways
def test_death_in_a_cell_is_reported_and_the_next_cell_runs(
    companion: Companion, shown: Record, code: str, expected: tuple[str, str, int | None]
) -> None:
    mine = {"kept": [1, 2, 3]}
    module = companion.load_module("json")
    other = companion.run("class C: pass\nC()")
    old = companion.pid
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(f"import sys; print('last words', file=sys.stderr)\n{code}")
    report = caught.value.report
    assert report.during == "a cell"
    assert "last words" in report.stderr
    assert report is companion.crash
    assert old is not None
    check_after(companion, shown, old, expected)
    assert mine == {"kept": [1, 2, 3]}
    assert module.dumps([1]) == "[1]"
    with pytest.raises(StaleProxyError, match=r"C object is gone: companion .* died in a cell: "):
        other.__repr__.__self__.x


@pytest.mark.parametrize("code", ["import ctypes; ctypes.string_at(0)", "import os; os.abort()"])
def test_the_report_has_the_python_stack_with_the_line_of_the_cell(companion: Companion, code: str) -> None:
    companion.run("1 + 1")
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(f"# one\ndef deep():\n    {code}\n\ndeep()")
    frames = [(frame.function, frame.line, frame.source) for frame in caught.value.report.stack]
    assert ("deep", 3, code) in frames
    assert frames[-1] == ("<module>", 5, "deep()")
    assert code in str(caught.value.report)
    assert code.replace("'", "&#x27;") in caught.value.report._repr_html_()


@ways
def test_death_in_a_call_is_reported(
    companion: Companion, shown: Record, code: str, expected: tuple[str, str, int | None]
) -> None:
    function = companion.run(f"def fatal():\n    exec({code!r}, {{}})\nfatal")
    old = companion.pid
    with pytest.raises(ProcessTerminationError) as caught:
        function()
    assert caught.value.report.during == "__main__.fatal()"
    assert old is not None
    check_after(companion, shown, old, expected)
    with pytest.raises(StaleProxyError, match="__main__.fatal"):
        function()


@ways
def test_death_under_a_running_callback_is_reported(
    companion: Companion, shown: Record, code: str, expected: tuple[str, str, int | None]
) -> None:
    old = companion.pid
    assert old is not None
    lived: list[str] = []

    def kill() -> str:
        try:
            companion.run(code)
        except ProcessTerminationError as error:
            lived.append(error.report.during)
        return "too late"

    with pytest.raises(ProcessTerminationError) as caught:
        companion.run("f()", push={"f": kill})
    assert caught.value.report is companion.crash
    assert lived == ["a cell"]
    check_after(companion, shown, old, expected)


def test_a_kill_from_outside_during_a_callback_ends_the_call(companion: Companion, shown: Record) -> None:
    old = companion.pid
    assert old is not None
    done = threading.Event()

    def kill() -> None:
        os.kill(old, signal.SIGKILL)
        done.wait(0.05)

    with pytest.raises(ProcessTerminationError):
        companion.run("f()", push={"f": kill})
    check_after(companion, shown, old, ("signal", "SIGKILL", None))


def test_death_while_idle_is_noticed_at_once(companion: Companion, shown: Record) -> None:
    old = companion.pid
    assert old is not None
    thing = companion.run("object()")
    os.kill(old, signal.SIGSEGV)
    until(lambda: companion.state == "dead", 1)
    assert companion.crash is not None
    assert companion.crash.during == ""
    with pytest.raises(StaleProxyError, match="died while idle: SIGSEGV"):
        thing.x
    check_after(companion, shown, old, ("signal", "SIGSEGV", None))


def test_a_timer_of_its_own_kills_an_idle_companion_and_it_is_noticed(companion: Companion) -> None:
    companion.run("import signal; signal.signal(signal.SIGALRM, signal.SIG_DFL); signal.alarm(1)")
    until(lambda: companion.state == "dead", 5)
    assert companion.crash is not None
    assert companion.crash.signal == "SIGALRM"


ENCODING = {
    "property": "class P(BaseException):\n    @property\n    def args(self): {}\nraise P()",
    "str": "class P(Exception):\n    def __str__(self): {}\nraise P()",
    "repr in the traceback": "class P(Exception):\n    def __str__(self): {}\n1/0 if 0 else None\nraise P",
}


@pytest.mark.parametrize("source", ENCODING.values(), ids=ENCODING)
@pytest.mark.parametrize("death", ["import os; os._exit(3)", "import ctypes; ctypes.string_at(0)"])
def test_death_while_the_reply_is_written_is_reported(companion: Companion, source: str, death: str) -> None:
    fatal = f"exec({death!r}, {{}})"
    with pytest.raises(ProcessTerminationError):
        companion.run(source.format(fatal))
    assert companion.run("1 + 1") == 2


@pytest.mark.parametrize("what", ["__reduce__", "__getstate__"])
def test_death_while_a_copy_is_made_is_reported(companion: Companion, what: str) -> None:
    thing = companion.run(f"import os\nclass P:\n    def {what}(self): os._exit(5)\nP()")
    with pytest.raises(ProcessTerminationError) as caught:
        byvalue(thing)
    assert caught.value.report.exit_code == 5
    assert caught.value.report.during == "a copy"


@pytest.mark.parametrize("copies", ["direct", "memfd"])
def test_death_during_a_large_fetch_is_a_plain_death(monkeypatch: pytest.MonkeyPatch, copies: str) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_COPIES", copies)
    with Companion(f"fetch-{copies}", env={"COPIES": copies}) as companion:
        for delay in (0.0, 0.01, 0.03, 0.06):
            thing = companion.run("bytearray(50_000_000)")
            pid = companion.pid
            assert pid is not None
            timer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
            timer.start()
            try:
                byvalue(thing)
            except (ProcessTerminationError, StaleProxyError):
                pass
            timer.join()
            until(lambda: companion.state == "dead")
            assert companion.crash is not None
            assert (companion.crash.kind, companion.crash.signal) == ("signal", "SIGKILL")
            assert companion.run("1 + 1") == 2


def test_every_waiting_thread_gets_the_error(companion: Companion) -> None:
    function = companion.run("import time\ndef nap(): time.sleep(60)\nnap")
    errors: list[BaseException] = []

    def use() -> None:
        try:
            function()
        except ProcessTerminationError as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: len(companion._process.talk.slots) == 8)  # type: ignore[union-attr]
    assert companion.pid is not None
    os.kill(companion.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(errors) == 8
    assert {error.report.during for error in errors} == {"__main__.nap()"}  # type: ignore[attr-defined]


def test_sys_exit_and_exit_end_as_python_says(companion: Companion) -> None:
    from isolate_magic import CompanionExit

    old = companion.pid
    with pytest.raises(CompanionExit):
        companion.run("import sys; sys.exit(4)")
    assert companion.pid == old


def test_what_a_dead_companion_has_started_dies_with_it(companion: Companion) -> None:
    pid = companion.run("import subprocess; child = subprocess.Popen(['sleep', '100']); child.pid")
    with pytest.raises(ProcessTerminationError):
        companion.run("import os; os._exit(1)")
    until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())


def test_a_process_left_behind_that_writes_for_ever_holds_nothing_up(
    companion: Companion, shown: Record
) -> None:
    code = """
    import subprocess
    child = subprocess.Popen(["yes"], start_new_session=True)
    import time; time.sleep(0.1)
    child.pid
    """
    import textwrap

    pid = companion.run(textwrap.dedent(code))
    try:
        with pytest.raises(ProcessTerminationError):
            companion.run("import os; os._exit(1)")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert companion.run("3") == 3


def descriptors(pid: int | str = "self") -> list[str]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0])
        except FileNotFoundError:  # the one that lists the folder
            continue
    return sorted(found)


def test_200_restarts_leak_no_descriptor_no_thread_and_no_zombie(companion: Companion) -> None:
    def cycle(number: int) -> None:
        companion.run("1 + 1")
        if number % 4 == 0:
            with pytest.raises(ProcessTerminationError):
                companion.run("import os; os._exit(1)")
        elif number % 4 == 1:
            assert companion.pid is not None
            os.kill(companion.pid, signal.SIGKILL)
            until(lambda: companion.state == "dead")
        else:
            companion.restart()

    for number in range(4):
        cycle(number)
    companion.run("1")
    (zygote,) = {companion._process.zygote.pid}  # type: ignore[union-attr]
    before = descriptors(), descriptors(zygote), threading.active_count()
    for number in range(200):
        cycle(number)
    companion.run("1")
    assert (descriptors(), descriptors(zygote), threading.active_count()) == before
    assert not children()


def test_a_script_that_ends_leaves_no_process() -> None:
    code = "from isolate_magic import Companion; c = Companion('x'); print(c.run('import os; os.getpid()'))"
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_a_sink_that_fails_costs_no_companion(companion: Companion) -> None:
    class Broken:
        def stream(self, name: str, text: str) -> None:
            raise ValueError("no room")

        message: Callable[..., None] = stream

    pid = companion.pid
    assert companion.run("print('x'); display('y'); 5", sink=Broken()) == 5
    assert companion.pid == pid
