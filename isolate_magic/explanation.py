"""Why code in a confined companion failed: the line of the policy that was in the way (host).

The error is the companion's word; which line refuses is judged here, by the policy itself.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from isolate_magic import fence, spawner
from isolate_magic.policy import Policy

_AWAY = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS, errno.EXDEV, errno.ENOTDIR)
_NO_ROAD = (
    errno.EACCES, errno.EPERM, errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT,
    errno.ENETDOWN,
)  # fmt: skip


def explain(error: BaseException, policy: Policy) -> str | None:
    """Return which line of a policy refused what has failed, and what would allow it; None if none did.

    Args:
        error: what the companion has raised.
        policy: what is in force.
    """
    if isinstance(error, socket.gaierror):
        return _network(policy)
    if isinstance(error, MemoryError):
        return _limit(policy, "memory", "bytes of memory")
    if not isinstance(error, OSError):
        return None
    name = error.filename
    if isinstance(name, str) and name and error.errno in _AWAY:
        return _path(policy, name[:4096])
    match error.errno:
        case errno.EAGAIN:
            return _limit(policy, "processes", "processes") or _limit(policy, "threads", "threads")
        case errno.EMFILE:
            return _limit(policy, "open_files", "open files")
        case errno.ENOSPC | errno.EFBIG | errno.EDQUOT:
            return _limit(policy, "disk", "bytes on disk")
        case code if code in _NO_ROAD and name is None:
            return _network(policy)
    return None


def _path(policy: Policy, name: str) -> str | None:
    place = os.path.join(spawner.folder(), name)
    runtime = fence.runtime() if fence.walled(policy) else []
    refused = policy.refusal("read", place, runtime)
    here = policy.read is not None and os.path.realpath(spawner.folder()) == os.path.dirname(
        os.path.realpath(place)
    )
    if refused is None and not here:
        return policy.refusal("write", place, runtime)
    if refused is not None and not os.path.lexists(place):
        return None  # it is not here either
    return refused


def _network(policy: Policy) -> str | None:
    if policy.network == "all":
        return None
    name = policy.name or "of this companion"
    allowed = ", ".join(policy.network) if isinstance(policy.network, tuple) else "none"
    return f'policy {name!r}, network = {allowed}: allow_tcp("host:port") would allow a connection'


def _limit(policy: Policy, field: str, unit: str) -> str | None:
    value: Any = getattr(policy, field)
    if value is None:
        return None
    return f"policy {policy.name or 'of this companion'!r}, {field} = {value}: no more {unit}"


def note(error: BaseException, policy: Policy) -> None:
    """Add the explanation to an error, once, as a note and to the lines that its cell shows."""
    said = (
        None
        if policy.trusted and not fence.walled(policy) and policy.network == "all"
        else explain(error, policy)
    )
    if said is None or any(said in text for text in getattr(error, "__notes__", ())):
        return
    error.add_note(said)
    lines = error.__dict__.get("_isolate_lines_")
    if lines:
        error.__dict__["_isolate_lines_"] = (*lines, said)
