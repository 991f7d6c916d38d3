"""The last megabytes below a memory limit, which user code cannot have (companion).

Without them nothing could be done where it has used up its memory: no error be shown, no `del big` be run.
RLIMIT_DATA (setrlimit(2)) is lower while user code runs. That is no wall: the supervisor and the control
group are, and count what is there.
"""

from __future__ import annotations

import resource
from contextlib import suppress

_SIZE = 8 << 20  # bytes; a traceback in colours takes some 3 MiB
_DATA = resource.RLIMIT_DATA

_limit = resource.RLIM_INFINITY
_open = False
_pairs: dict[bool, tuple[int, int]] = {}


def use(mine: bool) -> bool:
    """Let the code that follows use the reserve, or not, if there is a limit; return what held before.

    It gets along with no memory at all, for it is called where user code has used that up.

    Args:
        mine: whether the code is ours.
    """
    global _open
    before = _open
    with suppress(MemoryError):
        limits = resource.getrlimit(_DATA)
        if limits != _pairs.get(before):  # the policy has changed, or this is the first time
            _learn(*limits)
    if _limit != resource.RLIM_INFINITY:
        with suppress(ValueError, OSError):  # it is lowered in this very moment
            resource.setrlimit(_DATA, _pairs[mine])
    _open = mine
    return before


def _learn(soft: int, hard: int) -> None:
    global _limit
    _limit = soft
    unlimited = soft == resource.RLIM_INFINITY or soft <= 4 * _SIZE
    _pairs.update({True: (soft, hard), False: (soft if unlimited else soft - _SIZE, hard)})
