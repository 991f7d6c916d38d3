"""Whether this process may be forked so that the copy lives on (companion)."""

from __future__ import annotations

import threading


def obstacle() -> str:
    """Return why a fork would not live on; "" if it would."""
    return "another Python thread runs" if threading.active_count() > 1 else ""


def rest() -> None:
    """Pause what would not survive."""
