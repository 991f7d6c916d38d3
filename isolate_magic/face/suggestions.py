"""What Tab offers behind `%isolate`, `%%isolated` and `%autoisolate` on their own lines (face)."""

from __future__ import annotations

from typing import Any

from isolate_magic.face import autoisolate
from isolate_magic.face.cell import CELL
from isolate_magic.face.commands import COMMANDS
from isolate_magic.session import companions

_PRESETS = ("trusted", "offline", "untrusted")


def suggest(_shell: Any, event: Any) -> list[str]:
    """Return what may stand where the cursor is.

    Args:
        event: IPython's: the text before the cursor, and the word that it ends.
    """
    before = event.text_until_cursor.split()
    if not event.text_until_cursor[-1:].isspace():
        before.pop()
    return _words(before[0] if before else "", before[1:])


def _words(magic: str, before: list[str]) -> list[str]:
    last = before[-1] if before else ""
    if last in ("-p", "--policy"):
        return list(_PRESETS)
    names = [companion.name for companion in companions()]
    if last in ("-c", "--companion"):
        return names
    if magic == "%%isolated":
        return CELL.flags()
    if magic == "%autoisolate":
        return [*autoisolate.LINE.flags(), *(() if before else ("on", "off"))]
    if not before:
        return [*COMMANDS, "--help"]
    command = COMMANDS.get(before[0])
    if command is None:
        return []
    return [*command.line.flags(), *(names if command.words == "[NAME]" else ())]


_KEYS = ("%isolate", "%%isolated", "%autoisolate")


def install(shell: Any) -> None:
    """Let Tab offer it."""
    for key in _KEYS:
        shell.set_hook("complete_command", suggest, str_key=key)


def remove(shell: Any) -> None:
    """Let Tab offer it no longer."""
    found = shell.strdispatchers.get("complete_command")
    for key in _KEYS:
        if found is not None:
            found.strs.pop(key, None)
