"""A policy file that is followed: its changes hold for a running companion (host).

The file is looked at, not watched: editors replace files as often as they write into them.
"""

from __future__ import annotations

import os
import threading
import tomllib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from isolate_magic import output, patterns
from isolate_magic.errors import IsolateError, PolicyError
from isolate_magic.policy import Policy
from isolate_magic.watch import watch

if TYPE_CHECKING:
    from isolate_magic.companion import Companion

EVERY = 0.25
"""Seconds between two looks at a file; what it says counts when it has been the same twice."""

_MOST = 20  # files that extend one another
_State = tuple[tuple[int, int, int] | None, ...]

_followers: WeakKeyDictionary[Companion, _Follower] = WeakKeyDictionary()
_held: list[str] = []
_holding = False


def follow(companion: Companion, path: str) -> None:
    """Take a companion's policy from a file whenever it changes, until the companion is closed.

    Args:
        companion: the companion; a file followed before is not followed any more.
        path: a TOML file.

    Raises:
        PolicyError: what it says now cannot be.
    """
    place = os.path.abspath(os.path.expanduser(path))
    follower = _Follower(companion, place)  # before the file is read: what is saved meanwhile counts
    policy = Policy.load(place)
    follower.check(policy)
    companion.change_policy(policy)
    companion.followed = place
    _followers[companion] = follower
    follower.again()


def hold() -> None:
    """Keep back what is to be said: a cell begins, and its output is its own."""
    global _holding
    _holding = True


def tell() -> None:
    """Say what was kept back, and what comes from now on at once."""
    global _holding
    _holding = False
    while _held:
        output.default.stream("stderr", _held.pop(0))


class _Follower:
    """Look at one file, and those that it extends, now and then."""

    def __init__(self, companion: Companion, path: str) -> None:
        self.companion = companion
        self.path = path
        self.files = _family(path)
        self.taken = self.seen = _state(self.files)

    def again(self) -> None:
        """Look once more after a while."""
        watch().later(EVERY, self._look)

    def _look(self) -> None:
        """See whether the file has changed (background thread, which must not wait for the companion)."""
        if not self._wanted():
            return
        state = _state(self.files)
        changed, self.seen = state != self.seen, state
        if changed or state == self.taken:  # somebody may be in the middle of writing
            self.again()
        else:
            threading.Thread(target=self._change, name="isolate_magic-policy", daemon=True).start()

    def _wanted(self) -> bool:
        companion = self.companion
        return _followers.get(companion) is self and companion.followed == self.path and not companion.closed

    def _change(self) -> None:
        """Take the policy from the file, and say what became of it."""
        self.files = _family(self.path)
        self.taken = self.seen = _state(self.files)
        try:
            policy = self._load()
            self.check(policy)
            if self._wanted():
                self._say(str(self.companion.change_policy(policy)))
        except IsolateError as error:
            self._say(f"{error}; the policy stays as it was")
        self.again()

    def check(self, policy: Policy) -> None:
        """Make sure that the companion cannot write its policy itself, neither now nor under a new one.

        Raises:
            PolicyError: it can.
        """
        open_ = [*_open_to(policy), *_open_to(self.companion.policy)]
        process = self.companion._alive()
        if process is not None and not process.trusted:
            open_ += process.plan["files"]["write"]
        for file in map(os.path.realpath, self.files):
            if any(patterns.below(file, os.path.realpath(folder)) for folder in open_):
                raise PolicyError(
                    f"companion {self.companion.name!r} may write {file}, so it could give itself another "
                    "policy; keep the file where it cannot write"
                )

    def _load(self) -> Policy:
        if self.taken[0] is None:
            raise PolicyError("the file is gone")
        if not self.taken[0][1]:  # how a file looks of which an editor has written nothing yet
            raise PolicyError('the file is empty; `extends = "trusted"` restricts nothing')
        return Policy.load(self.path)

    def _say(self, text: str) -> None:
        name = os.path.basename(self.path)
        _held.append(f"companion {self.companion.name!r}, {name}: {text}\n")
        if not _holding:
            tell()


def _open_to(policy: Policy) -> list[str]:
    """Return where the code of strangers may write under a policy."""
    return [] if policy.trusted else policy.writable()


def _family(path: str) -> list[str]:
    """Return a file and those that it extends, as far as they can be read."""
    files = [path]
    while len(files) < _MOST:
        try:
            with open(files[-1], "rb") as file:
                above = tomllib.load(file).get("extends")
        except (OSError, ValueError):
            break
        if not isinstance(above, str) or not above.endswith(".toml"):
            break
        files.append(os.path.join(os.path.dirname(files[-1]), os.path.expanduser(above)))
    return files


def _state(files: list[str]) -> _State:
    return tuple(map(_stamp, files))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
