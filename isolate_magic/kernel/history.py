"""The inputs of one kernel, for `history_request`; they outlive every companion (host)."""

from __future__ import annotations

import fnmatch
from typing import Any

_MOST = 10_000


class History:
    """Keep what was entered.

    Attributes:
        entries: prompt number and source, the oldest first.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[int, str]] = []

    def note(self, number: int, source: str) -> None:
        """Take down a cell."""
        if source.strip():
            self.entries.append((number, source))
            del self.entries[:-_MOST]

    def tell(self, kind: str, asked: dict[str, Any]) -> list[tuple[int, int, Any]]:
        """Return what a `history_request` asks for: session 0, number, and the source, or source and output.

        Args:
            kind: `tail`, `range` or `search`.
            asked: `n`, `start`, `stop`, `session`, `pattern`, `unique` and `output` of the request.
        """
        found = self.entries
        if kind == "range":
            stop = asked.get("stop")
            found = [
                entry
                for entry in found
                if entry[0] >= (asked.get("start") or 0) and (stop is None or entry[0] < stop)
            ]
            if asked.get("session"):  # another one than this, of which nothing is known
                found = []
        elif kind == "search":
            pattern = asked.get("pattern") or "*"
            found = [entry for entry in found if fnmatch.fnmatchcase(entry[1], pattern)]
            if asked.get("unique"):
                latest = {source: number for number, source in found}
                found = sorted((number, source) for source, number in latest.items())
        if kind != "range" and isinstance(asked.get("n"), int):
            found = found[-asked["n"] :] if asked["n"] > 0 else []
        output = bool(asked.get("output"))
        return [(0, number, (source, None) if output else source) for number, source in found]
