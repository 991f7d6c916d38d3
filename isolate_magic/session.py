"""The companions of this session, and the two functions that most people need (host)."""

from __future__ import annotations

import os
import threading
from typing import Any

from isolate_magic.companion import Companion
from isolate_magic.link.proxy import copied
from isolate_magic.registry import registered

_lock = threading.Lock()


def get_companion(name: str = "default") -> Companion:
    """Return the companion of this name, made if there is none."""
    with _lock:
        return registered().get(name) or Companion(name)


def default_companion() -> Companion:
    """Return the companion that `import_isolated` and `%%isolated` use when no other is named."""
    return get_companion("default")


def companions() -> list[Companion]:
    """Return all companions of this session."""
    return list(registered().values())


def import_isolated(name: str, companion: Companion | str | None = None) -> Any:
    """Import a module in a companion and return its proxy.

    Args:
        name: the module's full name.
        companion: which one, or its name; the default companion by default.

    >>> math = import_isolated("math")
    >>> math.sqrt(16.0)
    4.0
    """
    __tracebackhide__ = True
    if companion is None or isinstance(companion, str):
        companion = get_companion(companion or "default")
    return companion.load_module(name)


def byvalue(thing: Any) -> Any:
    """Return a copy of what a proxy stands for; anything else is returned as it is.

    Raises:
        TransferError: the object cannot be copied; the text says why.
        StaleProxyError: its companion is dead.
    """
    __tracebackhide__ = True
    return copied(thing)


def _forget() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
