"""The crash card in a real kernel: what is shown, in which order, and what its buttons do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernels import Cell, Kernel
from waiting import until

VIEW = "application/vnd.jupyter.widget-view+json"
CRASH = "%%isolated\nimport ctypes\nctypes.string_at(0)"
ONCE = """%%isolated{options}
import os, pathlib
print("running")
flag = pathlib.Path({path!r})
if not flag.exists():
    flag.touch()
    os.abort()
6 * 7"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel(
        "%load_ext isolate_magic\n%config Isolate.snapshots = 'off'\nimport ipywidgets, isolate_magic"
    )
    yield made
    made.close()


class Buttons:
    """The buttons below a report, pressed as a frontend does it."""

    def __init__(self, kernel: Kernel, cell: Cell) -> None:
        self.kernel = kernel
        (self.id,) = (
            data["data"][VIEW]["model_id"] for data in cell.of("display_data") if VIEW in data["data"]
        )

    def ask(self, expression: str) -> Any:
        """Evaluate something about `box`, the widget that is shown."""
        code = f"import json; box = ipywidgets.Widget.widgets[{self.id!r}]; row = box.children[0].children\n"
        cell = self.kernel.run(f"{code}print(json.dumps({expression}))")
        assert cell.status == "ok", cell.error
        return json.loads(cell.stream())

    @property
    def states(self) -> dict[str, bool]:
        """Tell which buttons can be pressed."""
        return dict(self.ask("[(b.description, not b.disabled) for b in row[:3]]"))

    @property
    def says(self) -> str:
        return str(self.ask("row[3].value"))

    @property
    def area(self) -> list[dict[str, Any]]:
        return list(self.ask("list(box.children[2].outputs)"))

    def press(self, name: str) -> None:
        comm = self.ask(f"next(b.model_id for b in row[:3] if b.description == {name!r})")
        session, channel = self.kernel.client.session, self.kernel.client.shell_channel
        data = {"method": "custom", "content": {"event": "click"}}
        channel.send(session.msg("comm_msg", {"comm_id": comm, "data": data}))


def test_the_report_comes_first_then_buttons_then_the_error(kernel: Kernel) -> None:
    cell = kernel.run(CRASH)
    report, buttons = cell.of("display_data")
    kinds = [kind for kind, _ in cell.messages if kind in ("display_data", "error")]
    assert kinds == ["display_data", "display_data", "error"]
    assert set(report["data"]) == {"text/plain", "text/html"}
    for text in report["data"].values():
        assert "SIGSEGV" in text
        assert "ctypes.string_at(0)" in text
    assert set(buttons["data"]) == {VIEW, "text/plain", "text/html"}


def test_a_report_is_shown_once_however_often_its_error_is_raised(kernel: Kernel) -> None:
    cell = kernel.run(
        "from isolate_magic import ProcessTerminationError\nctypes = import_isolated('ctypes')\n"
        "try: ctypes.string_at(0)\nexcept ProcessTerminationError as e: error = e\nraise error from None"
    )
    assert len(cell.of("display_data")) == 2
    again = kernel.run("raise error")
    assert again.reply["ename"] == "ProcessTerminationError"
    assert not again.of("display_data")
    kernel.run("del error")


def test_restart_starts_the_companion_and_says_so(kernel: Kernel) -> None:
    buttons = Buttons(kernel, kernel.run(CRASH))
    assert buttons.states == {"Restart": True, "Rerun the cell": True, "Report as text": True}
    buttons.press("Restart")
    until(lambda: "started, pid" in buttons.says)
    pid = kernel.run("import isolate_magic; isolate_magic.default_companion().pid").result["text/plain"]
    assert f"started, pid {pid}<" in buttons.says
    assert not buttons.states["Restart"]
    after = kernel.run("%%isolated\nimport os; os.getpid()")
    assert after.result["text/plain"] == pid
    assert after.stream("stderr") == ""  # the card has told of the death


def test_rerun_shows_the_output_in_the_card_and_binds_what_the_cell_binds(
    kernel: Kernel, tmp_path: Path
) -> None:
    kernel.run("given = 'given here'")
    source = ONCE.format(options=" -i given -o made", path=str(tmp_path / "flag")) + "\nmade = [given]\nmade"
    buttons = Buttons(kernel, kernel.run(source))
    buttons.press("Rerun the cell")
    until(lambda: "ran after" in buttons.says)
    stream, value = buttons.area
    assert stream == {"output_type": "stream", "name": "stdout", "text": "running\n"}
    assert value["data"]["text/plain"] == "['given here']"
    assert kernel.run("made[0]").result["text/plain"] == "'given here'"


