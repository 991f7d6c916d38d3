"""Which line of a policy forbids something, and which would allow it (both sides)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from isolate_magic import patterns, settings
from isolate_magic.errors import PolicyError

if TYPE_CHECKING:
    from isolate_magic.policy import Policy

_SHOWN = 3


def refusal(policy: Policy, kind: str, target: str, runtime: Sequence[str] = ()) -> str | None:
    """Tell which line of a policy forbids something, and what would allow it; None if nothing forbids it.

    A name is not looked up: an allowed "pypi.org:443" does not allow the address of pypi.org.

    Args:
        policy: the policy.
        kind: "read", "write", "connect", "import" or "start" (a program).
        target: the path, "host:port", module or program; links in a path are followed.
        runtime: paths that may be read under every policy.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in _KINDS:
        raise ValueError(f"there is no refusal of the kind {kind!r}; the kinds are {', '.join(_KINDS)}")
    return _KINDS[kind](policy, target, runtime)


def _read(policy: Policy, target: str, runtime: Sequence[str]) -> str | None:
    if policy.read is None:
        return _hidden(policy, target)
    return _path(policy, "read", target, [*policy.read, *(policy.write or ()), *runtime])


def _write(policy: Policy, target: str, _runtime: Sequence[str]) -> str | None:
    if policy.write is None:
        return _hidden(policy, target)
    return _path(policy, "write", target, policy.write)


def _path(policy: Policy, field: str, target: str, allowed: Sequence[str]) -> str | None:
    real = os.path.realpath(target)
    if patterns.holds(allowed, real):
        return _hidden(policy, target)
    return f"{_line(policy, field)}: allow_{field}({json.dumps(real)}) would allow it"


def _hidden(policy: Policy, target: str) -> str | None:
    for path in {os.path.abspath(target), os.path.realpath(target)}:
        if patterns.holds(policy.hidden, path, dots=True):
            return f"{_line(policy, 'hidden')}: {json.dumps(path)} does not exist for the companion"
    return None


def crowded(policy: Policy, folder: str) -> str | None:
    """Tell why nothing can be made, renamed or removed in a folder that may be written; None if it can.

    Args:
        policy: the policy.
        folder: a path; links in it are followed.
    """
    real = os.path.realpath(folder)
    names = map(os.path.realpath, policy.concealed())
    hidden = next((path for path in names if patterns.below(path, real)), None)
    if hidden is None:
        return None
    return (
        f"{_line(policy, 'hidden')}: nothing can be made, renamed or removed in {json.dumps(real)}, because "
        f"{json.dumps(hidden)} lies in it; put what is hidden, or what is written, into a folder of its own"
    )


def _connect(policy: Policy, target: str, _runtime: Sequence[str]) -> str | None:
    if policy.network == "all":
        return None
    try:
        place = settings.address("network", target)
    except PolicyError:
        return f'{_line(policy, "network")}: only network = "all" would allow {json.dumps(target)}'
    if isinstance(policy.network, tuple) and place in policy.network:
        return None
    return f"{_line(policy, 'network')}: allow_tcp({json.dumps(place)}) would allow it"


def _import(policy: Policy, target: str, _runtime: Sequence[str]) -> str | None:
    # To import a.b Python imports a first, so a is let through where a.b is allowed.
    if policy.imports is None or any(
        f"{target}.".startswith(f"{name}.") or name.startswith(f"{target}.") for name in policy.imports
    ):
        return None
    return f"{_line(policy, 'imports')}: allow_import({json.dumps(target)}) would allow it"


def _start(policy: Policy, target: str, runtime: Sequence[str]) -> str | None:
    if policy.processes == 1:
        return f"{_line(policy, 'processes')}: but(processes=2) would allow it"
    return _read(policy, target, runtime) if "/" in target else None


def _line(policy: Policy, field: str) -> str:
    """Return the line of a policy as it would stand in TOML, not all of it if it is long."""
    value = getattr(policy, field)
    shown = json.dumps(value[:_SHOWN] if isinstance(value, tuple) else value)
    if isinstance(value, tuple) and len(value) > _SHOWN:
        shown = f"{shown[:-1]}, ...]"
    return f"policy {policy.name!r}, {field} = {shown}" if policy.name else f"the policy's {field} = {shown}"


_KINDS: dict[str, Callable[[Policy, str, Sequence[str]], str | None]] = {
    "read": _read,
    "write": _write,
    "connect": _connect,
    "import": _import,
    "start": _start,
}
