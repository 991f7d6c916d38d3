"""Cells in the background: `companion.submit` and its handle."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import pytest
from waiting import until

from isolate_magic import Companion, ProcessTerminationError

SLOW = "import time\nprint('go', flush=True)\nwhile not globals().get('enough'): time.sleep(0.01)\n'done'"
DEAF = """\
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("go", flush=True)
while True: ctypes.CDLL(None).sleep(100)
"""

LINE = "interrupt sent to companion {!r}; it has not stopped yet: interrupt again to kill it"


class Kept:
    """Keep what is shown."""

    def __init__(self) -> None:
        self.text = ""

    def stream(self, name: str, text: str) -> None:
        self.text += text

    def message(self, kind: str, content: dict[str, Any]) -> None:
        self.text += f"<{kind}>"


def started(companion: Companion, source: str = SLOW, sink: Kept | None = None) -> tuple[Any, Kept]:
    """Start a cell in the background and wait until it has said `go`."""
    kept = sink or Kept()
    handle = companion.submit(source, sink=kept)
    until(lambda: "go" in kept.text)
    return handle, kept


def test_a_cell_runs_while_this_session_goes_on(companion: Companion) -> None:
    handle, _ = started(companion)
    assert handle.running()
    assert not handle.done()
    assert "running since" in repr(handle)
    handle.cancel()


def test_the_handle_gives_the_value_and_says_done(companion: Companion) -> None:
    handle = companion.submit("6 * 7")
    assert handle.result(10) == 42
    assert handle.exception() is None
    assert "done in" in repr(handle)
    assert "done" in handle._repr_html_()


def test_an_error_is_the_handles_and_of_its_own_class(companion: Companion) -> None:
    handle = companion.submit("{}['key']")
    assert isinstance(handle.exception(10), KeyError)
    with pytest.raises(KeyError, match="key"):
        handle.result()
    assert "failed after" in repr(handle)
    assert "KeyError" in repr(handle)


def test_a_text_of_the_companions_does_nothing_in_the_html(companion: Companion) -> None:
    handle = companion.submit("raise ValueError('<script>alert(1)</script>')")
    handle.exception(10)
    assert "<script>" not in handle._repr_html_()


def test_a_crash_fails_the_handle(companion: Companion) -> None:
    handle = companion.submit("import os; os.abort()")
    error = handle.exception(10)
    assert isinstance(error, ProcessTerminationError)
    assert error.report.signal == "SIGABRT"
    assert companion.run("1") == 1


def test_cells_run_one_after_the_other(companion: Companion) -> None:
    handles = [companion.submit(f"seen = globals().get('seen', []) + [{n}]\nseen[-1]") for n in range(5)]
    assert [handle.result(10) for handle in handles] == [0, 1, 2, 3, 4]
    assert list(companion.pull("seen")) == [0, 1, 2, 3, 4]


def test_what_the_main_thread_asks_for_waits_until_the_cell_has_ended(companion: Companion) -> None:
    handle = companion.submit("import time\ntime.sleep(0.3)\nx = 5")
    assert companion.run("x") == 5
    assert handle.done()
    companion.submit("import time\ntime.sleep(0.3)\nx = [6]")
    assert companion.pull("x")[0] == 6


def test_output_goes_to_the_cell_that_wrote_it(
    companion: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    of_background, of_foreground = Kept(), Kept()
    handle = companion.submit("import time\nprint('a')\ntime.sleep(0.2)\nprint('b')", sink=of_background)
    companion.run("print('c')", sink=of_foreground)
    handle.result()
    assert of_background.text == "a\nb\n"
    assert of_foreground.text == "c\n"
    companion.run("print('d')")
    assert capsys.readouterr().out == "d\n"


def test_output_of_a_call_from_another_thread_is_not_the_cells(
    companion: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    say = companion.run("def say(): print('called', flush=True)\nsay")
    kept = Kept()
    handle = companion.submit("import time\nprint('cell')\ntime.sleep(0.2)", sink=kept)
    until(lambda: "cell" in kept.text)
    thread = threading.Thread(target=say)
    thread.start()
    handle.result(10)
    thread.join(10)
    assert kept.text == "cell\n"
    assert "called" in capsys.readouterr().out


def test_cancel_interrupts_a_cell_that_runs(companion: Companion) -> None:
    companion.run("kept = 7")
    handle, _ = started(companion)
    assert handle.cancel()
    with pytest.raises(futures.CancelledError):
        handle.result(10)
    assert handle.cancelled()
    assert "interrupted after" in repr(handle)
    assert companion.run("kept") == 7


def test_cancel_keeps_a_cell_that_waits_from_ever_running(companion: Companion) -> None:
    first, _ = started(companion)
    second = companion.submit("ran = True")
    assert "waits for cell" in repr(second)
    assert second.cancel()
    assert second.done()
    first.cancel()
    futures.wait([first, second], 10)
    with pytest.raises(NameError):
        companion.pull("ran")


def test_cancel_of_what_is_done_changes_nothing(companion: Companion) -> None:
    handle = companion.submit("1")
    handle.result(10)
    assert not handle.cancel()
    assert handle.result() == 1


def test_kill_ends_a_cell_that_takes_no_interrupt_and_tells_where_it_was(companion: Companion) -> None:
    handle, _ = started(companion, DEAF)
    assert handle.cancel()
    companion.kill()
    error = handle.exception(10)
    assert isinstance(error, ProcessTerminationError)
    assert error.report.kind == "kill"
    assert [frame.line for frame in error.report.stack][:1] == [4]


def test_callbacks_and_the_functions_of_concurrent_futures_work(companion: Companion) -> None:
    heard: list[Any] = []
    handles = [companion.submit("1"), companion.submit("2")]
    for handle in handles:
        handle.add_done_callback(heard.append)
    assert {handle.result() for handle in futures.as_completed(handles, 10)} == {1, 2}
    until(lambda: heard == handles)


def test_a_result_can_be_waited_for_so_long(companion: Companion) -> None:
    handle, _ = started(companion)
    with pytest.raises(futures.TimeoutError):
        handle.result(0.05)
    assert handle.running()
    handle.cancel()


def test_it_can_be_awaited(companion: Companion) -> None:
    async def main() -> Any:
        return await companion.submit("6 * 7")

    assert asyncio.run(main()) == 42


def test_cancelling_who_awaits_it_interrupts_the_cell(companion: Companion) -> None:
    async def main() -> bool:
        handle = companion.submit(SLOW, sink=Kept())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(handle, 0.3)
        return bool(handle.cancelled() or await asyncio.to_thread(futures.wait, [handle], 10))

    assert asyncio.run(main())


def test_names_and_a_time_limit_go_along(companion: Companion) -> None:
    assert companion.submit("x + 1", push={"x": 1}).result(10) == 2
    error = companion.submit("while True: pass", timeout=0.2).exception(10)
    assert isinstance(error, TimeoutError)


def test_callbacks_of_this_session_can_be_called_from_the_background(companion: Companion) -> None:
    seen: list[int] = []

    def hear(number: int) -> int:
        seen.append(number)
        return companion.run(f"{number} + 1")  # type: ignore[no-any-return]

    assert companion.submit("hear(4)", push={"hear": hear}).result(10) == 5
    assert seen == [4]


def test_an_interrupt_ends_the_wait_for_a_background_cell_and_not_the_cell(
    companion: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    handle, _ = started(companion)
    heard = threading.Event()

    def strike() -> None:
        until(lambda: "an interrupt ends this wait only" in capsys.readouterr().err)
        heard.set()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    striking = threading.Thread(target=strike)
    striking.start()
    with pytest.raises(KeyboardInterrupt):
        companion.run("1")
    striking.join(10)
    assert heard.is_set()
    assert handle.running()
    handle.cancel()


def test_what_is_waited_for_loses_no_object_when_the_wait_is_interrupted(companion: Companion) -> None:
    thing = companion.run("[1]")
    handle, _ = started(companion)
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))  # type: ignore[arg-type]
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        thing[0]
    handle.cancel()
    assert thing[0] == 1


@pytest.mark.parametrize("bad", [(5, {}, TypeError), ("1", {"timeout": 0}, ValueError)])
def test_what_cannot_run_is_refused_at_once(
    companion: Companion, bad: tuple[Any, dict[str, Any], Any]
) -> None:
    source, options, error = bad
    with pytest.raises(error):
        companion.submit(source, **options)


def when(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=lambda: (until(condition), act()))
    thread.start()
    return thread


def test_after_the_first_interrupt_a_line_says_what_the_second_will_do(
    companion: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    kept = Kept()
    first = when(lambda: "go" in kept.text, interrupt)
    second = when(lambda: LINE.format(companion.name) in capsys.readouterr().err, interrupt)
    with pytest.raises((KeyboardInterrupt, ProcessTerminationError)):
        companion.run(DEAF, sink=kept)
    first.join(10)
    second.join(10)
    assert companion.crash is not None
    assert companion.crash.kind == "interrupt"
    assert companion.run("1") == 1


def test_an_interrupt_that_works_says_nothing(
    companion: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Kept()
    thread = when(
        lambda: "go" in kept.text,
        lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT),  # type: ignore[arg-type]
    )
    with pytest.raises(KeyboardInterrupt):
        companion.run(SLOW, sink=kept)
    thread.join(10)
    before = capsys.readouterr().err  # a slow machine may have taken the second after which it is said
    companion.run("import time\ntime.sleep(1.2)")
    assert capsys.readouterr().err == ""
    assert before in ("", f"{LINE.format(companion.name)}\n")


def test_one_that_is_killed_as_soon_as_it_is_there_was_killed_on_request(companion: Companion) -> None:
    for _ in range(20):
        companion.start()
        companion.kill()
        assert companion.crash is not None
        assert (companion.crash.kind, companion.crash.reason) == ("kill", "killed on request")
        assert companion.crash.signal == "SIGKILL"
