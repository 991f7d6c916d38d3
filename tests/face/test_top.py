"""`%isolate top`: what it shows in a notebook, that it goes on while cells run, and that it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError
from kernels import Kernel
from waiting import until

from isolate_magic import Companion, Policy
from isolate_magic.face import board, commands
from isolate_magic.samples import MINUTE, Recorder, Sample

WIDGET = "application/vnd.jupyter.widget-view+json"
THREADS = "import threading\n[t.name for t in threading.enumerate() if t.name == 'isolate_magic-top']"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\n%config Isolate.top_interval = 0.25")
    made.run("%isolate start worker --policy untrusted")
    yield made
    made.close()


def values(kernel: Kernel, code: str) -> list[str]:
    """Run a cell, and return what the table was set to meanwhile."""
    number = kernel.client.execute(code)
    found = []
    while True:
        message = kernel.client.get_iopub_msg(timeout=30)
        content = message["content"]
        if message["msg_type"] == "comm_msg":
            value = content["data"].get("state", {}).get("value", "")
            found += [value] if "isolate-top" in value else []
        if (
            message["msg_type"] == "status"
            and message["parent_header"].get("msg_id") == number
            and content["execution_state"] == "idle"
        ):
            kernel.client.get_shell_msg(timeout=30)
            return found


def say(kernel: Kernel, comm: str, **state: int) -> None:
    """Tell the state of a widget, as a front end does."""
    data = {"method": "update", "state": state, "buffer_paths": []}
    message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
    kernel.client.shell_channel.send(message)


def threads(kernel: Kernel) -> int:
    return len(eval(kernel.run(THREADS).result["text/plain"]))


@pytest.fixture
def shown(kernel: Kernel) -> Iterator[dict[str, Any]]:
    """Give what `%isolate top` displays."""
    cell = kernel.run("%isolate top")
    (display,) = cell.of("display_data")
    yield display["data"]
    kernel.run("from isolate_magic.face import top\ntop.close_all()")


def test_a_widget_comes_with_the_same_facts_as_html_and_as_text(shown: dict[str, Any]) -> None:
    assert set(shown) == {WIDGET, "text/html", "text/plain"}
    for mime in ("text/html", "text/plain"):
        assert "worker" in shown[mime]
        assert "1 GiB" in shown[mime]
    assert "<svg" in shown["text/html"]
    assert "COMPANION" in shown["text/plain"].splitlines()[0]


def test_it_goes_on_while_a_cell_runs_here(kernel: Kernel, shown: dict[str, Any]) -> None:
    code = "import time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass"
    found = values(kernel, code)
    assert len(found) >= 3
    assert len(set(found)) >= 3


def test_it_goes_on_while_a_cell_runs_there_and_says_so(kernel: Kernel, shown: dict[str, Any]) -> None:
    code = "%%isolated -c worker\nimport time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass"
    found = values(kernel, code)
    assert len(found) >= 3
    assert any("busy" in one for one in found)


def test_closing_leaves_a_picture_and_no_thread(kernel: Kernel, shown: dict[str, Any]) -> None:
    assert threads(kernel) == 1
    cell = kernel.run(
        "top.close_all() if 'top' in globals() else None\nfrom isolate_magic.face import top\ntop.close_all()"
    )
    (update,) = cell.of("update_display_data")
    assert set(update["data"]) == {"text/html", "text/plain"}
    assert "closed at" in update["data"]["text/html"]
    until(lambda: threads(kernel) == 0)


def test_it_rests_when_nobody_looks_and_goes_on_when_somebody_does(
    kernel: Kernel, shown: dict[str, Any]
) -> None:
    kernel.run("from isolate_magic.face import top\ntop._UNSEEN = 0.1")
    comm = shown[WIDGET]["model_id"]
    say(kernel, comm, _view_count=1)
    assert threads(kernel) == 1
    say(kernel, comm, _view_count=0)
    until(lambda: threads(kernel) == 0)
    say(kernel, comm, _view_count=1)
    until(lambda: threads(kernel) == 1)


def test_it_rests_when_the_page_gives_no_sign_of_life(kernel: Kernel, shown: dict[str, Any]) -> None:
    kernel.run("from isolate_magic.face import top\ntop._UNSEEN = top._SILENT = 0.1")
    comm = shown[WIDGET]["model_id"]
    pulse = kernel.run("top._panels[-1]._pulse.model_id").result["text/plain"].strip("'")
    say(kernel, comm, _view_count=1)
    assert kernel.run("top._panels[-1]._pulse.playing").result["text/plain"] == "True"
    assert threads(kernel) == 1  # no front end is taken for dead that never gave any
    say(kernel, pulse, value=1)
    until(lambda: threads(kernel) == 0)
    say(kernel, pulse, value=2)
    kernel.run("top._SILENT = 150.0")
    say(kernel, pulse, value=3)
    until(lambda: threads(kernel) == 1)


def test_no_page_is_taken_for_dead_while_a_cell_runs(kernel: Kernel, shown: dict[str, Any]) -> None:
    kernel.run("from isolate_magic.face import top\ntop._UNSEEN = 0.1\ntop._panels[-1]._deadline = 0.0")
    code = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    until(lambda: threads(kernel) == 0)
    kernel.run("top._panels[-1]._alive(None)\ntop._panels[-1]._deadline = 0.0\n" + code)
    cell = kernel.run(
        "top._panels[-1]._alive(None)\ntop._panels[-1]._deadline = 0.0\n" + code + "\n" + THREADS
    )
    assert "isolate_magic-top" in cell.result["text/plain"]


def test_unloading_ends_it(kernel: Kernel) -> None:
    kernel.run("%isolate top")
    kernel.run("%unload_ext isolate_magic")
    until(lambda: threads(kernel) == 0)
    kernel.run(
        "%load_ext isolate_magic\n%config Isolate.top_interval = 0.25\n%isolate start worker --policy untrusted"
    )


def test_ten_companions_cost_less_than_a_hundredth_of_a_processor(kernel: Kernel) -> None:
    kernel.run("%config Isolate.top_interval = 1.0")
    kernel.run("from isolate_magic import Companion\nmore = [Companion(f'n{n}').start() for n in range(9)]")
    kernel.run("%isolate top")
    cell = kernel.run(
        "from isolate_magic.face import top\nimport time, threading\npanel = top._panels[-1]\n"
        "begin, spent = time.monotonic(), panel.spent\nthreading.Event().wait(10)\n"
        "(panel.spent - spent) / (time.monotonic() - begin)"
    )
    try:
        assert 0 < float(cell.result["text/plain"].split("(")[-1].rstrip(")")) < 0.01
    finally:
        kernel.run("top.close_all()\nfor one in more: one.close()\n%config Isolate.top_interval = 0.25")


# ---------------------------------------------------------------- in a terminal


def test_a_terminal_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    with Companion("printed", policy=Policy(memory="300MiB")) as companion:
        commands.run("top")
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("printed"))
        assert line.split()[1:3] == ["idle", str(companion.pid)]
        assert "300 MiB" in line


def test_watch_prints_again_and_again_until_the_interrupt() -> None:
    code = "%load_ext isolate_magic\n%isolate start seen\n%isolate top --watch 0.05\n"
    done = subprocess.Popen(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.stdin is not None
    assert done.stdout is not None
    done.stdin.write(code)
    done.stdin.flush()
    tables = 0
    for line in done.stdout:
        tables += line.startswith("COMPANION") or "COMPANION  STATE" in line
        if tables == 3:
            break
    done.terminate()
    done.communicate(timeout=20)


@pytest.mark.parametrize("line", ["top --watch soon", "top --watch 0", "top --watch -1"])
def test_a_pause_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="--watch: .*(positive number of seconds|invalid float value)"):
        commands.run(line)


# ---------------------------------------------------------------- what stands in it


def test_shares_and_rates_are_those_of_the_time_between_two_looks(companion: Companion) -> None:
    recorder = Recorder()
    assert one(recorder, companion).cpu is None
    companion.run("import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass")
    for _ in range(20):
        companion.run("None")
    sample = one(recorder, companion)
    assert sample.cpu is not None
    assert sample.calls is not None
    assert 5 < sample.cpu <= 110
    assert sample.calls > 1
    begin = time.monotonic()
    assert one(recorder, companion).calls == sample.calls  # too soon for another number
    until(lambda: time.monotonic() - begin > 0.1)
    assert one(recorder, companion).calls == 0


def one(recorder: Recorder, companion: Companion) -> Sample:
    return next(sample for sample in recorder.look() if sample.name == companion.name)


def test_a_dead_one_says_what_it_died_of(companion: Companion) -> None:
    with pytest.raises(Exception, match="abort"):
        companion.call(__import__("os").abort)
    sample = one(Recorder(), companion)
    assert (sample.state, sample.why, sample.pid) == ("dead", "SIGABRT (abort)", None)
    assert "SIGABRT (abort)" in board.table([sample])


def test_a_minute_is_remembered_and_no_more() -> None:
    recorder = Recorder()
    with Companion("remembered"):
        recorder.look()
        track = recorder._tracks["remembered"]
        track._points.extendleft([(track._points[0][0] - MINUTE - 1, 1, 1.0)] * 5)
        assert len(one(recorder, type("", (), {"name": "remembered"})()).history) == 2  # type: ignore[arg-type]


def test_nothing_that_a_companion_says_becomes_html() -> None:
    sample = Sample("a<b", "dead", "<i>", why="<script>alert(1)</script>" + "x" * 1000)
    shown = board.table([sample])
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "a&lt;b" in shown
    assert "x" * 50 not in shown


@pytest.mark.parametrize(
    ("count", "said"),
    [(500, "0 KiB"), (2**20, "1 MiB"), (1023 * 2**20, "1023 MiB"), (3 * 2**29, "1.5 GiB"), (2**30, "1 GiB")],
)
def test_sizes_are_short(count: int, said: str) -> None:
    assert board.size(count) == said
