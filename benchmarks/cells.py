"""Cells: the round trip of `1+1` through `%%isolated` in a real IPython shell, and Tab in a kernel."""

from __future__ import annotations

from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn
from benchmarks.kernels import Kernel

_SECONDS = 60


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


class Tabs(Contestant):
    """Press Tab in a notebook's kernel, as a front end does: here, and in a cell of a companion."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.kernel.client.wait_for_ready(timeout=_SECONDS)
        self.kernel.run("%load_ext isolate_magic\nimport json")
        self.kernel.run("%%isolated\nimport json")

    def _tab(self, code: str) -> None:
        reply = self.kernel.client.complete(code, len(code), reply=True, timeout=_SECONDS)["content"]
        if reply["matches"] != ["dump", "dumps"]:
            raise RuntimeError(f"Tab gave {reply['matches']}")

    def here(self, _number: int) -> None:
        """Complete with the kernel's own names."""
        self._tab("json.du")

    def there(self, _number: int) -> None:
        """Complete with the companion's."""
        self._tab("%%isolated\njson.du")

    def stop(self) -> None:
        """End the kernel, and the companion with it."""
        self.kernel.end()


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    field.enter({"ours": ("cells:Ours", {}), "ipykernel": ("kernels:Calls", {}), "tabs": ("cells:Tabs", {})})
    turns = [
        Turn("cell ipykernel", "ipykernel", "cell", 40),
        Turn("cell ours", "ours", "cell", 100),
        Turn("magic ours", "ours", "magic", 100),
        Turn("tab ipykernel", "tabs", "here", 40),
        Turn("tab ours", "tabs", "there", 40),
    ]
    return field.rounds(turns, 2 if quick else 9)