def test_a_rerun_that_dies_again_shows_its_report_in_the_card(kernel: Kernel) -> None:
    buttons = Buttons(kernel, kernel.run(CRASH))
    buttons.press("Rerun the cell")
    until(lambda: "died again" in buttons.says)
    report, error = buttons.area
    assert "SIGSEGV" in report["data"]["text/plain"]
    assert error["ename"] == "ProcessTerminationError"
    assert buttons.states == {"Restart": True, "Rerun the cell": True, "Report as text": True}


def test_a_rerun_that_fails_shows_the_companions_traceback(kernel: Kernel, tmp_path: Path) -> None:
    source = ONCE.format(options="", path=str(tmp_path / "flag")) + "\n1 / 0"
    buttons = Buttons(kernel, kernel.run(source))
    buttons.press("Rerun the cell")
    until(lambda: "failed after" in buttons.says)
    assert buttons.area[-1]["ename"] == "ZeroDivisionError"
    assert "line 9" in "".join(buttons.area[-1]["traceback"])


def test_a_rerun_can_be_interrupted(kernel: Kernel, tmp_path: Path) -> None:
    source = ONCE.format(options="", path=str(tmp_path / "flag")) + "\nwhile True: pass"
    buttons = Buttons(kernel, kernel.run(source))
    buttons.press("Rerun the cell")
    until(lambda: buttons.states.get("Interrupt"))
    until(lambda: buttons.area)
    buttons.press("Interrupt")
    until(lambda: "failed after" in buttons.says)
    assert buttons.area[-1]["ename"] == "KeyboardInterrupt"
    assert "Rerun the cell" in buttons.states


def test_errors_of_a_button_are_shown_in_the_card(kernel: Kernel) -> None:
    buttons = Buttons(kernel, kernel.run(CRASH))
    kernel.run("companion = isolate_magic.default_companion(); preload = companion.preload")
    kernel.run("companion.preload = ('no_such_module',)")
    buttons.press("Restart")
    until(lambda: "StartError" in buttons.says)
    assert "no_such_module" in buttons.says
    assert buttons.states["Restart"]
    kernel.run("companion.preload = preload")


def test_the_report_is_given_as_text_to_copy(kernel: Kernel) -> None:
    buttons = Buttons(kernel, kernel.run(CRASH))
    buttons.press("Report as text")
    until(lambda: "Hide the text" in buttons.states)
    assert "SIGSEGV" in buttons.ask("box.children[1].value")
    buttons.press("Hide the text")
    until(lambda: buttons.ask("box.children[1].layout.display") == "none")


def test_buttons_that_make_no_sense_say_why(kernel: Kernel) -> None:
    called = Buttons(kernel, kernel.run("import_isolated('ctypes').string_at(0)"))
    assert called.states == {"Restart": True, "Rerun the cell": False, "Report as text": True}
    assert "it died in ctypes.string_at(), not in an %%isolated cell" in called.says
    closed = Buttons(kernel, kernel.run(CRASH.replace("%%isolated", "%%isolated -c other")))
    kernel.run("isolate_magic.get_companion('other').close()")
    assert closed.states == {"Restart": False, "Rerun the cell": False, "Report as text": True}
    assert "its companion was closed" in closed.says


def test_few_cards_live_and_none_after_unloading() -> None:
    kernel = Kernel()
    try:
        kernel.run("%load_ext isolate_magic\nimport ipywidgets")
        count = "print(len(ipywidgets.Widget.widgets))"
        before = int(kernel.run(count).stream())
        one = kernel.run(CRASH)
        each = int(kernel.run(count).stream()) - before
        later = [kernel.run(CRASH) for _ in range(6)]
        assert int(kernel.run(count).stream()) == before + 5 * each
        (gone,) = (content for content in later[-2].of("update_display_data"))
        assert "there are 5 newer cards" in gone["data"]["text/html"]
        assert gone["transient"] == one.of("display_data")[1]["transient"]
        unloaded = kernel.run("%unload_ext isolate_magic").of("update_display_data")
        assert len(unloaded) == 5
        assert "isolate_magic was unloaded" in unloaded[0]["data"]["text/plain"]
        assert int(kernel.run(count).stream()) == before
    finally:
        kernel.close()


