"""Shift-Tab, `obj?` and `obj??`: what a companion's own inspection tells (face)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from IPython.core import page
from IPython.utils.tokenutil import token_at_cursor

from isolate_magic.errors import IsolateError
from isolate_magic.face import autoisolate, paths
from isolate_magic.face.completion import process_of
from isolate_magic.face.editor import isolated_cell
from isolate_magic.face.overrides import Override
from isolate_magic.questions import ask
from isolate_magic.seen import Scope

_HEAD = "\x1b[31m{}\x1b[39m"  # as IPython's own


def soon(process: Any, question: tuple[str, int, str, str, Any], scope: Scope) -> str:
    """Return what a companion tells of an object, or has told; empty if that is nothing."""
    if process is None:
        return ""
    texts: list[str] = []
    path, detail = question[0], question[1]
    if ask(
        process,
        "inspect",
        question,
        lambda told: texts.append(process.seen.inspect(told, path, detail, scope)),
    ):
        return texts[0]
    return process.seen.told(path, detail, scope)  # type: ignore[no-any-return]


def _question(path: paths.Path, title: str, detail: int) -> tuple[str, int, str, str, Any]:
    return (paths.NAME + path.rest, detail, title, paths.NAME, path.proxy)


def _with_home(path: paths.Path, text: str) -> str:
    """Say at the end which companion an object lives in."""
    if not text:
        return ""
    head = "Companion:"
    shown = _HEAD.format(head) if "\x1b[" in text else head
    return f"{text.rstrip()}\n{shown}{' ' * (13 - len(head))}{path.talk.name}"


def _told(path: paths.Path, title: str, detail: int) -> str:
    """Tell of an object for `?`, which waits as long as any cell."""
    process = path.talk.process
    if path.talk.closed:
        return f"{title}: {path.talk.death}"
    told = path.talk.ask("inspect", *_question(path, title, detail))
    text = process.seen.inspect(told, paths.NAME + path.rest, detail, path.scope) if type(told) is str else ""
    return _with_home(path, text)


# ---------------------------------------------------------------- in the place of IPython's own


def _inspect(shell: Any, override: Override) -> Callable[..., Any]:
    def inspect_(meth: str, oname: str, namespaces: Any = None, **options: Any) -> Any:
        """Show what is asked with `?`, as the shell's own method."""
        path = paths.whole(shell.user_ns, oname) if override.active and meth == "pinfo" else None
        if path is None:
            return override.before(meth, oname, namespaces, **options)
        try:
            text = _told(path, oname.strip(), options.get("detail_level", 0))
        except IsolateError as error:
            text = f"{oname.strip()}: {error}"
        if text:
            page.page(text)
            return None
        print(f"Object `{oname}` not found.")
        return "not found"  # what the shell itself returns

    return inspect_


def _do_inspect(shell: Any, override: Override) -> Callable[..., Any]:
    async def do_inspect(
        code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Answer an `inspect_request`, as the kernel's own method."""
        text = _asked(shell, code, cursor_pos, detail_level) if override.active else None
        if text is None:
            own = override.before(code, cursor_pos, detail_level, omit_sections)
            answer: dict[str, Any] = await own if inspect.isawaitable(own) else own
            return answer
        return {
            "status": "ok",
            "found": bool(text),
            "data": {"text/plain": text} if text else {},
            "metadata": {},
        }

    return do_inspect


def _asked(shell: Any, code: str, cursor: int, detail: int) -> str | None:
    """Return what Shift-Tab shows; None if the code has nothing to do with any companion."""
    cell = isolated_cell(code) or autoisolate.plain_cell(shell, code)
    if cell is None or cursor < cell.body:
        # On the line of the magic there is nothing to ask but the magic.
        token = token_at_cursor(code, cursor) if cell is None else ""
        path = paths.whole(shell.user_ns, token)
        if path is None:
            return None
        return _with_home(path, soon(path.talk.process, _question(path, token, detail), path.scope))
    token = token_at_cursor(code[cell.body :], cursor - cell.body)
    return soon(process_of(cell.companion), (token, detail, token, "", None), Scope()) if token else ""


def overrides(shell: Any) -> list[Override]:
    """Stand in for IPython's inspection in a shell, and in its kernel if it has one."""
    made = [Override(shell, "_inspect", partial(_inspect, shell))]
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        made.append(Override(kernel, "do_inspect", partial(_do_inspect, shell)))
    return made
