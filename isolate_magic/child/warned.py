"""Warnings of calls, which the main session's own filters shall judge (companion).

A warning in a call of the host is told to the host, which warns itself: its filters, its
`catch_warnings`, and its `error` action, whose exception is raised here, where the warning was given.
A warning in a cell is shown as in any kernel: once for each place.
"""

from __future__ import annotations

import sys
import warnings
from types import CodeType
from typing import Any

_QUIET = (PendingDeprecationWarning, ImportWarning, ResourceWarning)
_MOST = 100  # warnings of one place that are told: a loop of a million would be a million calls


class Warned:
    """Show the warnings of this process.

    Args:
        talk: the conversation.
        serve: the code of the function in which every request is served.
    """

    def __init__(self, talk: Any, serve: CodeType) -> None:
        self._talk = talk
        self._serve = serve
        self._original = warnings.showwarning
        self._told: dict[Any, int] = {}
        self._in_request: dict[Any, int] = {}
        self._request: list[int] = []
        warnings.showwarning = self._show
        if not sys.warnoptions:  # else PYTHONWARNINGS says which warnings are wanted
            warnings.filters[:] = []  # type: ignore[index]
            warnings.simplefilter("always")

    def _show(
        self, message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        place = (category, filename, lineno)
        if file is None and self._in_call():
            if self._seen(place, self._talk.active[:1]) <= _MOST:
                self._talk.ask_host("warn", str(message), category, filename, lineno)
        elif self._seen(place, None) == 1 and _shown(category, filename):
            self._original(message, category, filename, lineno, file, line)

    def _seen(self, place: Any, request: list[int] | None) -> int:
        """Count a warning: in cells for ever, in calls anew for each request of the host."""
        told = self._told
        if request is not None:
            if request != self._request:
                self._request = request
                self._in_request.clear()
            told = self._in_request
        told[place] = told.get(place, 0) + 1
        return told[place]

    def _in_call(self) -> bool:
        """Return whether this thread is serving a call, and not a cell, of the host."""
        step: Any = sys._getframe(1)
        while step is not None:
            if step.f_code is self._serve:
                frame = step.f_locals["frame"]
                return not (frame.target == 1 and getattr(frame, "name", "") == "execute")
            step = step.f_back
        return False


def _shown(category: type, filename: str) -> bool:
    """Return whether IPython's filters show a warning: what is deprecated only to the cell that uses it."""
    if issubclass(category, DeprecationWarning):
        return "<ipython-input" in filename
    return not issubclass(category, _QUIET)
