"""The gate that a policy puts in front of a companion's output: a filter, a limit, or nothing (host)."""

from __future__ import annotations

import json
from typing import Any

from isolate_magic.filtering import Filtered
from isolate_magic.output import NullSink
from isolate_magic.policy import Policy


class Rationed(Filtered):
    """Show all that a trusted companion shows, up to its limit and its rate."""

    def stream(self, name: str, text: str) -> None:
        """Show text as it is, as far as there is room."""
        data = text.encode("utf-8", "replace")
        room = max(self._room(), 0)
        self._charge(min(len(data), room))
        if len(data) <= room:
            self.sink.stream(name, text)
            return
        shown = data[:room].decode("utf-8", "ignore")
        if shown:
            self.sink.stream(name, shown)
        self._left_out(len(data) - room)

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show a display as it is, if there is room for the whole."""
        size = len(json.dumps(content, default=str))
        if size > self._room():
            self._left_out(size)
            return
        self._charge(size)
        self.sink.message(kind, content)

    def _end_lines(self) -> None:
        return


def gate(name: str, policy: Policy) -> Filtered | None:
    """Return what stands in front of a companion's output, None if nothing does.

    Args:
        name: how the companion is called.
        policy: what holds for it.
    """
    if not policy.trusted:
        return Filtered(NullSink(), name, policy.output, policy.output_rate)
    if policy.output is None and policy.output_rate is None:
        return None
    return Rationed(NullSink(), name, policy.output, policy.output_rate)
