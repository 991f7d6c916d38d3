"""Every notebook runs, as `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if ".executed" not in path.name)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_shows_what_it_promises(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    done = subprocess.run(
        [sys.executable, str(ROOT / "notebooks" / "run.py"), str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert copy.with_suffix(".executed.ipynb").exists()
    if path.name == "tour.ipynb":
        assert "[np.float64(1.0), np.float64(2.0), np.float64(3.0)]" in done.stdout
        assert """'{"seen": [1, 2, 3]}'""" in done.stdout
        assert "SIGSEGV" in done.stdout
        assert "ctypes.string_at(0)" in done.stdout
        assert "Started a new one" in done.stdout
        assert "open it with" in done.stdout


def test_notebooks_are_committed_without_outputs() -> None:
    import nbformat

    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        assert not any(cell.get("outputs") for cell in notebook.cells), path.name
