"""Notebooks with isolated cells in nbclient and papermill, and magics in a plain terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
from face.test_terminal import terminal
from nbformat import v4

BACKGROUND = "%%isolated -b\nimport time\ntime.sleep(0.2)\n6 * 7"


def notebook(*sources: str, tagged: str = "") -> Any:
    """Make a notebook of cells, the first of them with a tag."""
    made = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if tagged:
        made.cells[0].metadata["tags"] = [tagged]
    return made


def texts(cell: Any) -> str:
    """Return all that stands below a cell."""
    found = [out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    return "\n".join(found)


def test_nbclient_runs_every_kind_of_cell(tmp_path: Path) -> None:
    made = notebook(
        "%load_ext isolate_magic", "%%isolated -o x\nx = [1]\nprint('said')\n6 * 7", "x[0] + 1", BACKGROUND,
        "%isolate result", "%autoisolate on", "y = 5\ny", "%autoisolate off", "'y' in globals()",
    )  # fmt: skip
    nbclient.NotebookClient(
        made, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    cells = made.cells
    assert "said" in texts(cells[1])
    assert cells[1].outputs[-1].execution_count == cells[1].execution_count == 2
    assert texts(cells[2]) == "2"
    assert "done in" in texts(cells[3])
    assert texts(cells[4]) == "42"
    assert texts(cells[6]) == "5"
    assert texts(cells[8]) == "False"


def test_nbclient_stops_at_an_error_and_saves_the_companions_traceback(tmp_path: Path) -> None:
    made = notebook("%load_ext isolate_magic", "%%isolated\nx = 1\n1 / 0", "print('must not run')")
    client = nbclient.NotebookClient(
        made, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        assert error.ename == "ZeroDivisionError"
    assert made.cells[1].outputs[-1].ename == "ZeroDivisionError"
    assert not made.cells[2].outputs


def test_papermill_injects_parameters_that_cells_take_along(tmp_path: Path) -> None:
    made = notebook(
        "number = 1", "%load_ext isolate_magic", "%%isolated -i number\nnumber * 2", tagged="parameters"
    )
    nbformat.write(made, tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        {"number": 21},
        kernel_name="python3",
        progress_bar=False,
    )
    assert texts(done.cells[-1]) == "42"


def test_a_background_cell_in_a_terminal_prints_and_gives_its_value() -> None:
    seen = terminal(
        "%load_ext isolate_magic", "%%isolated -b\nprint('said')\n[6]", "%isolate result", "_[0]",
        "%%isolated -b\nimport os; os.abort()", "print(type(_.exception()).__name__)",
    )  # fmt: skip
    assert "<background cell In[2] of companion 'default': running since" in seen
    assert "said" in seen
    assert "background cell In[2] has ended" in seen
    assert "Out[3]: [6]" in seen
    assert "Out[4]: 6" in seen
    assert "SIGABRT" in seen
    assert "ProcessTerminationError\n" in seen


def test_help_and_tables_in_a_terminal() -> None:
    seen = terminal(
        "%load_ext isolate_magic", "%%isolated --help", "%isolate start", "%isolate vars", "%isolate crashes"
    )
    assert "usage: %%isolated [options]" in seen
    assert "companion 'default' has no variables" in seen
    assert "no companion has crashed" in seen
