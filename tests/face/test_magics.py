"""What a person sees in a notebook: every promise of %%isolated and %isolate, in a real kernel."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
from kernels import Kernel
from waiting import until


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\n%config Isolate.snapshots = 'off'")
    yield made
    made.close()


@pytest.fixture
def kernel(one_kernel: Kernel) -> Kernel:
    """Give the kernel with a living companion: the cell after a crash says that there is a new one."""
    assert one_kernel.run("%%isolated\nNone").status == "ok"
    return one_kernel


def test_a_cell_runs_in_another_process(kernel: Kernel) -> None:
    here = kernel.run("import os; os.getpid()").result["text/plain"]
    there = kernel.run("%%isolated\nimport os; os.getpid()").result["text/plain"]
    assert here != there


def test_the_value_is_an_execute_result_with_the_visible_prompt_number(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\n6 * 7")
    (shown,) = cell.of("execute_result")
    assert shown["data"] == {"text/plain": "42"}
    assert shown["execution_count"] == cell.reply["execution_count"]


def test_underscore_holds_the_value_of_an_isolated_cell(kernel: Kernel) -> None:
    kernel.run("%%isolated\n[1, 2, 3]")
    assert kernel.run("isinstance(_, list), _[1]").result["text/plain"] == "(True, 2)"


def test_names_are_pushed_in_and_bound_back_as_proxy_and_as_copy(kernel: Kernel) -> None:
    kernel.run("threshold = 2")
    cell = kernel.run(
        "%%isolated -i threshold -o table --copy numbers\n"
        "import pandas as pd\n"
        "table = pd.DataFrame({'x': range(5)}); numbers = [1, 2]; table[table.x > threshold]"
    )
    assert "<table" in cell.result["text/html"]
    seen = kernel.run(
        "from isolate_magic import isproxy; isproxy(table), len(table), isproxy(numbers), numbers"
    )
    assert seen.result["text/plain"] == "(True, 5, False, [1, 2])"


def test_a_proxy_is_shown_as_the_companion_shows_it(kernel: Kernel) -> None:
    kernel.run("%%isolated -o frame\nimport pandas as pd; frame = pd.DataFrame({'a': [1]})")
    assert "<table" in kernel.run("frame").result["text/html"]


def test_output_streams_in_the_order_written(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%isolated\nimport sys\nfrom IPython.display import display\n"
        "print('a'); display(1); print('b', file=sys.stderr); display(2); print('c')"
    )
    order = [
        content.get("text") or content["data"]["text/plain"]
        for kind, content in cell.messages
        if kind in ("stream", "display_data")
    ]
    assert " ".join(order).split() == ["a", "1", "b", "2", "c"]


def test_output_shows_while_the_cell_still_runs(kernel: Kernel) -> None:
    first = threading.Event()
    client = kernel.client

    def take(message: dict) -> None:  # type: ignore[type-arg]
        if message["msg_type"] == "stream" and "first" in message["content"]["text"]:
            first.set()
            kernel.manager.interrupt_kernel()

        if message["msg_type"] == "error":
            shown.append(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(message["content"]["traceback"])))

    shown: list[str] = []
    code = "%%isolated\nprint('first', flush=True)\nwhile True: pass"
    reply = client.execute_interactive(code, output_hook=take, timeout=30)["content"]
    assert first.is_set()
    assert reply["ename"] == "KeyboardInterrupt"
    (trace,) = shown  # where the companion was, and nothing of how the interrupt got there
    assert "Cell In[" in trace
    assert "line 3" in trace
    assert "isolate_magic" not in trace
    assert "run_cell_magic" not in trace


def test_clear_output_and_updates_of_a_display_reach_the_cell(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%isolated\nfrom IPython.display import display, clear_output\n"
        "handle = display('one', display_id=True); handle.update('two'); clear_output(wait=True)"
    )
    kinds = [kind for kind, _ in cell.messages]
    assert kinds == ["display_data", "update_display_data", "clear_output"]
    ids = {content["transient"]["display_id"] for content in cell.of("display_data", "update_display_data")}
    assert len(ids) == 1


def test_matplotlib_shows_inline(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert any("image/png" in content["data"] for content in cell.of("display_data"))


def test_an_error_shows_the_companions_traceback_with_the_line_of_the_visible_cell(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\nx = 1\n1 / 0")
    assert cell.status == "error"
    assert cell.reply["ename"] == "ZeroDivisionError"
    assert f"In[{cell.reply['execution_count']}], line 3" in cell.error
    assert "----> 3 1 / 0" in cell.error.replace("\u2192", ">")
    assert "isolate_magic" not in cell.error


def test_a_syntax_error_is_one_clear_error(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\ndef f(:")
    assert cell.reply["ename"] == "SyntaxError"
    assert "line 2" in cell.error
    assert "isolate_magic" not in cell.error


def test_quiet_shows_nothing_but_errors(kernel: Kernel) -> None:
    assert kernel.run("%%isolated -q\nprint(1); 5").messages == []
    assert kernel.run("%%isolated -q\n1/0").status == "error"


def test_a_timeout_ends_the_cell_and_keeps_the_companion(kernel: Kernel) -> None:
    kernel.run("%%isolated\nkept = 1")
    cell = kernel.run("%%isolated -t 0.3\nwhile True: pass")
    assert cell.reply["ename"] == "CellTimeout"
    assert kernel.run("%%isolated\nkept").result["text/plain"] == "1"


def test_the_stop_button_interrupts_the_companion(kernel: Kernel) -> None:
    kernel.run("%%isolated\nkept = 2")

    def stop(message: dict) -> None:  # type: ignore[type-arg]
        if message["msg_type"] == "stream":
            kernel.manager.interrupt_kernel()

    reply = kernel.client.execute_interactive(
        "%%isolated\nprint('running', flush=True)\nimport time\nwhile True: time.sleep(1)",
        output_hook=stop,
        timeout=30,
    )
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert kernel.run("%%isolated\nkept").result["text/plain"] == "2"


def test_a_crash_shows_a_report_and_costs_no_variable(kernel: Kernel) -> None:
    kernel.run(
        "mine = 'still here'\nmath = import_isolated('math')\nnumbers = import_isolated('builtins').list('ab')"
    )
    cell = kernel.run("%%isolated\nimport ctypes\nctypes.string_at(0)")
    assert cell.reply["ename"] == "ProcessTerminationError"
    card = cell.of("display_data")[0]
    for text in card["data"].values():
        assert "SIGSEGV" in text
        assert f"Cell In[{cell.reply['execution_count']}]" in text
        assert "line 3" in text
        assert "ctypes.string_at(0)" in text
        assert "peak memory" in text
    assert set(card["data"]) == {"text/plain", "text/html"}
    assert kernel.run("mine").result["text/plain"] == "'still here'"
    again = kernel.run("math.sqrt(16.0)")
    assert again.result["text/plain"] == "4.0"
    assert "Started a new one" in again.stream("stderr")
    stale = kernel.run("numbers[0]")
    assert stale.reply["ename"] == "StaleProxyError"
    assert "SIGSEGV" in stale.reply["evalue"]


def test_a_crash_in_a_call_shows_the_report_too(kernel: Kernel) -> None:
    cell = kernel.run("import_isolated('ctypes').string_at(0)")
    assert cell.reply["ename"] == "ProcessTerminationError"
    assert "ctypes.string_at" in cell.of("display_data")[0]["data"]["text/plain"]


def test_a_crash_that_is_caught_shows_no_report(kernel: Kernel) -> None:
    cell = kernel.run(
        "from isolate_magic import ProcessTerminationError\n"
        "try: import_isolated('os').abort()\n"
        "except ProcessTerminationError as error: print(error.report.signal)"
    )
    assert cell.stream() == "SIGABRT\n"
    assert not cell.of("display_data")


def test_an_error_stops_run_all(kernel: Kernel) -> None:
    client = kernel.client
    client.execute("%%isolated\n1/0")
    after = client.execute("print('must not run')")
    replies = {}
    while after not in replies:
        reply = client.get_shell_msg(timeout=30)
        replies[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert replies[after] == "aborted"
    kernel.run("pass")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--bogus", "knows no option --bogus"),
        ("-i nowhere", "-i nowhere: not defined"),
        ("-o nowhere", "-o nowhere: the cell ran"),
        ("-i 1x", "'1x' is no name"),
        ("-t 0", "positive number"),
        ("-t soon", "give a positive number of seconds"),
        ("-c ../x", "no name for a companion"),
    ],
)
def test_bad_options_give_one_clear_error(kernel: Kernel, line: str, complaint: str) -> None:
    cell = kernel.run(f"%%isolated {line}\nran = 1")
    assert cell.status == "error"
    assert complaint in cell.stream("stderr") + cell.error
    assert "Traceback" not in cell.error
    assert kernel.run("%%isolated\n1").status == "ok"


def test_something_that_cannot_travel_is_named(kernel: Kernel) -> None:
    kernel.run("import threading; lock = threading.Lock()")
    cell = kernel.run("%%isolated -i lock\npass")
    assert cell.reply["ename"] == "TransferError"
    assert "lock" in cell.reply["evalue"]
    assert kernel.run("%%isolated\n1").status == "ok"


def test_what_can_be_bound_is_bound_before_the_complaint(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%isolated -o good --copy lock,number\nimport threading\ngood, lock, number = [1], threading.Lock(), 5"
    )
    assert cell.reply["ename"] == "TransferError"
    assert "lock" in cell.reply["evalue"]
    assert kernel.run("good[0], number").result["text/plain"] == "(1, 5)"


def test_companions_are_told_apart_by_name(kernel: Kernel) -> None:
    kernel.run("%%isolated -c one\nx = 1")
    kernel.run("%%isolated -c two\nx = 2")
    assert kernel.run("%%isolated -c one\nx").result["text/plain"] == "1"
    assert "one: idle" in kernel.run("%isolate list").stream()


def test_isolate_without_a_word_is_status(kernel: Kernel) -> None:
    kernel.run("%%isolated\npass")
    assert (
        kernel.run("%isolate").stream().split(";")[0] == kernel.run("%isolate status").stream().split(";")[0]
    )
    assert "default: idle; pid" in kernel.run("%isolate status default").stream()


def test_isolate_start_restart_stop_and_logs(kernel: Kernel) -> None:
    assert "preload colorsys" in kernel.run("%isolate start fresh --preload colorsys").stream()
    assert (
        kernel.run("%%isolated -c fresh\nimport sys; 'colorsys' in sys.modules").result["text/plain"]
        == "True"
    )
    kernel.run("%%isolated -c fresh\nprint('said')\nx = 1")
    assert "said" in kernel.run("%isolate logs fresh").stream()
    assert "restarted 1 time" in kernel.run("%isolate restart fresh").stream()
    assert kernel.run("%%isolated -c fresh\nx").reply["ename"] == "NameError"
    assert "fresh: stopped" in kernel.run("%isolate stop fresh").stream()
    quiet = kernel.run("%%isolated -c fresh\n1")
    assert quiet.stream("stderr") == ""


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("bogus", "no such command"),
        ("stop nobody", "there is no companion 'nobody'"),
        ("start a b", "takes one companion's name"),
        ("status --what", "knows no option --what"),
        ("start x --preload", "--preload wants module names"),
        ("start x --preload no_such_module", "no_such_module"),
    ],
)
def test_isolate_says_what_was_wrong(kernel: Kernel, line: str, complaint: str) -> None:
    cell = kernel.run(f"%isolate {line}")
    assert cell.status == "error"
    assert complaint in cell.stream("stderr") + cell.error


def test_interrupt_from_a_magic_says_when_there_was_nothing_to_interrupt(kernel: Kernel) -> None:
    kernel.run("%%isolated\npass")
    assert "was doing nothing" in kernel.run("%isolate interrupt").stream()


def test_top_level_await_and_magics_work_in_an_isolated_cell(kernel: Kernel) -> None:
    assert (
        kernel.run("%%isolated\nimport asyncio; await asyncio.sleep(0, 'slept')").result["text/plain"]
        == "'slept'"
    )
    assert "Wall time" in kernel.run("%%isolated\n%time 1").stream()
    assert kernel.run("%%isolated\n!echo shell").stream().split() == ["shell"]


def test_loading_twice_and_unloading_leave_nothing_behind() -> None:
    kernel = Kernel()
    try:
        names = "import sys; sorted(n for n in globals() if not n.startswith('_'))"
        before = kernel.run(names).result["text/plain"]
        kernel.run("%load_ext isolate_magic\n%load_ext isolate_magic\n%reload_ext isolate_magic")
        kernel.run("%%isolated\n1")
        pid = kernel.run("import isolate_magic; isolate_magic.default_companion().pid").result["text/plain"]
        kernel.run("del isolate_magic")
        kernel.run("%unload_ext isolate_magic")
        assert kernel.run(names).result["text/plain"] == before
        assert kernel.run("%%isolated\n1").status == "error"
        until(lambda: not _exists(int(pid)))
    finally:
        kernel.close()


def _exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_our_own_frames_stay_out_of_the_traceback_of_a_call(kernel: Kernel) -> None:
    kernel.run("json = import_isolated('json')")
    cell = kernel.run("json.loads('{')")
    assert cell.reply["ename"] == "JSONDecodeError"
    assert "json.loads('{')" in cell.error
    shown = re.findall(r"isolate_magic/[\w/]+\.py", cell.error)
    assert len(shown) == 1  # IPython always shows the last frame; ours says why
    assert "the traceback from there is in the note below" in cell.error
    assert "json/decoder.py" in cell.error


def test_a_report_shows_the_stderr_of_its_own_cell_only(kernel: Kernel) -> None:
    kernel.run("%%isolated\nimport sys; print('of an earlier cell', file=sys.stderr)")
    cell = kernel.run("%%isolated\nprint('of this cell', file=sys.stderr); import os; os.abort()")
    text = cell.of("display_data")[0]["data"]["text/plain"]
    assert "of this cell" in text
    assert "of an earlier cell" not in text
