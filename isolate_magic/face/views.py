"""Where widgets of a companion are shown, so that dead ones can say that they are dead (face)."""

from __future__ import annotations

import html
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any

MIME = "application/vnd.jupyter.widget-view+json"
_MOST = 1000  # views of one companion


@dataclass
class View:
    """One place.

    Attributes:
        model: what is shown there.
        display: the id of the display; empty where it is the value of a cell, which has none.
        cell: the header of the message that the cell came with.
    """

    model: str
    display: str
    cell: dict[str, Any]


class Views:
    """Know the views of one companion.

    Args:
        kernel: the main session's.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._views: deque[View] = deque(maxlen=_MOST)

    def shown(self, model: str, display: str | None, cell: dict[str, Any]) -> str:
        """Take note that a model is shown.

        Args:
            model: its id.
            display: the id of the display, empty to get one; None for the value of a cell.
            cell: the header of the message that the cell came with.

        Returns:
            the id of the display.
        """
        name = display or (uuid.uuid4().hex if display is not None else "")
        self._views.append(View(model, name, cell))
        return name

    def forget(self, model: str) -> None:
        """Take note that a model is closed; the notebook takes its views away."""
        for view in [view for view in self._views if view.model == model]:
            self._views.remove(view)

    def end(self, text: str) -> None:
        """Put a text in the place of all views; below the cell where it has none of its own."""
        told: set[Any] = set()
        while self._views:
            view = self._views.popleft()
            cell = view.cell.get("msg_id")
            if view.display or cell not in told:
                self._say(text, view)
            if not view.display:
                told.add(cell)

    def _say(self, text: str, view: View) -> None:
        kind = "update_display_data" if view.display else "display_data"
        content = {
            "data": {"text/plain": text, "text/html": f"<p><em>{html.escape(text)}</em></p>"},
            "metadata": {},
            "transient": {"display_id": view.display} if view.display else {},
        }
        kernel = self._kernel
        # An update finds its place by its id. nbclient heeds those only that name the cell under way.
        parent = kernel.get_parent() if view.display else view.cell
        kernel.session.send(kernel.iopub_socket, kind, content, parent=parent, ident=kernel._topic(kind))
