"""Cells of the isolated kernel, as those of ipykernel: values, output, magics, errors, and what a reply says."""

from __future__ import annotations

import os
from typing import Any

import psutil
import pytest
from kernels import Cell, Kernel


def text(cell: Cell) -> str:
    assert cell.status == "ok", cell.error
    return str(cell.result.get("text/plain", ""))


def next_number(kernel: Kernel) -> int:
    return int(kernel.run("1").reply["execution_count"]) + 1


# ---------------------------------------------------------------- values and numbers


def test_cells_run_in_another_process_than_jupyter_speaks_with(kernel: Kernel) -> None:
    front = kernel.manager.provisioner.pid  # type: ignore[union-attr]
    pid = int(text(kernel.run("import os; os.getpid()")))
    assert pid != front
    assert psutil.Process(front) in psutil.Process(pid).parents()


def test_a_value_has_the_number_of_its_cell_and_stays_in_out(kernel: Kernel) -> None:
    number = next_number(kernel)
    cell = kernel.run("6 * 7")
    assert cell.of("execute_result")[0]["execution_count"] == cell.reply["execution_count"] == number
    assert (
        text(kernel.run(f"_, Out[{number}], _{number}, In[{number}], _i{number}"))
        == "(42, 42, 42, '6 * 7', '6 * 7')"
    )


def test_a_semicolon_hides_the_value(kernel: Kernel) -> None:
    assert not kernel.run("1;").result


def test_what_is_not_stored_takes_no_number(kernel: Kernel) -> None:
    number = next_number(kernel)
    assert kernel.run("5", store_history=False).of("execute_result")[0]["execution_count"] == number
    silent = kernel.run("x = 1; x", silent=True)
    assert (silent.status, silent.messages) == ("ok", [])
    assert kernel.run("").reply["execution_count"] == number - 1
    assert kernel.run("x").reply["execution_count"] == number


def test_user_expressions_are_evaluated_there(kernel: Kernel) -> None:
    told = kernel.run("x = 5", user_expressions={"a": "x", "b": "1/0"}).reply["user_expressions"]
    assert told["a"] == {"status": "ok", "data": {"text/plain": "5"}, "metadata": {}}
    assert told["b"]["ename"] == "ZeroDivisionError"


def test_an_error_stops_the_cells_that_wait(kernel: Kernel) -> None:
    client = kernel.client
    sent = [client.execute(code) for code in ("import time; time.sleep(0.2); 1 / 0", "1", "2")]
    replies = {}
    while len(replies) < len(sent):
        message = client.get_shell_msg(timeout=30)
        replies[message["parent_header"]["msg_id"]] = message["content"]["status"]
    assert [replies[name] for name in sent] == ["error", "aborted", "aborted"]
    assert kernel.run("3").status == "ok"


# ---------------------------------------------------------------- output


def test_the_two_streams_and_displays_keep_their_order(kernel: Kernel) -> None:
    cell = kernel.run(
        "import os, sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')\ndisplay(1)\nos.system('echo d')\n"
        "display(2)\nprint('e')"
    )
    found = [c.get("text") or c["data"]["text/plain"] for _, c in cell.messages]
    assert [part for part in "".join(f"{part.strip()} " for part in found).split()] == [
        "a",
        "b",
        "c",
        "1",
        "d",
        "2",
        "e",
    ]


def test_many_lines_make_few_messages(kernel: Kernel) -> None:
    cell = kernel.run("import sys\nfor i in range(3000): print(i); print(i, file=sys.stderr)")
    assert cell.stream().count("\n") == cell.stream("stderr").count("\n") == 3000
    assert len(cell.messages) < 500


def test_displays_are_shown_updated_and_cleared(kernel: Kernel) -> None:
    cell = kernel.run(
        "from IPython.display import clear_output\nh = display('a', display_id='q')\nh.update('b')\nclear_output(wait=True)"
    )
    kinds = [kind for kind, _ in cell.messages]
    assert kinds == ["display_data", "update_display_data", "clear_output"]
    assert cell.messages[1][1]["transient"]["display_id"] == "q"
    assert cell.messages[2][1]["wait"] is True


