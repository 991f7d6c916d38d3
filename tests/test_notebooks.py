"""Every notebook runs, as `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if ".executed" not in path.name)

PROMISES = {
    "tour": [
        "[np.float64(1.0), np.float64(2.0), np.float64(3.0)]", """'{"seen": [1, 2, 3]}'""", "SIGSEGV",
        "ctypes.string_at(0)", "rewound to before cell In["
    ],
    "crashes": [
        "died in Cell In[4]: SIGSEGV", "Cell In[3], line 8, in smooth", "((1000, 3),", "rewound to before cell In[4]",
        "memory limit of 300 MiB passed", "ended itself with exit code 3", "was interrupted after 0.5 s",
    ],
    "teaching": [
        "832040", "FileNotFoundError", "name 'solution' is not defined", "URLError", "MemoryError",
        "was interrupted after 1 s", "dropped 1 <script>", "started  /usr/bin/true", "policy homework, tier",
    ],
    "numerics": [
        "(80000000, array", "(numpy.ndarray, (10000, 100), True)", "['Barbara', 'Ada', 'Grace', 'Katherine']", "np.True_",
        "Name: value, dtype: float64", "caught: Singular matrix", "MemoryError: Unable to allocate",
    ],
}  # fmt: skip
"""What each notebook must show."""


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
    assert "open it with" in done.stdout
    assert PROMISES[path.stem]
    for promise in PROMISES[path.stem]:
        assert promise in done.stdout
    assert "Traceback" not in done.stderr


def test_notebooks_are_committed_without_outputs() -> None:
    import nbformat

    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        assert not any(cell.get("outputs") for cell in notebook.cells), path.name
