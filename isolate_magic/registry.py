"""The companions of this session by name (host)."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isolate_magic.companion import Companion
    from isolate_magic.report import CrashReport

_companions: dict[str, Companion] = {}

crashes: deque[CrashReport] = deque(maxlen=50)
"""The last crashes of all companions of this session, also of those that are closed."""

_lock = threading.RLock()


def add(name: str, companion: Companion) -> None:
    """Take a name for a companion.

    Raises:
        ValueError: another one has it.
    """
    with _lock:
        if name in _companions:
            raise ValueError(f"there is a companion {name!r} already; get_companion({name!r}) returns it")
        _companions[name] = companion


def remove(name: str, companion: Companion) -> None:
    """Free a name, if it is this companion's."""
    with _lock:
        if _companions.get(name) is companion:
            del _companions[name]


def registered() -> dict[str, Companion]:
    """Return the companions of this session by name."""
    with _lock:
        return dict(_companions)


def forget() -> list[Companion]:
    """Empty the registry in a forked copy of the main session, and return what was in it."""
    global _lock
    _lock = threading.RLock()
    left = list(_companions.values())
    _companions.clear()
    return left
