"""`input()` in a companion: the notebook's own box asks, in a real kernel and in a terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kernels import Cell, Kernel

from isolate_magic import Companion


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic")
    yield made
    made.close()


@pytest.fixture
def kernel(one_kernel: Kernel) -> Kernel:
    """Give the kernel with a living companion: the cell after a crash says that there is a new one."""
    assert one_kernel.run("%%isolated\nNone").status == "ok"
    return one_kernel


def answering(kernel: Kernel, code: str, *answers: str) -> tuple[Cell, list[dict[str, Any]]]:
    """Run a cell and type these answers; return the cell and what it asked."""
    asked: list[dict[str, Any]] = []
    left = iter(answers)

    def answer(message: dict[str, Any]) -> None:
        asked.append(message["content"])
        kernel.client.input(next(left))

    return kernel.run(code, allow_stdin=True, stdin_hook=answer), asked


def doing(kernel: Kernel, code: str, act: Callable[[], None]) -> Cell:
    """Run a cell and do something instead of an answer."""
    return kernel.run(code, allow_stdin=True, stdin_hook=lambda message: act())


def test_input_asks_in_the_notebooks_box(kernel: Kernel) -> None:
    cell, asked = answering(kernel, "%%isolated\nname = input('name? ')\nf'hello {name}'", "Ada")
    assert asked == [{"prompt": "name? ", "password": False}]
    assert cell.result["text/plain"] == "'hello Ada'"


def test_getpass_asks_for_a_password(kernel: Kernel) -> None:
    cell, asked = answering(kernel, "%%isolated\nfrom getpass import getpass\ngetpass()", "secret")
    assert asked == [{"prompt": "Password: ", "password": True}]
    assert cell.result["text/plain"] == "'secret'"


def test_output_before_the_question_is_shown_before_it(kernel: Kernel) -> None:
    shown: list[str] = []
    seen_when_asked: list[str] = []

    def take(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            shown.append(message["content"]["text"])

    def answer(message: dict[str, Any]) -> None:
        while "before" not in "".join(shown):
            take(kernel.client.get_iopub_msg(timeout=10))
        seen_when_asked.extend(shown)
        kernel.client.input("x")

    kernel.client.execute_interactive(
        "%%isolated\nprint('before')\ninput()\nprint('after')",
        allow_stdin=True, stdin_hook=answer, output_hook=take, timeout=30,
    )  # fmt: skip
    assert "".join(seen_when_asked) == "before\n"
    assert "".join(shown) == "before\nafter\n"


def test_a_call_through_a_proxy_may_ask(kernel: Kernel) -> None:
    kernel.run("%%isolated -o greet\ndef greet(): return 'hello ' + input('who? ')")
    cell, asked = answering(kernel, "greet()", "Ada")
    assert asked == [{"prompt": "who? ", "password": False}]
    assert cell.result["text/plain"] == "'hello Ada'"


def test_breakpoint_opens_a_debugger_that_asks(kernel: Kernel) -> None:
    code = "%%isolated\ndef double(x):\n    breakpoint()\n    return 2 * x\ndouble(1)"
    cell, asked = answering(kernel, code, "p x + 40", "x = 21", "continue")
    assert [one["prompt"] for one in asked] == ["ipdb> "] * 3
    assert "41\n" in cell.stream()
    assert cell.result["text/plain"] == "42"


def test_an_interrupt_after_continue_is_no_affair_of_the_debuggers(kernel: Kernel) -> None:
    answering(kernel, "%%isolated\nbreakpoint()\nNone", "continue")
    code = "%%isolated\nprint('on')\nwhile True: pass"

    def take(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and "on" in message["content"]["text"]:
            kernel.manager.interrupt_kernel()

    reply = kernel.client.execute_interactive(code, output_hook=take, timeout=30)
    assert reply["content"]["ename"] == "KeyboardInterrupt"


def test_the_debugger_looks_at_the_last_error(kernel: Kernel) -> None:
    kernel.run("%%isolated\ndef broken(y):\n    return 1 / y\nbroken(0)")
    cell, asked = answering(kernel, "%%isolated\n%debug", "p y + 40", "quit")
    assert len(asked) == 2
    assert "40\n" in cell.stream()


def test_an_interrupt_closes_the_box_and_ends_the_cell(kernel: Kernel) -> None:
    code = "%%isolated\nlater = False\ninput()\nlater = True"
    cell = doing(kernel, code, kernel.manager.interrupt_kernel)
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert "line 3" in cell.error
    assert "isolate_magic/" not in cell.error
    assert kernel.run("%%isolated\nlater").result["text/plain"] == "False"


def test_end_of_file_is_an_error_of_its_own(kernel: Kernel) -> None:
    cell, _ = answering(kernel, "%%isolated\ninput()", "\x04")
    assert cell.reply["ename"] == "EOFError"


def test_a_time_limit_closes_the_box(kernel: Kernel) -> None:
    assert doing(kernel, "%%isolated -t 0.5\ninput()", lambda: None).reply["ename"] == "CellTimeout"
    assert kernel.run("%%isolated\n1 + 1").result["text/plain"] == "2"


def test_the_death_of_the_companion_closes_the_box(kernel: Kernel) -> None:
    code = "%%isolated\nimport os, threading\nthreading.Timer(0.2, os.abort).start()\ninput()"
    cell = doing(kernel, code, lambda: None)
    assert cell.reply["ename"] == "ProcessTerminationError"
    assert kernel.run("1 + 1").result["text/plain"] == "2"


def test_a_frontend_without_a_box_is_named(kernel: Kernel) -> None:
    cell = kernel.run("%%isolated\ninput()", allow_stdin=False)
    assert cell.reply["ename"] == "StdinNotImplementedError"
    assert "this frontend takes no input" in cell.reply["evalue"]
    assert "isolate_magic/" not in cell.error


def test_a_thread_cannot_ask(kernel: Kernel) -> None:
    kernel.run("%%isolated -o ask\ndef ask(): return input()")
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool: error = pool.submit(ask).exception()\n"
        "type(error).__name__, str(error)"
    )
    text = kernel.run(code, allow_stdin=True, stdin_hook=lambda message: None).result["text/plain"]
    assert "StdinNotImplementedError" in text
    assert "from a cell that runs in the foreground" in text.replace("'\n '", "")


def test_an_untrusted_companion_cannot_ask(kernel: Kernel) -> None:
    kernel.run("%isolate start stranger --policy untrusted")
    cell, asked = answering(kernel, "%%isolated -c stranger\ninput('password: ')")
    assert not asked
    assert cell.error.endswith("StdinNotImplementedError: input() is off under policy 'untrusted'")


def test_an_untrusted_companion_that_asks_all_the_same_is_refused(kernel: Kernel) -> None:
    kernel.run("%isolate start stranger --policy untrusted")
    code = (
        "%%isolated -c stranger\n"
        "from isolate_magic.link import packing\npacking.here.ask_host('ask', 'password: ', True)"
    )
    cell, asked = answering(kernel, code)
    assert not asked
    assert cell.result["text/plain"] == "▏('refused', \"input() is off under policy 'untrusted'\")"


def test_a_long_prompt_is_cut(kernel: Kernel) -> None:
    _, asked = answering(kernel, "%%isolated\n_ = input('x' * 1_000_000)", "")
    assert len(asked[0]["prompt"]) == 10_000


def test_without_a_notebook_the_terminal_asks() -> None:
    code = (
        "from isolate_magic import Companion\n"
        "with Companion('asker') as companion: print('got', companion.run('input(\"name? \")'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="Ada\n", capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "name? got Ada\n"


def test_in_an_ipython_terminal_the_terminal_asks() -> None:
    code = (
        "from IPython.terminal.interactiveshell import TerminalInteractiveShell\n"
        "shell = TerminalInteractiveShell.instance(simple_prompt=True)\n"
        "shell.run_cell('%load_ext isolate_magic')\n"
        'shell.run_cell(\'%%isolated\\nprint("got", input("name? "))\')'
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="Ada\n", capture_output=True, text=True, timeout=60, check=True
    )
    assert "name? got Ada\n" in done.stdout


def test_unloading_gives_the_terminal_back() -> None:
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\nfrom isolate_magic import frontend\n"
        "before = frontend.current\nshell = InteractiveShell.instance()\n"
        "shell.run_cell('%load_ext isolate_magic\\n%reload_ext isolate_magic')\nassert frontend.current is not before\n"
        "shell.run_cell('%unload_ext isolate_magic')\nassert frontend.current is before"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_nobody_waits_at_a_pipe_that_says_nothing(companion: Companion) -> None:
    with pytest.raises(OSError, match="reading from stdin while output is captured"):
        companion.run("input()")  # pytest's own stdin: the question has come here
