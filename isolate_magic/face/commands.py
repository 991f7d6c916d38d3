"""`%isolate`: the table of its commands, and how a line finds its own (face)."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from isolate_magic.face import lifecycle, naming, outcomes, returning, saving, top
from isolate_magic.face.lifecycle import line_of
from isolate_magic.face.options import meant
from isolate_magic.face.orders import Command, Order

__all__ = ["COMMANDS", "line_of", "overview", "run"]

COMMANDS: dict[str, Command] = {
    command.name: command
    for module in (lifecycle, outcomes, naming, returning, saving, top)
    for command in module.COMMANDS
}
"""All commands by name. A new one is an entry of its module's `COMMANDS`; help and completion follow."""

_HELP = ("-h", "--help")


def overview() -> str:
    """Return the help of `%isolate` as a whole."""
    lines = [
        "usage: %isolate [COMMAND] [options] [NAME]",
        "",
        "Look after companions. NAME is a companion's; without it the companion `default` is meant,",
        "and without a command its state is shown.",
        "",
        "commands:",
        *(f"  {command.name:<12}{command.says}" for command in COMMANDS.values()),
        "",
        "`%isolate COMMAND --help` tells the options of one.",
    ]
    return "\n".join(lines) + "\n"


def run(line: str, shell: Any = None) -> Any:
    """Carry out one line of `%isolate`.

    Args:
        line: what stands behind the magic's name.
        shell: the main session's.

    Raises:
        UsageError: it says something that cannot be; the text says what can.
    """
    first, _, rest = line.strip().partition(" ")
    if first in _HELP:
        print(overview(), end="")
        return None
    if not first or first.startswith("-"):
        first, rest = "status", line
    command = COMMANDS.get(first)
    if command is None:
        near = meant(first, COMMANDS)
        raise UsageError(f"%isolate {first}: no such command; {near}there are {', '.join(COMMANDS)}")
    return _do(command, rest, shell)


def _do(command: Command, rest: str, shell: Any) -> Any:
    try:
        options = command.line.parse(rest)
    except UsageError as error:
        raise _elsewhere(command, str(error)) from None
    if options.help:
        print(command.line.help(), end="")
        return None
    words = options.words
    name = options.companion if command.words else None
    if not command.words and words:
        raise UsageError(f"%isolate {command.name} takes nothing, not {' '.join(words)}")
    if command.words == "[NAME]":
        if len(words) > 1 or (words and name is not None):
            given = " ".join(words)
            raise UsageError(f"%isolate {command.name} takes one companion's name, not {given}")
        name = words[0] if words else name
    return command.do(Order(shell, words, options, name))


def _elsewhere(command: Command, complaint: str) -> UsageError:
    """Say of an option that is not known here which commands know it."""
    word = complaint.partition("knows no option ")[2].partition(";")[0]
    owners = [other.name for other in COMMANDS.values() if word and word in other.line.flags()]
    if owners:
        return UsageError(f"{word} belongs to %isolate {' and '.join(owners)}, not to {command.name}")
    return UsageError(complaint)
