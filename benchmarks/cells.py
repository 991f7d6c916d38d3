"""Cells: the round trip of `1+1` through `%%isolated` in a real IPython shell."""

from __future__ import annotations

from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn


class Ours(Contestant):
    """Run cells in a shell of IPython, with its history on, as a terminal or a notebook does."""

    def __init__(self) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        self.shell = InteractiveShell.instance()
        self._run("%load_ext isolate_magic")
        self._run("%%isolated\n1+1")

    def _run(self, code: str) -> None:
        self.shell.run_cell(code, store_history=True).raise_error()

    def cell(self, _number: int) -> None:
        """Run the whole cell, as the front end sends it."""
        self._run("%%isolated\n1+1")

    def magic(self, _number: int) -> None:
        """Run the magic alone: options, the companion's turn, the output shown."""
        self.shell.run_cell_magic("isolated", "", "1+1")

    def stop(self) -> None:
        """End the companion."""
        self._run("%unload_ext isolate_magic")


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    field.enter({"ours": ("cells:Ours", {}), "ipykernel": ("kernels:Calls", {})})
    turns = [
        Turn("cell ipykernel", "ipykernel", "cell", 40),
        Turn("cell ours", "ours", "cell", 100),
        Turn("magic ours", "ours", "magic", 100),
    ]
    return field.rounds(turns, 2 if quick else 9)
