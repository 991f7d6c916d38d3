"""Commands of `%isolate` and options of `%%isolated` as a person meets them, in one real kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from face.listening import Listener
from kernels import Cell, Kernel

DEAF = (
    "import ctypes, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nprint('go', flush=True)\n"
    "while True: ctypes.CDLL(None).sleep(100)"
)


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\n%config Isolate.snapshots = 'off'")
    yield made
    made.close()


@pytest.fixture
def kernel(one_kernel: Kernel) -> Kernel:
    """Give the kernel with a new companion, of which nothing is known."""
    code = "import isolate_magic\nfor one in isolate_magic.companions(): one.close()\ndel isolate_magic, one"
    one_kernel.run("%isolate start")
    assert one_kernel.run(code).status == "ok"
    assert one_kernel.run("%isolate start").status == "ok"
    return one_kernel


def said(cell: Cell) -> str:
    """Return all text that a cell has shown."""
    return cell.stream() + cell.stream("stderr") + cell.error


# ---------------------------------------------------------------- help


def test_help_comes_with_and_without_a_body(kernel: Kernel) -> None:
    for code in ("%%isolated --help", "%%isolated --help\n", "%%isolated -h\nran = 1"):
        assert kernel.run(code).stream().startswith("usage: %%isolated [options]")
    assert "ran" not in str(kernel.run("%isolate vars").result)
    assert kernel.run("%%isolated").status == "ok"
    assert "commands:" in kernel.run("%isolate --help").stream()


def test_a_question_mark_shows_the_help(kernel: Kernel) -> None:
    for code, text in (("%isolate?", "usage: %isolate"), ("%%isolated?", "usage: %%isolated"),
                       ("%autoisolate?", "usage: %autoisolate")):  # fmt: skip
        assert text in str(kernel.run(code).reply["payload"])


# ---------------------------------------------------------------- names


def test_push_pull_and_vars(kernel: Kernel) -> None:
    kernel.run("one, two = 1, [2]")
    assert kernel.run("%isolate push one,two").status == "ok"
    shown = kernel.run("%isolate vars").result
    assert re.search(r"^two\s+list\s+1 item\s+\[2\]$", shown["text/plain"], re.MULTILINE)
    assert "<table" in shown["text/html"]
    kernel.run("%%isolated\nthree = [one + two[0]]")
    kernel.run("%isolate pull three")
    assert kernel.run("three[0]").result["text/plain"] == "3"
    kernel.run("%isolate pull --copy three")
    assert kernel.run("type(three) is list, three").result["text/plain"] == "(True, [3])"
    assert kernel.run("from isolate_magic import isproxy\nisproxy(three)").result["text/plain"] == "False"


def test_names_that_are_not_there_change_nothing(kernel: Kernel) -> None:
    kernel.run("%%isolated\nthere = 1")
    assert "nowhere: not defined in this session; nothing was pushed" in said(
        kernel.run("%isolate push nowhere")
    )
    assert "nowhere: companion 'default' knows no such name" in said(
        kernel.run("%isolate pull there,nowhere")
    )
    assert kernel.run("there").reply["ename"] == "NameError"


def test_names_of_another_companion(kernel: Kernel) -> None:
    kernel.run("%%isolated -c other\nonly = 1")
    assert "only" in kernel.run("%isolate vars other").result["text/plain"]
    assert "only" in kernel.run("%isolate vars -c other").result["text/plain"]
    kernel.run("%isolate pull only -c other")
    assert kernel.run("only").result["text/plain"] == "1"


def test_html_in_a_name_or_a_value_stays_text(kernel: Kernel) -> None:
    kernel.run("%%isolated\ntext = '<script>alert(1)</script>'")
    assert "<script>" not in kernel.run("%isolate vars").result["text/html"]


# ---------------------------------------------------------------- fresh, memory, policy


def test_fresh_runs_in_a_companion_of_its_own_and_closes_it(kernel: Kernel) -> None:
    kernel.run("%%isolated\nmine = 1")
    cell = kernel.run("%%isolated --fresh --copy made\nmade = ['new']\n'mine' in globals()")
    assert cell.result["text/plain"] == "False"
    assert kernel.run("made").result["text/plain"] == "['new']"
    assert kernel.run("%isolate list").stream() == "default: idle\n"
    assert kernel.run("%%isolated --fresh\nimport os; os.abort()").reply["ename"] == "ProcessTerminationError"
    assert kernel.run("%isolate list").stream() == "default: idle\n"
    assert kernel.run("%%isolated\nmine").result["text/plain"] == "1"
    assert "fresh-" in kernel.run("%isolate crashes").result["text/plain"]


def test_fresh_refuses_proxies_and_says_how_copies_come(kernel: Kernel) -> None:
    text = said(kernel.run("%%isolated --fresh -o made\nmade = 1"))
    assert "--copy made brings copies; nothing was run" in text


def test_fresh_is_made_like_the_companion_that_is_named(kernel: Kernel) -> None:
    kernel.run("%isolate start like --preload colorsys --policy offline")
    cell = kernel.run("%%isolated --fresh -c like\nimport sys\n'colorsys' in sys.modules")
    assert cell.result["text/plain"] == "True"
    refused = kernel.run(
        "%%isolated --fresh -c like\nimport socket\nsocket.create_connection(('127.0.0.1', 9), 1)"
    )
    assert "offline" in refused.error


def test_the_value_of_a_fresh_cell_is_kept_if_it_outlives_it(kernel: Kernel) -> None:
    kernel.run("%%isolated --fresh\n41")
    assert kernel.run("_ + 1").result["text/plain"] == "42"
    kernel.run("'before'")
    assert kernel.run("%%isolated --fresh\n[1]").result["text/plain"] == "[1]"
    assert kernel.run("_").result["text/plain"] == "'before'"


def test_a_memory_limit_holds(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated --fresh -m 200MiB\nx = bytearray(400 << 20)")
    assert cell.reply["ename"] in ("MemoryError", "MemoryExceeded")


def test_a_limit_of_a_running_companion_is_changed_at_once_or_refused(kernel: Kernel) -> None:
    assert kernel.run("%%isolated -c small -m 500MiB\n1").status == "ok"
    assert kernel.run("%%isolated -c small -m 500MiB\n1").status == "ok"
    assert kernel.run("%%isolated -c small -m 400MiB\n1").status == "ok"
    assert "memory: 400 MiB" in kernel.run("%isolate status small").stream()
    text = said(kernel.run("%%isolated -m 1GiB\nran = 1"))
    assert "-m 1GiB: companion 'default' runs, and its limit cannot be changed now" in text
    assert kernel.run("%%isolated\n'ran' in globals()").result["text/plain"] == "False"
    assert "policy trusted" not in kernel.run("%isolate status default").stream()


def test_a_policy_is_for_a_companion_that_does_not_run_yet(kernel: Kernel) -> None:
    assert kernel.run("%%isolated -c pupil -p untrusted\n1").status == "ok"
    assert kernel.run("%%isolated -c pupil -p untrusted\n1").status == "ok"
    assert "policy untrusted" in kernel.run("%isolate status pupil").stream()
    text = said(kernel.run("%%isolated -c pupil -p offline\n1"))
    assert "runs under policy 'untrusted', not 'offline'" in text
    kernel.run("%isolate stop pupil")
    assert kernel.run("%%isolated -c pupil -p offline\n1").status == "ok"
    assert "policy offline" in kernel.run("%isolate status pupil").stream()
    assert "did you mean 'untrusted'" in said(kernel.run("%%isolated -c other -p untrustd\n1"))
    assert "other" not in kernel.run("%isolate list").stream()


# ---------------------------------------------------------------- output


def test_no_stream_keeps_the_order_and_group_sorts_by_kind(kernel: Kernel) -> None:
    code = "import sys\nprint(1); display(2); print(3, file=sys.stderr); print(4); 5"

    def shown(line: str) -> list[str]:
        return [
            content["text"].strip() if kind == "stream" else content["data"]["text/plain"]
            for kind, content in kernel.run(f"%%isolated {line}\n{code}").messages
        ]

    in_order = shown("--no-stream")
    assert in_order[:2] == ["1", "2"]
    assert sorted(in_order[2:4]) == ["3", "4"]  # this kernel's own streams decide which is sent first
    assert in_order[4] == "5"
    assert shown("--group") == ["1\n4", "3", "2", "5"]


def test_held_output_is_held_and_is_shown_before_an_error_and_a_crash(kernel: Kernel) -> None:
    listener = Listener(kernel)
    started = listener.start("%%isolated --no-stream\nimport time\nprint('early')\ntime.sleep(0.5)\n1 / 0")
    other = listener.run("1")  # waits for the first
    assert other.status == "aborted" or other.reply
    assert started.stream() == "early\n"
    assert [kind for kind, _ in started.messages] == ["stream", "error"]
    crashed = listener.run("%%isolated --group\nprint('early', flush=True)\nimport os; os.abort()")
    kinds = [kind for kind, _ in crashed.messages if kind in ("stream", "display_data", "error")]
    assert kinds == ["stream", "display_data", "display_data", "error"]  # the report, its buttons


def test_only_one_way_of_showing_can_be_chosen(kernel: Kernel) -> None:
    assert "give --quiet or --group, not both" in said(kernel.run("%%isolated -q --group\n1"))


# ---------------------------------------------------------------- results


def test_underscores_and_out_hold_the_values_of_cells(kernel: Kernel) -> None:
    numbers = [kernel.run(f"%%isolated\n[{n}]").reply["execution_count"] for n in range(3)]
    assert kernel.run("_[0], __[0], ___[0]").result["text/plain"] == "(2, 1, 0)"
    for n, number in enumerate(numbers):
        assert kernel.run(f"Out[{number}][0], _{number}[0]").result["text/plain"] == f"({n}, {n})"


@pytest.mark.parametrize(
    "code",
    [
        "%%isolated -q\n5",
        "%%isolated\n5;",
        "%%isolated\n5;  # said",
        "%%isolated\nx = 5",
        "%%isolated\n1 / 0",
    ],
)
def test_what_shows_no_value_leaves_underscore_alone(kernel: Kernel, code: str) -> None:
    kernel.run("'before'")
    cell = kernel.run(code)
    assert not cell.of("execute_result")
    assert kernel.run("_").result["text/plain"] == "'before'"


def test_a_semicolon_inside_a_text_is_none(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\n'a;'")
    assert cell.result["text/plain"] == "'a;'"
    assert kernel.run("_").result["text/plain"] == "'a;'"


def test_the_value_comes_after_what_was_printed(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\nimport os\nprint('a')\nos.write(1, b'raw')\ndisplay('d')\nprint('b')\n7")
    assert [kind for kind, _ in cell.messages][-1] == "execute_result"
    assert cell.stream().split() == ["a", "rawb"]


def test_a_proxy_that_cannot_be_pickled_refuses_with_a_reason(kernel: Kernel) -> None:
    kernel.run("%%isolated -o lock,numbers\nimport threading\nlock, numbers = threading.Lock(), [1, 2]")
    for code in ("import pickle; pickle.dumps(lock)", "import copy, joblib; joblib.hash(lock)"):
        assert "a proxy is pickled as a copy of its object" in kernel.run(code).error
    assert kernel.run("pickle.loads(pickle.dumps(numbers))").result["text/plain"] == "[1, 2]"


# ---------------------------------------------------------------- crashes and replay


def test_crashes_are_listed_and_shown(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\nimport os; os.abort()")
    listed = kernel.run("%isolate crashes").result["text/plain"].splitlines()
    number, when, rest = listed[-2].split(None, 2)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", when)
    assert f"died in Cell In[{cell.reply['execution_count']}]: SIGABRT" in rest
    shown = kernel.run(f"%isolate crashes {number}").of("display_data")[0]["data"]
    assert "os.abort()" in shown["text/plain"]
    assert "text/html" in shown
    assert kernel.run("%isolate crashes -c nobody").result["text/plain"] == "no companion has crashed"


def test_kill_ends_what_runs_and_what_does_not(kernel: Kernel) -> None:
    kernel.run("%%isolated\nx = 1")
    assert "default: killed; its variables are lost" in kernel.run("%isolate kill").stream()
    assert "no process to kill" in kernel.run("%isolate kill").stream()
    assert "Started a new one" in kernel.run("%%isolated\n1").stream("stderr")


def test_replay_runs_the_lost_cells_again_and_leaves_out_the_one_that_killed(kernel: Kernel) -> None:
    kernel.run("step = 10")
    kernel.run("%%isolated -i step -o table\ntable = [step]")
    kernel.run("%%isolated\ntable.append(2)\nprint('not shown again')")
    kernel.run("%%isolated\n1 / 0")
    killer = kernel.run("%%isolated\nimport os; os.abort()")
    kernel.run("step = 20")
    cell = kernel.run("%isolate replay")
    assert cell.status == "ok"
    text = cell.stream()
    assert f"Cell In[{killer.reply['execution_count']}] left out: it killed the companion" in text
    assert "[1/3]" in text
    assert "[3/3]" in text
    assert "failed as before: ZeroDivisionError" in text
    assert "not shown again" not in text
    assert kernel.run("table[0], table[1]").result["text/plain"] == "(20, 2)"
    assert "no cell is lost" in kernel.run("%isolate replay").stream()


def test_replay_stops_where_a_cell_fails_that_did_not_before(kernel: Kernel) -> None:
    kernel.run("%%isolated\na = 1")
    kernel.run("kept = 5")
    kernel.run("%isolate push kept")
    kernel.run("%%isolated\nb = kept")
    kernel.run("%isolate kill")
    kernel.run("del kept")
    cell = kernel.run("%isolate replay")
    assert "stopped here" in cell.stream()
    assert "kept: not defined in this session any more" in said(cell)
    kernel.run("kept = 6")
    assert kernel.run("%isolate replay").status == "ok"
    assert kernel.run("%%isolated\na, b").result["text/plain"] == "(1, 6)"


def test_replay_after_a_restart_and_after_two_crashes(kernel: Kernel) -> None:
    kernel.run("%%isolated\na = 1")
    kernel.run("%isolate restart")
    assert "[1/1]" in kernel.run("%isolate replay").stream()
    kernel.run("%isolate kill")
    kernel.run("%%isolated\nb = 2")
    kernel.run("%%isolated\nimport os; os.abort()")
    assert "[1/1]" in kernel.run("%isolate replay").stream()
    assert kernel.run("%%isolated\nb").result["text/plain"] == "2"


# ---------------------------------------------------------------- interrupts


def test_the_second_stop_kills_what_ignores_the_first_and_a_line_says_so_before(kernel: Kernel) -> None:
    kernel.run("mine = 'kept'")
    listener = Listener(kernel)
    cell = listener.start(f"%%isolated\n{DEAF}")
    listener.until(lambda: "go" in cell.stream())
    kernel.manager.interrupt_kernel()
    line = "interrupt sent to companion 'default'; it has not stopped yet: interrupt again to kill it"
    listener.until(lambda: line in cell.stream("stderr"))
    kernel.manager.interrupt_kernel()
    listener.until(lambda: bool(cell.of("error")))
    assert "killed by the second interrupt" in str(cell.of("display_data"))
    listener.until(lambda: listener.run("mine").status == "ok")  # what follows an error at once is not run
    assert listener.run("mine").result["text/plain"] == "'kept'"
    assert listener.run("%%isolated\n1").result["text/plain"] == "1"


def test_it_works_for_a_call_through_a_proxy_too(kernel: Kernel) -> None:
    kernel.run(
        "%%isolated -o hang\nimport ctypes, signal\ndef hang():\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "    print('go', flush=True)\n    while True: ctypes.CDLL(None).sleep(100)"
    )
    listener = Listener(kernel)
    cell = listener.start("hang()")
    listener.until(lambda: "go" in cell.stream())
    kernel.manager.interrupt_kernel()
    listener.until(lambda: "interrupt again to kill it" in cell.stream("stderr"))
    kernel.manager.interrupt_kernel()
    listener.until(lambda: bool(cell.of("error")))
    listener.until(lambda: listener.run("1").status == "ok")
    assert listener.run("%%isolated\n1").result["text/plain"] == "1"
