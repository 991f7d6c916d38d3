"""Background cells, the stop button and `%autoisolate` in a real JupyterLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from browser.lab import Notebook

DEAF = (
    "%%isolated\nimport ctypes, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    "print('running', flush=True)\nwhile True: ctypes.CDLL(None).sleep(100)"
)


def stop(notebook: Notebook) -> None:
    """Press the stop button of the notebook."""
    button: Any = notebook.page.locator('jp-button[data-command="notebook:interrupt-kernel"]:visible').first
    button.click()


def test_output_of_a_background_cell_comes_into_its_own_cell_while_others_run(
    notebook: Notebook, pictures: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    first = notebook.start(
        "%%isolated -b\nimport os, time\nprint('first')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.05)\nprint('second')\n6 * 7"
    )
    notebook.wait_for(first, "running")
    later = notebook.start("print('later')")
    notebook.wait_for(later, "later")
    assert "second" not in notebook.text(first)
    notebook.picture(pictures / "background-running.png")
    go.touch()
    notebook.wait_for(first, "done")
    text = notebook.text(first)
    assert "second" in text
    assert "42" in text
    assert "running" not in text
    assert notebook.text(later).split() == ["later"]
    notebook.picture(pictures / "background-done.png")


def test_the_second_press_of_the_stop_button_kills_what_ignores_the_first(notebook: Notebook) -> None:
    notebook.run("kept = 'still here'")
    number = notebook.start(DEAF)
    notebook.wait_for(number, "running")
    stop(notebook)
    notebook.wait_for(number, "it has not stopped yet: interrupt again to kill it", 10)
    stop(notebook)
    notebook.wait(number)
    assert "killed by the second interrupt" in notebook.text(number)
    assert "still here" in notebook.run("kept")
    assert "43" in notebook.run("%%isolated\n42 + 1")


def test_autoisolate_runs_the_following_cells_there(notebook: Notebook) -> None:
    assert "every following cell runs in companion 'default'" in notebook.run("%autoisolate on")
    notebook.run("mine = 5")
    assert "25" in notebook.run("mine * 5")
    assert "line 2" in notebook.run("x = 1\n1 / 0")
    notebook.run("%autoisolate off")
    assert "NameError" in notebook.run("mine")


def test_the_list_of_names_is_a_table(notebook: Notebook, pictures: Path) -> None:
    notebook.run("%%isolated\nimport math\nname, numbers = 'text', list(range(100))")
    number = notebook.start("%isolate vars")
    notebook.wait(number)
    cells = notebook.output(number).locator("td")
    cells.first.wait_for()
    assert {"name", "numbers", "math", "100 items"} <= set(cells.all_inner_texts())
    notebook.picture(pictures / "vars.png")
