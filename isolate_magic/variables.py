"""What the cells of a companion have bound: names, types, sizes, short texts (host)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from isolate_magic.ration import label

MOST = 1000
"""Most names that are told of; the companion says so where there are more."""

_TEXT = 200


class Variable(NamedTuple):
    """One name of a companion's cells.

    Attributes:
        name: the name.
        type: the name of the value's class.
        size: how large it is, in words; empty where that is not known without running code of its own.
        text: the value in short; of objects that are not Python's own, what they are.
    """

    name: str
    type: str
    size: str
    text: str


def variables(talk: Any) -> list[Variable]:
    """Ask a companion for its names; nothing that it says is more than short text.

    Args:
        talk: the conversation with it.
    """
    show: Callable[[str], str] = str if talk.process.trusted else label

    def read(told: Any) -> list[Variable]:
        if type(told) is not tuple or len(told) > MOST:
            raise ValueError("a list of names that is none")
        rows = []
        for row in told:
            if type(row) is not tuple or len(row) != 4 or not all(type(part) is str for part in row):
                raise ValueError("a name that is told of in another way")
            rows.append(Variable(*(show(part[:_TEXT]) for part in row)))
        return rows

    made: list[Variable] = talk._guarded(read, talk.ask("variables"))
    return made
