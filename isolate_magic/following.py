"""A policy file that is followed: its changes hold for a running companion (host).

The file is looked at, not watched: editors replace files as often as they write into them.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from isolate_magic import output
from isolate_magic.errors import IsolateError
from isolate_magic.policy import Policy
from isolate_magic.watch import watch

if TYPE_CHECKING:
    from isolate_magic.companion import Companion

EVERY = 0.5
"""Seconds between two looks at a file."""

_State = tuple[int, int, int] | None


def follow(companion: Companion, path: str) -> None:
    """Take a companion's policy from a file whenever it changes, until the companion is closed.

    Args:
        companion: the companion; a file followed before is not followed any more.
        path: a TOML file.

    Raises:
        PolicyError: what it says now cannot be.
    """
    place = os.path.abspath(path)
    companion.change_policy(Policy.load(place))
    _Follower(companion, place).again()


class _Follower:
    """Look at one file now and then."""

    def __init__(self, companion: Companion, path: str) -> None:
        self.companion = companion
        self.path = path
        self.seen = _state(path)
        companion.followed = path

    def again(self) -> None:
        """Look once more after a while."""
        watch().later(EVERY, self._look)

    def _look(self) -> None:
        companion = self.companion
        if companion.followed != self.path or companion.closed:
            return
        state = _state(self.path)
        if state != self.seen:
            self.seen = state
            self._say(self._change())
        self.again()

    def _change(self) -> str:
        try:
            return str(self.companion.change_policy(Policy.load(self.path)))
        except IsolateError as error:
            return f"{error}; the policy stays as it was"

    def _say(self, text: str) -> None:
        name = os.path.basename(self.path)
        output.default.stream("stderr", f"companion {self.companion.name!r}, {name}: {text}\n")
        sys.stderr.flush()


def _state(path: str) -> _State:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
