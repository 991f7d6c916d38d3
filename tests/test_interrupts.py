"""Interrupts and time limits: they reach the companion, and the channel stays in step."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import until

from isolate_magic import CellTimeout, Companion, ProcessTerminationError

DEAF = """\
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
libc = ctypes.CDLL(None)
def hang():
    while True: libc.sleep(100)
print("go")
hang()
"""


def interrupt_me() -> None:
    """Interrupt the main thread itself: a signal of this very process may go to the thread that sends it."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def when(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Act in another thread as soon as a condition holds."""

    def wait() -> None:
        until(condition)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def busy(companion: Companion) -> Callable[[], bool]:
    return lambda: companion.state == "busy" and running(companion)


def running(companion: Companion) -> bool:
    """Return whether the companion has taken up its request: it has printed so."""
    return "go" in companion.logs()


def test_ctrl_c_interrupts_the_cell_and_the_companion_lives(companion: Companion) -> None:
    companion.run("x = 5")
    pid = companion.pid
    thread = when(busy(companion), interrupt_me)
    with pytest.raises(KeyboardInterrupt):
        companion.run("import time\nprint('go')\nwhile True: time.sleep(0.01)")
    thread.join()
    assert companion.run("x") == 5
    assert companion.pid == pid


def test_a_cell_may_catch_the_interrupt_but_the_main_session_still_stops(companion: Companion) -> None:
    thread = when(busy(companion), interrupt_me)
    with pytest.raises(KeyboardInterrupt):
        companion.run(
            "import time\ncaught = False\ntry:\n    print('go')\n    while True: time.sleep(0.01)\n"
            "except KeyboardInterrupt: caught = True"
        )
    thread.join()
    assert companion.pull("caught") is True


def test_a_thousand_interrupts_leave_the_channel_in_step(companion: Companion) -> None:
    double = companion.run("def double(x): return 2 * x\ndouble")
    through = companion.run("def through(f, x): return f(x)\nthrough")
    pid = companion.pid
    chance = random.Random(7)
    armed, sent, seen, wrong = threading.Event(), 0, 0, []
    stop = False

    def strike() -> None:
        nonlocal sent
        while not stop:
            if not armed.wait(0.5):
                continue
            deadline = time.perf_counter() + chance.random() * 0.0025
            while time.perf_counter() < deadline:
                os.sched_yield()
            if armed.is_set():
                armed.clear()
                sent += 1
                interrupt_me()

    def add_one(x: int) -> int:
        return double(x) + 1  # type: ignore[no-any-return]

    def work(x: int) -> None:
        results = (
            double(x), through(add_one, x), companion.run(f"{x} + 1"),
            companion.run("f(y)", push={"f": add_one, "y": x}), companion.run(f"display({x}); {x}"),
        )  # fmt: skip
        if results != (2 * x, 2 * x + 1, x + 1, 2 * x + 1, x):
            wrong.append((x, results))

    helper = threading.Thread(target=strike, daemon=True)
    helper.start()
    number = 0
    try:
        while seen < 1000:
            number += 1
            try:
                armed.set()
                deadline = time.monotonic() + 3
                while sent == seen or not armed.is_set():
                    work(number)
                    assert time.monotonic() < deadline, f"interrupt {sent} went missing; {seen} were seen"
            except KeyboardInterrupt:
                seen += 1
    finally:
        armed.clear()
        stop = True
        helper.join()
    assert not wrong
    assert companion.pid == pid
    assert [double(x) for x in range(50)] == [2 * x for x in range(50)]
    assert companion.run("'in step'") == "in step"
    talk = companion._process.talk  # type: ignore[union-attr]
    assert not talk.slots
    assert not talk.desk.serving
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupt_kills_a_native_loop_that_is_deaf(companion: Companion) -> None:
    def twice() -> None:
        interrupt_me()
        until(lambda: companion._process.talk.hold.count == 1)  # type: ignore[union-attr]
        interrupt_me()

    thread = when(busy(companion), twice)
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(DEAF)
    thread.join()
    report = caught.value.report
    assert report.kind == "interrupt"
    assert "second interrupt" in report.reason
    assert [frame.function for frame in report.stack] == ["hang", "<module>"]
    assert report.stack[0].source == "while True: libc.sleep(100)"
    assert companion.run("1 + 1") == 2


def test_interrupt_from_another_thread_stops_the_cell_not_the_session(companion: Companion) -> None:
    thread = when(busy(companion), companion.interrupt)
    with pytest.raises(KeyboardInterrupt):
        companion.run("import time\nprint('go')\nwhile True: time.sleep(0.01)")
    thread.join()
    assert companion.interrupt() is False
    assert companion.run("1 + 1") == 2