def test_lines_are_those_of_the_visible_cell_whatever_stands_above(kernel: Kernel) -> None:
    for source, line in (
        (f"\n\n{CRASH}", 5),
        ("%%isolated\n\n\nimport ctypes\nctypes.string_at(0)\n\n", 5),
        ("\n  \n%%time\n%%isolated -t 60\n\nimport ctypes\nctypes.string_at(0)", 7),
        ("%%isolated -t 5\nimport ctypes; ctypes.string_at(0); 5", 2),
    ):
        text = kernel.run(source).of("display_data")[0]["data"]["text/plain"]
        assert f"line {line}, in <module>" in text, text
        assert f"----> {line} " in text
    failed = kernel.run("\n\n%%isolated\n\n1 / 0")
    assert "line 5" in failed.error


def test_an_untrusted_companion_writes_nothing_but_text_into_its_report(kernel: Kernel) -> None:
    kernel.run("%isolate start wild --policy untrusted")
    cell = kernel.run(
        "%%isolated -c wild\nimport os, sys\n"
        "exec(compile('import ctypes\\ndef f(): ctypes.string_at(0)', '<img src=x onerror=alert(1)>', 'exec'))\n"
        "print('<script>alert(2)</script>\\x1b]0;title\\x07', file=sys.stderr)\nf()"
    )
    html = cell.of("display_data")[0]["data"]["text/html"]
    assert "<img" not in html
    assert "<script" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;" in html
    kernel.run("isolate_magic.get_companion('wild').close()")


def test_what_an_untrusted_companion_shows_in_a_rerun_is_filtered_as_ever(kernel: Kernel) -> None:
    kernel.run("%isolate start wild --policy untrusted")
    cell = kernel.run(
        "%%isolated -c wild -t 20\nimport os, pathlib\nfrom IPython.display import HTML, display\n"
        "if 'given' not in globals(): os.abort()\n"
        "print('\\x1b]0;title\\x07told'); display(HTML('<b>bold</b><script>alert(1)</script>'))"
    )
    buttons = Buttons(kernel, cell)
    buttons.press("Restart")
    until(lambda: "started, pid" in buttons.says)
    kernel.run("isolate_magic.get_companion('wild').push({'given': 1})")
    buttons.press("Rerun the cell")
    until(lambda: "ran after" in buttons.says)
    shown = json.dumps(buttons.area)
    assert "told" in shown
    assert "bold" in shown
    assert "alert(1)" not in shown
    assert "\\u001b]" not in shown
    kernel.run("isolate_magic.get_companion('wild').close()")


def test_a_saved_notebook_keeps_the_facts_and_no_state_of_widgets(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook()
    for source in ("%load_ext isolate_magic", CRASH, "6 * 7"):
        book.cells.append(nbformat.v4.new_code_cell(source))
    source, run, page = tmp_path / "crash.ipynb", tmp_path / "run.ipynb", tmp_path / "run.html"
    nbformat.write(book, source)
    convert = [sys.executable, "-m", "jupyter", "nbconvert", "--log-level=ERROR"]
    execute = ["--to", "notebook", "--execute", "--allow-errors", "--output", str(run), str(source)]
    subprocess.run([*convert, *execute], check=True, timeout=100)
    subprocess.run([*convert, "--to", "html", "--output", str(page), str(run)], check=True, timeout=100)
    saved = nbformat.read(run, 4)
    assert "widgets" not in saved.metadata
    mimes = [set(one.data) for one in saved.cells[1].outputs if one.output_type == "display_data"]
    assert mimes == [{"text/plain", "text/html"}, {"text/plain", "text/html", VIEW}]
    html = page.read_text()
    assert html.count("isolate-crash") == 1
    assert "Compiled code used memory that is not its own" in html
    assert "widget-view+json" not in html.partition("isolate-crash")[2]


def test_the_card_of_one_that_was_rewound_says_so_and_runs_the_cell_again() -> None:
    kernel = Kernel("%load_ext isolate_magic")
    try:
        kernel.run("%%isolated\nx = [1]")
        died = kernel.run(
            "%%isolated\nx.append(2)\nimport os; os.kill(os.getpid(), 11) if len(x) == 2 else len(x)"
        )
        assert "Rewound to before cell In[3]: what was in it then is there again." in str(
            died.of("display_data")
        )
        kernel.run("import ipywidgets")
        buttons = Buttons(kernel, died)
        assert buttons.states == {"Restart": False, "Rerun the cell": True, "Report as text": True}
        assert "it was rewound and runs: pid" in buttons.ask("row[0].tooltip")
        kernel.run("%%isolated\nx.append(0)")
        buttons.press("Rerun the cell")
        until(lambda: " after " in buttons.says)
        assert kernel.run("%%isolated\nx").result["text/plain"] == "[1, 0, 2]"
    finally:
        kernel.close()