def test_a_figure_is_shown_at_the_end_of_its_cell(kernel: Kernel) -> None:
    pytest.importorskip("matplotlib")
    cell = kernel.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert [sorted(content["data"]) for content in cell.of("display_data")] == [["image/png", "text/plain"]]
    kernel.run("%config InlineBackend.figure_formats = ['svg']")
    assert "image/svg+xml" in kernel.run("plt.plot([1, 2]);").of("display_data")[0]["data"]


def test_half_a_character_does_not_hang_the_cell(kernel: Kernel) -> None:
    assert kernel.run("raise ValueError('\\ud800')").status == "error"
    assert kernel.run("display({'text/plain': 'a\\ud800'}, raw=True)").of("display_data")[0]["data"] == {
        "text/plain": "a?"
    }


# ---------------------------------------------------------------- magics and payloads


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("!echo shell", "shell"),
        ("%%bash\necho script", "script"),
        ("%timeit -n1 -r1 pass", "per loop"),
        ("%cd -q /\n%pwd\nprint(get_ipython().run_line_magic('pwd', ''))", "/"),
        ("lines = !echo two\nprint(lines)", "['two']"),
        ("import asyncio\nasync def f(): return 'awaited'\nprint(await f())", "awaited"),
        ("get_ipython().run_cell_magic('capture', 'caught', 'print(1)')\nprint([caught.stdout])", r"['1\n']"),
        ("import concurrent.futures as c\nwith c.ProcessPoolExecutor(1) as p: print(list(p.map(abs, [-1])))", "[1]"),
    ],
)  # fmt: skip
def test_magics_work_as_anywhere(kernel: Kernel, code: str, shown: str) -> None:
    cell = kernel.run(code)
    assert cell.status == "ok", cell.error
    assert shown in cell.stream()


def test_payloads_reach_the_frontend(kernel: Kernel, tmp_path: Any) -> None:
    page = kernel.run("int?").reply["payload"][0]
    assert page["source"] == "page"
    assert "Docstring" in page["data"]["text/plain"]
    (tmp_path / "some.py").write_text("loaded = 1\n")
    (loaded,) = kernel.run(f"%load {tmp_path}/some.py").reply["payload"]
    assert loaded["source"] == "set_next_input"
    assert "loaded = 1" in loaded["text"]


def test_an_unknown_magic_is_text_on_stderr_as_in_ipykernel(kernel: Kernel) -> None:
    cell = kernel.run("%nosuch")
    assert (cell.reply["ename"], cell.of("error")) == ("UsageError", [])
    assert "%nosuch" in cell.stream("stderr")


def test_modules_beside_the_notebook_are_found_there_and_never_by_the_front(tmp_path: Any) -> None:
    (tmp_path / "ipywidgets.py").write_text("import os; os.environ['TAKEN'] = str(os.getpid())\n")
    (tmp_path / "beside.py").write_text("here = 'found'\n")
    kernel = Kernel.__new__(Kernel)
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        kernel = Kernel(name="isolated")
        assert (
            text(kernel.run("import beside, os; beside.here, os.getcwd()")) == f"('found', {str(tmp_path)!r})"
        )
        front = psutil.Process(kernel.manager.provisioner.pid)  # type: ignore[union-attr]
        kernel.run(
            "from comm import create_comm\ncreate_comm(target_name='jupyter.widget', data={'state': {}})"
        )
        assert kernel.run("1").status == "ok"
        assert front.is_running()
        assert "TAKEN" not in front.environ()
    finally:
        os.chdir(before)
        kernel.close()


def test_it_sees_the_environment_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATED_KERNEL_TEST", "seen")
    kernel = Kernel(name="isolated")
    try:
        assert text(kernel.run("import os; os.environ['ISOLATED_KERNEL_TEST']")) == "'seen'"
        front = psutil.Process(kernel.manager.provisioner.pid)  # type: ignore[union-attr]
        assert len(front.children()) == 1, "the zygote that was started first is the one that is used"
    finally:
        kernel.close()


