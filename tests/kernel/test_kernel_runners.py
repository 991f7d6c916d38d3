"""nbclient and papermill run notebooks on the isolated kernel: the same as on ipykernel, cell by cell."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import pytest
from face.test_runners import notebook, texts
from nbformat import v4
from real.twice import SCRIPTS, missing
from test_notebooks import NOTEBOOKS, PROMISES, ROOT

CHOSEN = (
    "numpy_linalg",
    "pandas_sales",
    "pandas_extending",
    "matplotlib_lines",
    "scipy_optimize",
    "torch_training",
)
CHANGING = re.compile(r"0x[0-9a-f]+|/tmp/[\w.-]+|isolate-\w+")


def pieces(path: Path) -> list[str]:
    """Cut a script into cells at its top level; the last line of a cell shows what it has made."""
    lines = path.read_text().splitlines()
    found, begin = [], 0
    body = ast.parse(path.read_text()).body
    for before, node in zip(body, body[1:], strict=False):
        if (
            isinstance(before, ast.Assign)
            and isinstance(before.targets[0], ast.Name)
            and lines[before.end_lineno :][:1] == [""]
        ):
            cell = "\n".join(lines[begin : before.end_lineno])
            found.append(f"{cell}\n{before.targets[0].id}")
            begin = before.end_lineno or 0
        del node
    return [*found, "\n".join(lines[begin:])]


def shown(path: Path, kernel: str) -> list[Any]:
    """Run a script as a notebook, and return what stands below each cell: its text, then its displays."""
    made = v4.new_notebook(cells=[v4.new_code_cell(source) for source in pieces(path)])
    nbclient.NotebookClient(made, timeout=100, kernel_name=kernel).execute()
    found = []
    for cell in made.cells:
        text = "".join(out.text for out in cell.outputs if out.get("name") == "stdout")
        others = [
            (out.output_type, out.get("execution_count"), CHANGING.sub("", str(out.get("data", out))))
            for out in cell.outputs
            if out.output_type != "stream"
        ]
        found.append((text, others))
    return found


@pytest.mark.parametrize("name", CHOSEN)
def test_a_plain_notebook_shows_the_same_as_on_ipykernel(name: str) -> None:
    path = SCRIPTS / f"{name}.py"
    if library := missing(path):
        pytest.skip(f"{library} is not installed; the extra 'real' has it")
    isolated = shown(path, "isolated")
    assert isolated == shown(path, "python3")
    assert len(isolated) > 1


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem in ("crashes", "tour")], ids=lambda path: path.stem
)
def test_our_own_notebooks_run_with_their_companions_inside_of_it(path: Path) -> None:
    made = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        made, timeout=100, kernel_name="isolated", resources={"metadata": {"path": str(ROOT / "notebooks")}}
    ).execute()
    text = "\n".join(str(out) for cell in made.cells for out in cell.get("outputs", ()))
    assert [promise for promise in PROMISES[path.stem] if promise not in text.replace("\\'", "'")] == []


def test_nbclient_goes_on_after_a_crash_and_saves_the_report() -> None:
    made = notebook("x = 1", "import os; os.abort()", "print('goes on')", "x")
    nbclient.NotebookClient(made, timeout=60, kernel_name="isolated", allow_errors=True).execute()
    (crash,) = made.cells[1].outputs
    assert crash.ename == "ProcessTerminationError"
    assert "SIGABRT" in "\n".join(crash.traceback)
    assert "goes on" in texts(made.cells[2])
    assert [cell.execution_count for cell in made.cells] == [1, 2, 3, 4]


def test_nbclient_stops_at_a_crash_as_at_any_error() -> None:
    made = notebook("import os; os.abort()", "print('must not run')")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ProcessTerminationError"):
        nbclient.NotebookClient(made, timeout=60, kernel_name="isolated").execute()
    assert not made.cells[1].outputs


def test_papermill_injects_parameters(tmp_path: Path) -> None:
    nbformat.write(notebook("number = 1", "number * 2", tagged="parameters"), tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        {"number": 21},
        kernel_name="isolated",
        progress_bar=False,
    )
    assert texts(done.cells[-1]) == "42"