def test_an_interrupt_of_a_thread_that_calls_reaches_its_call(companion: Companion) -> None:
    outcome: list[BaseException] = []

    def use() -> None:
        try:
            companion.run("import time\nprint('go')\nwhile True: time.sleep(0.01)")
        except KeyboardInterrupt as error:
            outcome.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    until(busy(companion))
    assert companion.interrupt() is True
    thread.join(10)
    assert len(outcome) == 1


def test_an_interrupt_in_a_callback_is_the_callbacks(companion: Companion) -> None:
    def callback() -> str:
        try:
            interrupt_me()
            until(lambda: False)
        except KeyboardInterrupt:
            return "caught here"
        return "missed"

    assert companion.run("f()", push={"f": callback}) == "caught here"


def test_an_interrupt_out_of_a_callback_goes_through_the_companion(companion: Companion) -> None:
    def callback() -> None:
        interrupt_me()
        until(lambda: False)

    with pytest.raises(KeyboardInterrupt):
        companion.run("try:\n    f()\nfinally:\n    passed = True", push={"f": callback})
    assert companion.pull("passed") is True


def test_a_late_interrupt_does_not_hit_the_next_request(companion: Companion) -> None:
    process = companion._process
    assert process is not None
    for _ in range(200):
        number = next(process.talk.numbers)
        process.talk.execute("a cell", ("1 + 1", 0, 0, True), number)
        process.interrupt(number)  # the reply has come already
        assert companion.run("sum(range(1000))") == 499500


def test_a_handler_of_the_users_own_is_called_and_kept(companion: Companion) -> None:
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        thread = when(busy(companion), interrupt_me)
        with pytest.raises(KeyboardInterrupt):  # the companion's own
            companion.run("import time\nprint('go')\nwhile True: time.sleep(0.01)")
        thread.join()
        assert calls == [1]
        assert companion.run("1 + 1") == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_alarm_handler_that_raises_leaves_the_channel_in_step(
    companion: Companion, tmp_path: Path
) -> None:
    running = tmp_path / "running"  # not output: what is raised while that is shown is the sink's own trouble

    def ring(*_: object) -> None:
        raise TimeoutError("the user's own alarm")

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        thread = when(running.exists, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises(TimeoutError, match="own alarm"):
            companion.run(f"import time\nopen({str(running)!r}, 'w').close()\nwhile True: time.sleep(0.01)")
        thread.join()
        pid = companion.pid
        assert companion.run("6 * 7") == 42
        assert companion.pid == pid
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_during_the_start_leaves_nothing_half_made() -> None:
    for _ in range(20):
        companion = Companion("starting")
        delay = random.random() * 0.02
        timer = threading.Timer(delay, interrupt_me)
        try:
            timer.start()
            companion.start()
            companion.run("1")
            until(lambda: False)
        except KeyboardInterrupt:
            pass
        timer.join()
        assert companion.run("1 + 1") == 2
        companion.close()


def test_a_cell_over_its_time_limit_is_interrupted_and_variables_live(companion: Companion) -> None:
    pid = companion.pid
    companion.run("kept = 'yes'")
    with pytest.raises(CellTimeout, match=r"after 0\.2 s"):
        companion.run("while True: pass", timeout=0.2)
    assert companion.run("kept") == "yes"
    assert companion.pid == pid


def test_a_native_hang_over_its_time_limit_is_killed(
    companion: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isolate_magic.timelimit.GRACE", 0.3)
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(DEAF, timeout=0.2)
    report = caught.value.report
    assert report.kind == "timeout"
    assert "time limit of 0.2 s" in report.reason
    assert [frame.function for frame in report.stack] == ["hang", "<module>"]
    assert companion.run("1 + 1") == 2


def test_a_time_limit_interrupts_its_own_cell_only(companion: Companion) -> None:
    nap = companion.run(
        "import time\ndef nap():\n    print('go')\n    time.sleep(0.6)\n    return 'slept'\nnap"
    )
    results = []
    thread = threading.Thread(target=lambda: results.append(nap()))
    thread.start()
    until(lambda: running(companion))
    with pytest.raises(CellTimeout):
        companion.run("while True: pass", timeout=0.2)
    thread.join()
    assert results == ["slept"]


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_time_limit_that_leaves_no_time_is_refused(companion: Companion, timeout: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        companion.run("1", timeout=timeout)


def test_an_interrupt_that_comes_before_the_companion_listens_is_not_lost() -> None:
    for delay in (0.0005, 0.001, 0.002, 0.003) * 5:
        with Companion("early") as companion, pytest.raises(CellTimeout):
            companion.run("import time; time.sleep(30)", timeout=delay)
        assert not companion.crashes
