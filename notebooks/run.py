"""Execute a notebook for real and print what a reader would see (a script for `make demo` and CI).

A cell that is meant to fail carries the tag `raises-exception`; any other error ends the run.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def execute(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook from its own folder and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    return notebook


def lines(output: Any) -> list[str]:
    """Return one output as text: what stands in a terminal for it."""
    if output.output_type == "stream":
        text = output.text
    elif output.output_type == "error":
        text = f"{output.ename}: {output.evalue}"
    else:
        data = output.data
        text = data.get("text/plain", "")
        shown = [kind for kind in data if kind != "text/plain"]
        text += f"   [shown as {', '.join(shown)}]" if shown else ""
    return _COLOUR.sub("", text).rstrip().splitlines()


def show(notebook: nbformat.NotebookNode) -> None:
    """Print the cells and what they answered."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            print(f"\n{cell.source}\n")
            continue
        for line in cell.source.splitlines():
            print(f"  | {line}")
        for output in cell.outputs:
            for line in lines(output):
                print(f"      {line}")


def main() -> None:
    """Execute the notebooks named on the command line; leave `NAME.executed.ipynb` beside each."""
    for argument in sys.argv[1:]:
        path = Path(argument)
        start = time.monotonic()
        notebook = execute(path)
        show(notebook)
        done = path.with_suffix(".executed.ipynb")
        nbformat.write(notebook, done)
        print(f"\n{path} ran in {time.monotonic() - start:.1f} s. The executed notebook is {done};")
        print(f"open it with:  .venv/bin/pip install jupyterlab && .venv/bin/jupyter lab {done}")


if __name__ == "__main__":
    main()
