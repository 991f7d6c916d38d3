"""Why code in a confined companion failed: the line of the policy that was in the way (host).

The error is the companion's word; which line refuses is judged here, by the policy itself.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import Any

from isolate_magic import fence, quantities, refusals, spawner
from isolate_magic.errors import text_of
from isolate_magic.policy import Policy

_AWAY = (errno.EACCES, errno.ENOENT, errno.EROFS, errno.EXDEV, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM)
_NO_ROAD = (
    errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.ENETDOWN,
)  # fmt: skip
_NO_ROAD_SAID = re.compile(
    r"Errno -[235]\]|Errno (?:111|101|113)\]|[Nn]ame resolution|Name or service not known|Failed to resolve"
)
_SOCKETS = re.compile(r"connect|socket|getaddrinfo|sendto", re.IGNORECASE)
_FORKS = re.compile(r"fork|Popen|spawn|start\(\)", re.IGNORECASE)
_LONGEST = 4096
_SIZES = ("memory", "disk")
_THREAD = "can't start new thread"


def explain(error: BaseException, policy: Policy) -> str | None:
    """Return which line of a policy refused what has failed, and what would allow it; None if none did.

    Args:
        error: what the companion has raised.
        policy: what is in force.
    """
    if isinstance(error, MemoryError):
        return _limit(policy, "memory", "there is no more memory")
    if isinstance(error, RuntimeError) and text_of(error).startswith(_THREAD):
        return _limit(policy, "threads", "there are no more threads") or _limit(
            policy, "processes", "there are no more processes and threads"
        )
    if not isinstance(error, OSError):
        return None
    if isinstance(error, socket.gaierror) or error.errno is None:
        said = text_of(error)[-_LONGEST:]
        lost = isinstance(error, socket.gaierror) or _NO_ROAD_SAID.search(said)
        return _network(policy) if lost else None
    return _limited(error, policy) or _refused(error, policy)


def _limited(error: OSError, policy: Policy) -> str | None:
    """Explain an error that the kernel has for those who want too much."""
    if error.errno == errno.EAGAIN and _FORKS.search(_shown(error)):
        return _limit(policy, "processes", "there are no more processes") or _limit(
            policy, "threads", "there are no more threads"
        )
    if error.errno == errno.EMFILE:
        return _limit(policy, "open_files", "no more files can be open")
    return _limit(policy, "disk", "there is no more room") if error.errno in _FULL else None


def _refused(error: OSError, policy: Policy) -> str | None:
    """Explain an error that the kernel has for those who want what is not theirs."""
    name = error.filename
    if isinstance(name, str) and name and error.errno in _AWAY:
        try:
            return _path(policy, name[:_LONGEST], error.errno)
        except ValueError:  # with a NUL or half a character in it, it is the name of no file
            return None
    asked = error.errno in _REFUSED and _SOCKETS.search(_shown(error)) is not None
    if name is None and (error.errno in _NO_ROAD or asked):
        return _network(policy)
    if error.errno in (errno.EPERM, errno.ENOSYS) and fence.walled(policy):
        return f"{_name(policy)} confines system calls and signals, which may be why"
    return None


def _shown(error: BaseException) -> str:
    """Return the end of the traceback that the companion tells, which says what was called."""
    notes = getattr(error, "__notes__", ())
    return "\n".join(note[-_LONGEST:] for note in notes if isinstance(note, str))


def _path(policy: Policy, name: str, code: int) -> str | None:
    place = os.path.join(spawner.folder(), name)
    runtime = fence.runtime() if fence.walled(policy) else []
    refused = policy.refusal("read", place, runtime)
    there = os.path.lexists(place)
    if there and refused is not None:
        return refused
    if not there and (code == errno.ENOENT or not os.path.isdir(os.path.dirname(place))):
        return None  # it is not here either
    # What is not there yet cannot be named in a policy, but its folder can.
    said = policy.refusal("write", place if there else os.path.dirname(place), runtime)
    return said or refusals.crowded(policy, os.path.dirname(place))


def _network(policy: Policy) -> str | None:
    if policy.network == "all":
        return None
    if isinstance(policy.network, str):
        return f'{_name(policy)}, network = none: allow_tcp("host:port") would let it reach a server'
    allowed = ", ".join(policy.network[:3]) + (", ..." if len(policy.network) > 3 else "")
    return f'{_name(policy)}, network = {allowed}: allow_tcp("host:port") would let it reach another server'


def _limit(policy: Policy, field: str, meaning: str) -> str | None:
    value: Any = getattr(policy, field)
    if value is None:
        return None
    shown = quantities.spelled(value) if field in _SIZES else value
    return f"{_name(policy)}, {field} = {shown}: {meaning}"


def _name(policy: Policy) -> str:
    return f"policy {policy.name!r}" if policy.name else "the policy of this companion"


def note(error: BaseException, policy: Policy) -> None:
    """Add the explanation to an error, once, as a note and to the lines that its cell shows."""
    said = explain(error, policy)
    if said is None or any(said in text for text in getattr(error, "__notes__", ())):
        return
    error.add_note(said)
    lines = error.__dict__.get("_isolate_lines_")
    if lines:
        error.__dict__["_isolate_lines_"] = (*lines, said)
