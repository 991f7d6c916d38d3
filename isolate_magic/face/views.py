"""Where widgets of a companion are shown, so that dead ones can say that they are dead (face)."""

from __future__ import annotations

import contextvars
import html
import uuid
from collections import deque
from typing import Any

MIME = "application/vnd.jupyter.widget-view+json"
_MOST = 1000  # views of one companion


class View:
    """One place.

    Attributes:
        model: what is shown there.
        display: the id of the display; empty where it is the value of a cell, which has none.
        context: what code runs in whose output belongs to the same cell.
    """

    def __init__(self, model: str, display: str) -> None:
        self.model = model
        self.display = display
        self.context = contextvars.copy_context()


class Views:
    """Know the views of one companion.

    Args:
        shell: the `InteractiveShell` of the main session.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._views: deque[View] = deque(maxlen=_MOST)

    def shown(self, model: str, display: str | None) -> str:
        """Take note that a model is shown.

        Args:
            model: its id.
            display: the id of the display, empty to get one; None for the value of a cell.

        Returns:
            the id of the display.
        """
        name = display or (uuid.uuid4().hex if display is not None else "")
        self._views.append(View(model, name))
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
            cell = view.context.copy().run(self._shell.kernel.get_parent).get("header", {}).get("msg_id")
            if view.display or cell not in told:
                view.context.copy().run(self._publish, text, view.display)
            if not view.display:
                told.add(cell)

    def _publish(self, text: str, display: str) -> None:
        self._shell.display_pub.publish(
            data={"text/plain": text, "text/html": f"<p><em>{html.escape(text)}</em></p>"},
            metadata={},
            transient={"display_id": display} if display else {},
            update=bool(display),
        )
