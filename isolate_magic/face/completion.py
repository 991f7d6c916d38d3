"""Tab: in the cells of a companion its own names, on proxies the attributes over there (face).

Kernels and terminals ask `Completer.completions` of the shell; that and the kernel's `do_complete` are stood
in for. A matcher beside IPython's would not do: where it finds nothing the names of this session show up.
IPython's own answer, for all other code, looks at something else instead of proxies.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from IPython.core.completer import Completion

from isolate_magic.face import autoisolate, paths, words
from isolate_magic.face.editor import isolated_cell, line_at
from isolate_magic.face.overrides import Override
from isolate_magic.link.answers import Completed, Match
from isolate_magic.link.proxy import Function, Method, isproxy
from isolate_magic.process import Process
from isolate_magic.questions import ask, hush
from isolate_magic.registry import registered
from isolate_magic.seen import Scope

_MAGIC = re.compile(r"\s*%(auto)?isolate(?=\s)")
_TYPES = "_jupyter_types_experimental"  # what JupyterLab takes the pictures beside the matches from


def process_of(name: str) -> Process | None:
    """Return the process of a companion; Tab starts none."""
    companion = registered().get(name)
    return companion._alive() if companion is not None else None


def complete(shell: Any, text: str, cursor: int) -> Completed | None:
    """Complete what a companion knows about; None if the text has nothing to do with any.

    Args:
        shell: the main session's.
        text: a whole cell.
        cursor: the place of the cursor in it.
    """
    cell = isolated_cell(text) or autoisolate.plain_cell(shell, text)
    space = shell.user_ns
    if cell is not None and cursor >= cell.body:
        found = in_cell(process_of(cell.companion), text[cell.body :], cursor - cell.body)
        return _moved(found, cell.body)
    if cell is not None and cursor > cell.line:
        body, process = text[cell.body :], process_of(cell.companion)
        there = process.seen.recall("", 0, Scope()).matches if process is not None else []
        names = [match.text for match in there if match.kind == "variable"]
        return words.of_cell(text[cell.line : cursor], cursor, space, body, names)
    line, begins = line_at(text, cursor)
    magic = _MAGIC.match(line)
    if magic is not None:
        return (words.of_autoisolate if magic[1] else words.of_line)(line[magic.end() :], cursor)
    path = paths.typed(space, line)
    return _moved(_at(path), begins + path.place - len(paths.NAME)) if path is not None else None


def in_cell(process: Process | None, code: str, cursor: int) -> Completed:
    """Complete a cell of a companion."""
    if process is None:
        return Completed(cursor, cursor, [])
    return _asked(process, code, cursor, ("", None), Scope())


def _at(path: paths.Path) -> Completed:
    """Complete an attribute or a key of a proxy."""
    code = paths.NAME + path.rest
    if path.talk.closed:
        return Completed(len(code), len(code), [])
    return _asked(path.talk.process, code, len(code), (paths.NAME, path.proxy), path.scope)


def _parameters(space: dict[str, Any], code: str) -> Completed:
    """Complete the name of an argument in the call of a proxy, beside the names of this session."""
    path = paths.called(space, code)
    if path is None or path.talk.closed:
        return Completed(0, 0, [])
    found = _at(path)
    typed = len(path.rest.rpartition("(")[2])
    return Completed(len(code) - typed, len(code), [one for one in found.matches if one.kind == "param"])


def _asked(process: Any, code: str, cursor: int, given: tuple[str, Any], scope: Scope) -> Completed:
    answers: list[Completed] = []

    def take(told: str) -> None:
        answers.append(process.seen.complete(told, code, cursor, scope))

    if ask(process, "complete", (code, cursor, *given), take):
        return answers[0]
    return process.seen.recall(code, cursor, scope)  # type: ignore[no-any-return]


def _moved(found: Completed, by: int) -> Completed:
    return Completed(found.start + by, found.end + by, found.matches)


# ---------------------------------------------------------------- in the place of IPython's own


def _unasked(proxy: Any) -> Any:
    """Return what IPython looks at instead of a proxy; jedi wants a function where one is called."""
    return (lambda *_args, **_named: None) if isinstance(proxy, (Function, Method, type)) else object()


@contextmanager
def _undisturbed(completer: Any) -> Iterator[None]:
    """Let IPython complete without anything being asked of a companion: jedi would run properties there."""
    spaces = completer.namespace, completer.global_namespace
    shown = [_without_proxies(space) for space in spaces]
    if shown[0] is spaces[0] and shown[1] is spaces[1]:
        with hush():
            yield
        return
    completer.namespace, completer.global_namespace = shown
    try:
        with hush():
            yield
    finally:
        completer.namespace, completer.global_namespace = spaces


def _without_proxies(space: Any) -> Any:
    if type(space) is not dict:
        return space
    proxies = {name: _unasked(thing) for name, thing in list(space.items()) if isproxy(thing)}
    return {**space, **proxies} if proxies else space


def _completions(shell: Any, override: Override) -> Callable[..., Iterator[Completion]]:
    def completions(text: str, offset: int) -> Iterator[Completion]:
        """Complete code, as IPython's `Completer.completions`."""
        found = complete(shell, text, offset) if override.active else None
        if found is None:
            yield from _shown(_parameters(shell.user_ns, text[:offset]))
            with _undisturbed(shell.Completer):
                own = list(override.before(text, offset))
            yield from own
        else:
            yield from _shown(found)

    return completions


def _shown(found: Completed) -> Iterator[Completion]:
    for match in found.matches:
        yield Completion(
            found.start, found.end, match.text, type=match.kind or "<unknown>", signature=match.signature,
            _origin="isolate_magic",
        )  # fmt: skip


def _do_complete(shell: Any, override: Override) -> Callable[..., Any]:
    async def do_complete(code: str, cursor_pos: int | None) -> Any:
        """Answer a `complete_request`, as the kernel's own method."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        found = complete(shell, code, cursor) if override.active else None
        if found is None:
            own = override.before(code, cursor_pos)
            return await own if inspect.isawaitable(own) else own
        return reply(found)

    return do_complete


def reply(found: Completed) -> dict[str, Any]:
    """Return the content of a `complete_reply`."""
    return {
        "status": "ok", "matches": [match.text for match in found.matches],
        "cursor_start": found.start, "cursor_end": found.end,
        "metadata": {_TYPES: [_typed(found, match) for match in found.matches]},
    }  # fmt: skip


def _typed(found: Completed, match: Match) -> dict[str, Any]:
    return {
        "start": found.start, "end": found.end, "text": match.text, "type": match.kind or "<unknown>",
        "signature": match.signature,
    }  # fmt: skip


def overrides(shell: Any) -> list[Override]:
    """Stand in for IPython's completion in a shell, and in its kernel if it has one."""
    made = [Override(shell.Completer, "completions", partial(_completions, shell))]
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        made.append(Override(kernel, "do_complete", partial(_do_complete, shell)))
    return made
