"""How an error of a companion looks in the cell that met it (face)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isolate_magic.errors import IsolateError, ProcessTerminationError, text_of
from isolate_magic.face import card


@contextmanager
def own_traceback(again: card.Again | None = None) -> Iterator[None]:
    """Let an error of the companion show the companion's traceback instead of the magic's inside.

    Args:
        again: runs the cell again, for the card of a companion that dies.
    """
    try:
        yield
    except IsolateError as error:
        if isinstance(error, ProcessTerminationError):
            error.__dict__["_isolate_again_"] = again
        _shorten(error, lines_of(error))
        raise
    except BaseException as error:
        lines = error.__dict__.get("_isolate_lines_")
        if isinstance(error, KeyboardInterrupt) and not lines:  # it struck while the companion was asked for
            lines = ("KeyboardInterrupt",)
        if lines and isinstance(error, SyntaxError):
            error = _syntax_error(error)
        if lines:
            _shorten(error, list(lines))
        raise error


def lines_of(error: BaseException) -> list[str]:
    """Return the lines that show an error: those of the companion, or else the error itself."""
    lines = error.__dict__.get("_isolate_lines_")
    if lines and not isinstance(error, IsolateError):
        return list(lines)
    return [f"{type(error).__name__}: {text_of(error)}"]


def card_of(error: BaseException) -> dict[str, Any] | None:
    """Return the display of a crash report that has not been shown yet, by MIME type; else None."""
    report = getattr(error, "report", None)
    if not isinstance(error, ProcessTerminationError) or report is None or not card.is_new(report):
        return None
    return card.displayed(report)


def _syntax_error(error: SyntaxError) -> IsolateError:
    """Return an error of the same name; IPython would look for a real SyntaxError's line in our code."""
    return type("SyntaxError", (IsolateError,), {})(text_of(error))  # type: ignore[no-any-return]


def _shorten(error: Any, lines: list[str]) -> None:
    error._isolate_shown_ = lines
    if not isinstance(error, ProcessTerminationError):
        error._render_traceback_ = lambda: lines


def crash_renderer(shell: Any) -> Callable[[Any], list[str]]:
    """Return what IPython calls to show a ProcessTerminationError that nobody has caught."""

    def render(error: Any) -> list[str]:
        if error.report is not None:
            card.show(shell, error)
        lines: list[str] | None = error.__dict__.get("_isolate_shown_")
        if lines is None:
            lines = shell.InteractiveTB.structured_traceback(
                type(error), error, error.__traceback__, tb_offset=1
            )
        return lines

    return render
