"""Cells of a companion in a real JupyterLab: they run, stream, fail and crash as a person sees it."""

from __future__ import annotations

from pathlib import Path

from browser.lab import Notebook


def test_a_cell_runs_and_shows_its_value(notebook: Notebook) -> None:
    assert "▏42" not in notebook.run("%%isolated\n6 * 7")
    assert notebook.text(1).split() == ["[2]:", "42"]


def test_output_comes_while_the_cell_runs(notebook: Notebook, tmp_path: Path) -> None:
    go = tmp_path / "go"
    number = notebook.start(
        "%%isolated\nimport os, time\nprint('first')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.05)\nprint('second')"
    )
    notebook.wait_for(number, "first")
    assert "second" not in notebook.text(number)
    go.touch()
    notebook.wait_for(number, "second")


def test_a_crash_leaves_the_session_as_it_was(notebook: Notebook) -> None:
    notebook.run("kept = 'still here'")
    shown = notebook.run("%%isolated\nimport ctypes\nctypes.string_at(0)")
    assert "died in Cell In[3]: SIGSEGV (segmentation fault)" in shown
    assert "still here" in notebook.run("kept")
    assert "43" in notebook.run("%%isolated\n42 + 1")


def test_a_failing_cell_shows_its_own_lines(notebook: Notebook) -> None:
    shown = notebook.run("%%isolated\nnumber = 0\n1 / number")
    assert "Cell In[2], line 3" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "isolate_magic" not in shown
