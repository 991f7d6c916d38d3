"""What holds where nothing else is said; `c.Isolate` sets it (host)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Defaults:
    """What a user may configure beside the policy: traits of the same names in `face/configuration.py`.

    Attributes:
        preload: modules that a companion imports before the fork, if no others are named.
        timeout: seconds for a cell of `%%isolated` without `-t`; 0 is no limit.
        progress: whether what takes over a second says how far it is.
        top_interval: seconds between two updates of `%isolate top`.
        snapshots: `auto` takes one before each cell, `off` only on request; a notebook sets `auto`.
    """

    preload: tuple[str, ...] = ()
    timeout: float = 0.0
    progress: bool = True
    top_interval: float = 1.0
    snapshots: str = "off"


defaults = Defaults()