# ---------------------------------------------------------------- questions


def test_tab_knows_the_names_of_the_cells(kernel: Kernel) -> None:
    kernel.run("some_long_name = [1]")
    reply = kernel.client.complete("some_lo", 7, reply=True, timeout=30)["content"]
    assert reply["matches"] == ["some_long_name"]
    assert reply["metadata"]["_jupyter_types_experimental"][0]["type"] == "instance"
    reply = kernel.client.complete("some_long_name.app", 18, reply=True, timeout=30)["content"]
    assert reply["matches"] == ["append"]


def test_shift_tab_tells_of_objects_of_the_cells(kernel: Kernel) -> None:
    kernel.run("def half(x):\n    'Give half.'\n    return x / 2")
    reply = kernel.client.inspect("half(", 4, 0, reply=True, timeout=30)["content"]
    assert reply["found"]
    assert "Give half." in reply["data"]["text/plain"]
    assert not kernel.client.inspect("no_such_name", 4, 0, reply=True, timeout=30)["content"]["found"]


def test_history_outlives_a_crash() -> None:
    kernel = Kernel(name="isolated")
    try:
        kernel.run("first = 1")
        kernel.run("import os; os.abort()")
        told = kernel.client.history(hist_access_type="tail", n=2, reply=True, timeout=30)["content"][
            "history"
        ]
        assert told == [[0, 1, "first = 1"], [0, 2, "import os; os.abort()"]]
    finally:
        kernel.close()


def test_it_offers_no_debugger_and_says_so(kernel: Kernel) -> None:
    info = kernel.client.kernel_info(reply=True, timeout=30)["content"]
    assert info["implementation"] == "isolate_magic"
    assert "debugger" not in info["supported_features"]
    message = kernel.client.session.msg(
        "debug_request", {"type": "request", "seq": 3, "command": "initialize"}
    )
    kernel.client.control_channel.send(message)
    reply = kernel.client.get_control_msg(timeout=30)
    while reply["msg_type"] != "debug_reply":
        reply = kernel.client.get_control_msg(timeout=30)
    assert reply["content"]["success"] is False
    assert "no debugger" in reply["content"]["message"]


# ---------------------------------------------------------------- input


def answered(kernel: Kernel, code: str, *lines: str) -> tuple[Cell, list[dict[str, Any]]]:
    """Run a cell and answer what it asks."""
    asked: list[dict[str, Any]] = []

    def answer(message: dict[str, Any]) -> None:
        asked.append(message["content"])
        kernel.client.input(lines[len(asked) - 1])

    return kernel.run(code, allow_stdin=True, stdin_hook=answer), asked


def test_input_getpass_and_the_debugger_ask_the_user(kernel: Kernel) -> None:
    cell, asked = answered(
        kernel, "import getpass\ninput('name? '), getpass.getpass('key? ')", "Ada", "secret"
    )
    assert text(cell) == "('Ada', 'secret')"
    assert asked == [{"prompt": "name? ", "password": False}, {"prompt": "key? ", "password": True}]
    kernel.run("def f():\n    x = 40\n    1 / 0\nf()")
    cell, _ = answered(kernel, "%debug", "p x + 2", "q")
    assert "42" in cell.stream()


def test_input_is_refused_where_nobody_can_be_asked(kernel: Kernel) -> None:
    assert "takes no input" in kernel.run("input('x')", allow_stdin=False).error


# ---------------------------------------------------------------- a companion within


def test_the_extension_works_in_a_cell_of_the_kernel(kernel: Kernel) -> None:
    assert kernel.run("%load_ext isolate_magic").status == "ok"
    outer = text(kernel.run("import os; os.getpid()"))
    inner = text(kernel.run("%%isolated\nimport os; os.getpid()"))
    assert inner != outer
    died = kernel.run("%%isolated\nos.abort()")
    assert "companion 'default' died" in died.error
    assert text(kernel.run("os.getpid()")) == outer
