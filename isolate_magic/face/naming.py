"""The commands of `%isolate` for names: push, pull, vars (face)."""

from __future__ import annotations

import html
from argparse import Namespace
from collections.abc import Sequence

from IPython.core.error import UsageError

from isolate_magic.companion import Companion
from isolate_magic.face import replaying
from isolate_magic.face.cell import Order as PushOrder
from isolate_magic.face.options import Option, names
from isolate_magic.face.orders import Command, Order
from isolate_magic.session import byvalue, get_companion
from isolate_magic.variables import MOST, Variable

_HEAD = ("name", "type", "size", "value")
_WIDE = 60  # characters of a column of text
COPY = Option(("--copy",), "bind copies; proxies are what it binds else")


def _wanted(order: Order) -> list[str]:
    found = names(order.words)
    if not found:
        raise UsageError("which names? They are given with commas between them, as in threshold,table")
    return found


def _push(order: Order) -> None:
    wanted = _wanted(order)
    space = order.shell.user_ns
    missing = [name for name in wanted if name not in space]
    if missing:
        raise UsageError(f"{','.join(missing)}: not defined in this session; nothing was pushed")
    try:
        companion = get_companion(order.name or "default")
    except ValueError as error:
        raise UsageError(str(error)) from None
    with replaying.noted(companion, PushOrder("", 0, 0, Namespace(fresh=False), wanted)):
        companion.push({name: space[name] for name in wanted})


def _pull(order: Order) -> None:
    wanted, companion = _wanted(order), order.existing()
    found, missing = {}, []
    for name in wanted:
        try:
            thing = companion.pull(name)
        except NameError:
            missing.append(name)
        else:
            found[name] = byvalue(thing) if order.options.copy else thing
    if missing:
        raise UsageError(
            f"{','.join(missing)}: companion {companion.name!r} knows no such name; nothing was bound"
        )
    order.shell.push(found)


class Variables:
    """Show the names of one companion, as text and as a table.

    Args:
        companion: the companion.
        found: its names.
    """

    def __init__(self, companion: Companion, found: Sequence[Variable]) -> None:
        self._name = companion.name
        self._found = found

    def __repr__(self) -> str:
        if not self._found:
            return f"companion {self._name!r} has no variables"
        table = [_HEAD, *(tuple(_one_line(part) for part in row) for row in self._found)]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        table.insert(1, tuple("-" * len(title) for title in _HEAD))
        lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in table]
        return "\n".join([*lines, *self._rest()])

    def _rest(self) -> list[str]:
        return [f"only the first {MOST:,} are shown"] if len(self._found) >= MOST else []

    def _repr_html_(self) -> str:
        if not self._found:
            return f"<div>{html.escape(repr(self))}</div>"
        head = "".join(f'<th style="text-align:left">{title}</th>' for title in _HEAD)
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="text-align:left">{html.escape(_one_line(part))}</td>' for part in row)
            + "</tr>"
            for row in self._found
        )
        rest = "".join(f"<div>{line}</div>" for line in self._rest())
        return (
            f'<table class="isolate-vars"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}'
        )


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 3]}..."


def _vars(order: Order) -> Variables:
    companion = order.existing()
    return Variables(companion, companion.vars())


COMMANDS = (
    Command("push", "bind names of this session there", _push, "NAMES"),
    Command("pull", "bind names of the companion here, as proxies", _pull, "NAMES", (COPY,)),
    Command(
        "vars", "list its names, with type, size and a short value; runs no code of the values' own", _vars
    ),
)
