"""Where the code of a magic stands in the cell that the user sees (face)."""

from __future__ import annotations

from typing import Any


def lines_above(shell: Any, code: str) -> int:
    """Count the lines of the visible cell above the body of its magic: the magic's own, and blank ones.

    Args:
        shell: the `InteractiveShell`, which is running the cell.
        code: the body, as the magic was given it.
    """
    inputs, body = shell.history_manager.input_hist_raw, code.rstrip()
    visible = inputs[-1].rstrip() if inputs else ""
    if not body or not visible.endswith(body):  # run by other code, or without history
        return 1
    return int(visible[: -len(body)].count("\n")) or 1
