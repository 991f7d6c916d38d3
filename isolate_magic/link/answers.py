"""What a companion answers to Tab and Shift-Tab, as typed JSON (both sides)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

MOST = 1000
"""Most matches in an answer; IPython shows 500."""

LONGEST = 500
"""Most characters of a match."""

TEXT = 200_000
"""Most characters of what is told about an object; in the middle of a longer text some are left out."""


class Match(NamedTuple):
    """One completion: the text, what kind of thing it is, and its signature if it has one."""

    text: str
    kind: str = ""
    signature: str = ""


class Completed(msgspec.Struct):
    """Tell what may stand in the code instead of what stands from `start` to `end`."""

    start: int
    end: int
    matches: list[Match]


class Inspected(msgspec.Struct):
    """Tell what there is to say about an object."""

    found: bool
    text: str = ""


def told(answer: Completed | Inspected) -> str:
    """Return an answer as the text that travels."""
    return msgspec.json.encode(answer).decode()


completed = msgspec.json.Decoder(Completed).decode
inspected = msgspec.json.Decoder(Inspected).decode
