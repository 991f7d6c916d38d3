"""A policy that changes while its companion lives: what holds at once, and what after a restart (host).

Limits and the list of allowed addresses are kept by the supervisor and by this session, so they change at
once. What the kernel has been told can only be made tighter, and not from outside: it waits for a restart.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isolate_magic import fence
from isolate_magic.policy import Policy

_WATCHED = ("memory", "cpu", "processes", "threads", "disk")
_RLIMITS = {"memory": ("DATA",), "open_files": ("NOFILE",), "disk": ("FSIZE",), "cpu": ("CPU",),
            "processes": ("NPROC",), "threads": ("NPROC",)}  # fmt: skip


@dataclass(frozen=True)
class Amendment:
    """What became of a change of policy.

    Attributes:
        took: the fields that hold already.
        restart: those that hold after the next restart of the companion, each with the reason.
    """

    took: tuple[str, ...]
    restart: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        parts = []
        if self.took:
            parts.append(f"in force now: {', '.join(self.took)}")
        parts += [f"{name} after a restart ({reason})" for name, reason in self.restart]
        return "; ".join(parts) or "nothing has changed"


def amend(process: Any, new: Policy) -> Amendment:
    """Change the policy of a running process, as far as that goes.

    Args:
        process: the `isolate_magic.process.Process`.
        new: the policy that shall hold.

    Returns:
        what took effect. `process.policy` is what is in force afterwards.
    """
    old = process.policy
    changed = old.changes(new)
    waits = dict.fromkeys(
        old.needs_restart(new), "the kernel has been told already, and cannot be told again"
    )
    if process.lane is None:
        waits |= dict.fromkeys(set(changed) & set(_WATCHED), "it has no supervisor, which watches limits")
    took: dict[str, Any] = {}
    for name in changed:
        if name in waits:
            continue
        try:
            _HOW.get(name, _nothing)(process, new)
            for kind in _RLIMITS.get(name, ()):
                _set_rlimit(process.pid, kind, fence.rlimits(new).get(kind))
        except (OSError, ValueError) as error:
            waits[name] = f"the kernel refuses to change it: {error}"
            continue
        took[name] = getattr(new, name)
    process.policy = old.but(**took) if took else old
    if any(name in took for name in _WATCHED):
        folders = process.policy.writable() if process.policy.write is not None else []
        said = fence.limits(process.policy, folders, process.scratch)
        process.lane.say({"do": "limits", "limits": said})
    return Amendment(tuple(took), tuple(waits.items()))


def _set_rlimit(pid: int, kind: str, value: int | None) -> None:
    number = getattr(resource, f"RLIMIT_{kind}")
    limit = resource.RLIM_INFINITY if value is None else value
    resource.prlimit(pid, number, (limit, limit))


def _renice(process: Any, new: Policy) -> None:
    os.setpriority(os.PRIO_PROCESS, process.pid, new.nice or 0)


def _move(process: Any, new: Policy) -> None:
    cpus = new.cpus or os.sched_getaffinity(0)
    for task in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(task), cpus)


def _redial(process: Any, new: Policy) -> None:
    process.dialer.allowed = new.network
    process.dialer.resolve()


def _import(process: Any, new: Policy) -> None:
    process.talk.ask("allow_imports", new.imports, new.name)


def _filter(process: Any, new: Policy) -> None:
    if process.output.gate is None:
        raise ValueError("its output passes no gate")
    process.output.gate.output, process.output.gate.rate = new.output, new.output_rate


def _nothing(_process: Any, _new: Policy) -> None:
    return


_HOW: dict[str, Callable[[Any, Policy], None]] = {
    "nice": _renice, "cpus": _move, "network": _redial, "imports": _import,
    "output": _filter, "output_rate": _filter,
}  # fmt: skip
