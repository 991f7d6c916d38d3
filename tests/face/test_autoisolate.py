"""`%autoisolate`: every following cell runs in a companion, in a real kernel and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from face.test_terminal import terminal
from kernels import Kernel

WHERE = "import os\nos.getpid()"


@pytest.fixture(scope="module")
def one_kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic")
    yield made
    made.close()


@pytest.fixture
def kernel(one_kernel: Kernel) -> Iterator[Kernel]:
    """Give the kernel with it switched on."""
    assert one_kernel.run("%%isolated\nNone").status == "ok"
    assert one_kernel.run("%autoisolate on").status == "ok"
    yield one_kernel
    one_kernel.run("%autoisolate off")


def pid_of(kernel: Kernel) -> str:
    """Return the companion's process id, as a cell that stays here tells it."""
    cell = kernel.run("%%time\nimport isolate_magic\nisolate_magic.default_companion().pid")
    return str(cell.result["text/plain"])


def test_switching_it_on_says_so_in_one_line(one_kernel: Kernel) -> None:
    said = one_kernel.run("%autoisolate on").stream()
    assert said.count("\n") == 1
    assert "every following cell runs in companion 'default'" in said
    assert "%autoisolate off ends this" in said
    assert "is on" in one_kernel.run("%autoisolate").stream()
    assert "is off" in one_kernel.run("%autoisolate off").stream()
    assert one_kernel.run("%autoisolate").stream() == "%autoisolate is off\n"


def test_plain_cells_run_there_and_share_their_names(kernel: Kernel) -> None:
    assert kernel.run(WHERE).result["text/plain"] == pid_of(kernel)
    kernel.run("x = 5")
    assert kernel.run("x + 1").result["text/plain"] == "6"
    assert kernel.run("%%isolated\nx").result["text/plain"] == "5"


def test_the_prompt_number_and_the_values_are_those_of_the_visible_cell(kernel: Kernel) -> None:
    cell = kernel.run("[1, 2]")
    assert cell.of("execute_result")[0]["execution_count"] == cell.reply["execution_count"]
    kernel.run("%autoisolate off")
    assert kernel.run(f"Out[{cell.reply['execution_count']}][1]").result["text/plain"] == "2"


@pytest.mark.parametrize(("code", "line"), [("x = 1\n1 / 0", 2), ("\n\nx = 1\n1 / 0", 4), ("1 / 0", 1)])
def test_lines_are_counted_as_the_editor_counts_them(kernel: Kernel, code: str, line: int) -> None:
    cell = kernel.run(code)
    assert f"Cell In[{cell.reply['execution_count']}], line {line}" in cell.error
    assert "isolate_magic" not in cell.error


def test_a_crash_names_the_line_too(kernel: Kernel) -> None:
    cell = kernel.run("\nimport os\nos.abort()")
    assert (
        f"Cell In[{cell.reply['execution_count']}], line 3"
        in cell.of("display_data")[0]["data"]["text/plain"]
    )


@pytest.mark.parametrize(
    "code", ["%%time\n" + WHERE, "%%capture caught\n" + WHERE, "%load_ext isolate_magic\n" + WHERE]
)
def test_cells_that_begin_with_such_magics_stay_here(kernel: Kernel, code: str) -> None:
    there = pid_of(kernel)
    cell = kernel.run(code)
    assert cell.status == "ok"
    assert cell.result.get("text/plain") != there


def test_magics_shell_commands_and_await_work_there(kernel: Kernel) -> None:
    assert kernel.run("!echo shell").stream().split() == ["shell"]
    assert "Wall time" in kernel.run("%time 1").stream()
    assert kernel.run("import asyncio\nawait asyncio.sleep(0, 'slept')").result["text/plain"] == "'slept'"


def test_what_a_frontend_asks_silently_stays_here(kernel: Kernel) -> None:
    there = pid_of(kernel)
    seen = kernel.run("import os", silent=True, user_expressions={})
    assert seen.status == "ok"
    hidden = kernel.run("import os\nprint(os.getpid())", store_history=False)
    assert hidden.stream().strip() != there


def test_blank_cells_and_comments_do_no_harm(kernel: Kernel) -> None:
    for code in ("", "   \n", "# only a comment"):
        assert kernel.run(code).status == "ok"


def test_options_hold_for_every_cell(kernel: Kernel) -> None:
    said = kernel.run("%autoisolate on -c 'other' --group").stream()
    assert "companion 'other'" in said
    cell = kernel.run("import sys\nprint(1); print(2, file=sys.stderr); print(3)")
    assert [content["text"] for kind, content in cell.messages] == ["1\n3\n", "2\n"]
    assert "other: idle" in kernel.run("%isolate list").stream()


def test_who_completes_names_can_find_out_where_cells_run(kernel: Kernel) -> None:
    ask = "%%time\nfrom isolate_magic.face.autoisolate import plain_cell\nplain_cell(get_ipython(), 'x').companion"
    assert kernel.run(ask).result["text/plain"] == "'default'"
    kernel.run("%autoisolate on -c other")
    assert kernel.run(ask).result["text/plain"] == "'other'"
    kernel.run("%autoisolate off")
    assert kernel.run(ask).result == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("of", "takes on or off, not 'of'"),
        ("on --bogus", "knows no option --bogus"),
        ("on -c ../x", "no name for a companion"),
    ],
)
def test_bad_lines_change_nothing(one_kernel: Kernel, line: str, said: str) -> None:
    assert said in one_kernel.run(f"%autoisolate {line}").stream("stderr")
    assert one_kernel.run("%autoisolate").stream() == "%autoisolate is off\n"


def test_unloading_takes_it_away() -> None:
    kernel = Kernel()
    try:
        before = kernel.run("len(get_ipython().input_transformers_cleanup)").result["text/plain"]
        kernel.run("%load_ext isolate_magic")
        kernel.run("%autoisolate on")
        kernel.run("mine = 1")
        assert kernel.run("%reload_ext isolate_magic").status == "ok"
        assert kernel.run("%autoisolate").stream() == "%autoisolate is off\n"
        kernel.run("%unload_ext isolate_magic")
        assert kernel.run("mine").reply["ename"] == "NameError"
        assert kernel.run("len(get_ipython().input_transformers_cleanup)").result["text/plain"] == before
        assert "not found" in kernel.run("%autoisolate").stream("stderr")
    finally:
        kernel.close()


def test_it_works_in_a_terminal() -> None:
    seen = terminal(
        "%load_ext isolate_magic", "import os; here = os.getpid()", "%autoisolate on", "x = 6",
        "x * 7", "\n1 / 0", "%autoisolate off", "x",
    )  # fmt: skip
    assert "Out[5]: 42" in seen
    assert re.search(r"Cell In\[6\], line 2", re.sub(r"\x1b\[[0-9;]*m", "", seen))
    assert "name 'x' is not defined" in seen


def test_a_cell_that_is_not_complete_in_a_terminal_stays_incomplete() -> None:
    seen = terminal(
        "%load_ext isolate_magic", "%autoisolate on",
        "%%time\nprint(get_ipython().check_complete('for i in x:'), get_ipython().check_complete('x = 1'))",
    )  # fmt: skip
    assert "('incomplete', '    ') ('complete', '')" in seen
