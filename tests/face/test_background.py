"""`%%isolated -b` and `%isolate result`, in a real kernel: output belongs to the cell that started it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from face.listening import Listener
from kernels import Cell, Kernel

SLOW = "import time\nprint('first', flush=True)\ntime.sleep(0.6)\nprint('second')\ndisplay('shown')\n[1, 2]"


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic")
    yield made
    made.close()


@pytest.fixture
def listener(one_kernel: Kernel) -> Listener:
    assert one_kernel.run("%%isolated\nNone").status == "ok"
    return Listener(one_kernel)


def statuses(cell: Cell) -> list[str]:
    """Return what the handle has said of itself, one after the other."""
    shown = cell.of("display_data", "update_display_data")
    return [one["data"]["text/plain"] for one in shown if "<background" in one["data"]["text/plain"]]


def ended(cell: Cell) -> bool:
    return bool(statuses(cell)) and not re.search("running|waits", statuses(cell)[-1])


def test_output_goes_to_the_cell_that_started_it_while_later_cells_run(listener: Listener) -> None:
    started = listener.run(f"%%isolated -b\n{SLOW}")
    assert not ended(started)
    later = listener.run("print('later')\n2 + 2")
    listener.until(lambda: ended(started))
    assert started.stream() == "first\nsecond\n"
    assert "'shown'" in [one["data"]["text/plain"] for one in started.of("display_data")]
    assert started.result["text/plain"] == "[1, 2]"
    assert started.of("execute_result")[0]["execution_count"] == started.reply["execution_count"]
    assert later.stream() == "later\n"
    assert [kind for kind, _ in later.messages] == ["stream", "execute_result"]


def test_the_handle_is_shown_where_it_was_started_and_says_how_it_ended(listener: Listener) -> None:
    started = listener.run("%%isolated -b\n1")
    listener.until(lambda: ended(started))
    first, last = statuses(started)
    number = started.reply["execution_count"]
    assert f"background cell In[{number}] of companion 'default': running since" in first
    assert "done in" in last
    ids = {one["transient"]["display_id"] for one in started.of("display_data", "update_display_data")}
    assert len(ids) == 1


def test_underscore_and_out_hold_the_handle(listener: Listener) -> None:
    started = listener.run("%%isolated -b\n6 * 7")
    number = started.reply["execution_count"]
    assert listener.run(f"_ is Out[{number}] and _.result()").result["text/plain"] == "42"


def test_it_can_be_awaited_in_a_cell(listener: Listener) -> None:
    listener.run("%%isolated -b\n6 * 7")
    assert listener.run("await _").result["text/plain"] == "42"


def test_names_are_bound_here_when_it_ends(listener: Listener) -> None:
    listener.run("given = 3")
    listener.run("%%isolated -b -i given -o made --copy copied\nmade, copied = [given], [given + 1]")
    listener.run("%isolate result")
    assert listener.run("isproxy(made), made[0], isproxy(copied), copied").status == "error"
    seen = listener.run("from isolate_magic import isproxy\nisproxy(made), made[0], isproxy(copied), copied")
    assert seen.result["text/plain"] == "(True, 3, False, [4])"


def test_what_goes_along_is_what_it_is_now(listener: Listener) -> None:
    listener.run("given = [1]")
    listener.run("%%isolated -b -i given\nimport time\ntime.sleep(0.3)\nsum(given)")
    listener.run("given.append(5)")
    assert listener.run("%isolate result").result["text/plain"] == "1"


def test_an_error_is_shown_in_the_cell_that_started_it_and_raised_by_result(listener: Listener) -> None:
    started = listener.run("%%isolated -b\nx = 1\n1 / 0")
    assert started.status == "ok"
    listener.until(lambda: ended(started))
    assert started.of("error")[0]["ename"] == "ZeroDivisionError"
    assert f"In[{started.reply['execution_count']}], line 3" in started.error
    assert "failed after" in statuses(started)[-1]
    asked = listener.run("%isolate result")
    assert asked.reply["ename"] == "ZeroDivisionError"
    assert "isolate_magic/" not in asked.error


def test_a_crash_shows_its_report_in_the_cell_that_started_it_once(listener: Listener) -> None:
    started = listener.run("%%isolated -b\nimport os; os.abort()")
    listener.until(lambda: ended(started))
    (card,) = [one for one in started.of("display_data") if "SIGABRT" in one["data"]["text/plain"]]
    assert "line 2" in card["data"]["text/plain"]
    assert "text/html" in card["data"]
    assert started.of("error")[0]["ename"] == "ProcessTerminationError"
    asked = listener.run("%isolate result")
    assert asked.reply["ename"] == "ProcessTerminationError"
    assert not asked.of("display_data")
    assert listener.run("%%isolated\n1").status == "ok"


def test_result_waits_and_shows_the_value(listener: Listener) -> None:
    listener.run("%%isolated -b\nimport time\ntime.sleep(0.3)\n[5]")
    assert listener.run("%isolate result").result["text/plain"] == "[5]"
    assert listener.run("_[0]").result["text/plain"] == "5"


def test_result_waits_no_longer_than_it_is_told_and_the_cell_goes_on(listener: Listener) -> None:
    listener.run("%%isolated -b\nimport time\ntime.sleep(1)\n7")
    asked = listener.run("%isolate result -t 0.1")
    assert "is still running" in asked.stream("stderr")
    assert listener.run("%isolate result").result["text/plain"] == "7"


def test_a_cell_without_a_value_says_so(listener: Listener) -> None:
    listener.run("%%isolated -b\nx = 1")
    assert "has ended without a value" in listener.run("%isolate result").stream()


def test_result_of_a_companion_that_ran_nothing_in_the_background(listener: Listener) -> None:
    listener.run("%%isolated -c other\n1")
    assert "%%isolated -b does" in listener.run("%isolate result other").stream("stderr")


def test_cancel_interrupts_it(listener: Listener) -> None:
    started = listener.run(
        "%%isolated -b\nprint('go', flush=True)\nimport time\nwhile True: time.sleep(0.01)"
    )
    listener.until(lambda: "go" in started.stream())
    assert listener.run("_.cancel()").result["text/plain"] == "True"
    listener.until(lambda: ended(started))
    assert "interrupted after" in statuses(started)[-1]
    assert "has no value" in listener.run("%isolate result").stream("stderr")


def test_interrupt_and_kill_reach_it(listener: Listener) -> None:
    loop = "%%isolated -b\nprint('go', flush=True)\nimport time\nwhile True: time.sleep(0.01)"
    first = listener.run(loop)
    listener.until(lambda: "go" in first.stream())
    assert "in the background: cell In[" in listener.run("%isolate status default").stream()
    assert "interrupted" in listener.run("%isolate interrupt").stream()
    listener.until(lambda: ended(first))
    second = listener.run(loop)
    listener.until(lambda: "go" in second.stream())
    said = listener.run("%isolate kill").stream()
    assert f"default: killed in Cell In[{second.reply['execution_count']}]" in said
    listener.until(lambda: ended(second))
    assert "killed on request" in second.error


def test_the_next_cell_of_the_companion_waits_and_says_so(listener: Listener) -> None:
    started = listener.run("%%isolated -b\nimport time\ntime.sleep(1.6)\nx = 'of the background'")
    after = listener.run("%%isolated\nx")
    assert after.result["text/plain"] == "'of the background'"
    assert "waiting for background cell In[" in after.stream("stderr")
    listener.until(lambda: ended(started))


def test_the_stop_button_ends_the_wait_and_not_the_background_cell(listener: Listener) -> None:
    started = listener.run("%%isolated -b\nimport time\ntime.sleep(2.5)\n8")
    waiting = listener.start("%%isolated\n1")
    listener.until(lambda: "waiting for" in waiting.stream("stderr"))
    listener.kernel.manager.interrupt_kernel()
    listener.until(lambda: bool(waiting.of("error")))
    assert waiting.of("error")[0]["ename"] == "KeyboardInterrupt"
    assert not ended(started)
    listener.until(lambda: ended(started))
    assert started.result["text/plain"] == "8"


def test_held_output_comes_at_the_end_and_quiet_shows_nothing(listener: Listener) -> None:
    held = listener.run("%%isolated -b --no-stream\nprint('a'); display(1); print('b')")
    listener.until(lambda: ended(held))
    assert held.stream() == "a\nb\n"
    quiet = listener.run("%%isolated -b -q\nprint('a'); 5")
    assert listener.run("%isolate result").result["text/plain"] == "5"
    assert quiet.messages == []


def test_several_cells_run_in_turn_each_with_its_own_output(listener: Listener) -> None:
    cells = [listener.run(f"%%isolated -b\nprint({n})\n{n}") for n in range(4)]
    listener.until(lambda: all(map(ended, cells)))
    assert [cell.stream() for cell in cells] == ["0\n", "1\n", "2\n", "3\n"]
    assert [cell.result["text/plain"] for cell in cells] == ["0", "1", "2", "3"]


def test_result_finds_a_fresh_one_too(listener: Listener) -> None:
    started = listener.run("%%isolated -b --fresh --copy brought\nbrought = [1]\n6 * 7")
    assert listener.run("%isolate result").result["text/plain"] == "42"
    assert listener.run("brought").result["text/plain"] == "[1]"
    listener.until(lambda: ended(started))
    assert "fresh" not in listener.run("%isolate list").stream()


def test_what_is_wrong_before_it_starts_is_said_at_once_and_leaves_nothing(listener: Listener) -> None:
    listener.run("import threading; lock = threading.Lock()")
    cell = listener.run("%%isolated -b --fresh -i lock\n1")
    assert cell.reply["ename"] == "TransferError"
    assert "fresh" not in listener.run("%isolate list").stream()


def test_a_trace_is_shown_in_the_cell_that_started_it(listener: Listener) -> None:
    started = listener.run("%%isolated -b --fresh --trace --group\nopen('/etc/hostname').close()")
    later = listener.run("1")
    listener.until(lambda: ended(started))
    assert "/etc/hostname" in str(started.of("display_data"))
    assert not later.of("display_data")


def test_who_waits_says_for_whom_and_then_that_it_runs(listener: Listener) -> None:
    first = listener.run("%%isolated -b\nimport time\ntime.sleep(0.7)")
    second = listener.run("%%isolated -b\nimport time\ntime.sleep(0.7)")
    listener.until(lambda: ended(second))
    assert f"waits for cell In[{first.reply['execution_count']}]" in statuses(second)[0]
    assert "running since" in statuses(second)[1]
    assert "done in" in statuses(second)[2]


def test_an_untrusted_companions_output_is_filtered_there_too(listener: Listener) -> None:
    started = listener.run(
        "%%isolated -b -c student -p untrusted\nfrom IPython.display import HTML\n"
        "display(HTML('<b>kept</b><script>bad()</script>')); print('\\x1b]52;c;eA==\\x07')"
    )
    listener.until(lambda: ended(started))
    shown = str(started.of("display_data"))
    assert "<b>kept</b>" in shown
    assert "<script>" not in shown
    assert "\x1b]52" not in started.stream()
    assert "dropped" in started.stream("stderr")
