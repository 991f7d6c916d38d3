"""`%%isolated`, `%isolate` and `%autoisolate`: companions from a notebook or an IPython terminal (face)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from isolate_magic.face import autoisolate, commands
from isolate_magic.face.cell import CELL, isolate
from isolate_magic.face.place import lines_above
from isolate_magic.face.tracebacks import own_traceback


def _explained(text: str) -> Callable[[Any], Any]:
    """Give a magic the text that `%magic?` shows."""

    def explain(function: Any) -> Any:
        function.__doc__ = f"{text}"
        return function

    return explain


@magics_class
class IsolateMagics(Magics):
    """The magics."""

    @cell_magic
    @_explained(CELL.help())
    def isolated(self, line: str, cell: str) -> None:
        """Run the cell in a companion."""
        isolate(self.shell, line, cell, lines_above(self.shell, cell))

    @cell_magic
    def autoisolated(self, line: str, cell: str) -> None:
        """Run a cell for %autoisolate, which writes this: the lines above it, and the options."""
        above, _, options = line.partition(" ")
        isolate(self.shell, options, cell, int(above))

    @line_magic
    @_explained(commands.overview())
    def isolate(self, line: str) -> Any:
        """Look after companions."""
        with own_traceback():
            return commands.run(line, self.shell)

    @line_magic
    @_explained(autoisolate.LINE.help())
    def autoisolate(self, line: str) -> None:
        """Run every following cell in a companion, or no longer."""
        autoisolate.run(self.shell, line)
