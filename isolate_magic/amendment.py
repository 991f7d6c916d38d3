"""A policy that changes while its companion lives: what holds at once, and what after a restart (host).

Limits and the list of allowed addresses are kept by the supervisor and by this session, so they change at
once. What the kernel has been told it mostly keeps: that waits for a restart.
"""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from isolate_magic import fence
from isolate_magic.gate import gate
from isolate_magic.policy import Policy
from isolate_magic.protection import Protection

_WATCHED = ("memory", "cpu", "processes", "threads")
_RLIMITS = {"memory": "DATA", "open_files": "NOFILE", "cpu": "CPU", "processes": "NPROC", "threads": "NPROC"}
_SOFT = ("DATA", "CPU")  # the supervisor enforces these, so the kernel's limit may stay soft
_ROUNDS = 5  # looks at a tree of processes, until no new one has come
_PATIENCE = 2.0  # seconds for the companion to take a list of imports
_PACKET = 60_000
_CHANGED = ", changed"
_TOLD = "the kernel was told at the start, and cannot be told again"


class _Later(Exception):
    """Say why something holds after the next restart only."""


@dataclass(frozen=True)
class Amendment:
    """What became of a change of policy.

    Attributes:
        took: the fields that hold already.
        restart: those that hold after the next restart of the companion, each with the reason.
        started: whether there is a process that they can hold for.
    """

    took: tuple[str, ...]
    restart: tuple[tuple[str, str], ...]
    started: bool = True

    def __str__(self) -> str:
        if not self.started:
            return "holds from the next start"
        parts = []
        if self.took:
            parts.append(f"in force now: {', '.join(self.took)}")
        reasons: dict[str, list[str]] = {}
        for name, reason in self.restart:
            reasons.setdefault(reason, []).append(name)
        parts += [f"after a restart: {', '.join(names)} ({reason})" for reason, names in reasons.items()]
        return "; ".join(parts) or "nothing has changed"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def amend(process: Any, new: Policy) -> Amendment:
    """Change the policy of a running process, as far as that goes.

    Args:
        process: the `isolate_magic.process.Process`.
        new: the policy that shall hold.

    Returns:
        what took effect. `process.policy` is what is in force afterwards.
    """
    old = process.policy
    fixed = set(old.needs_restart(new)) - {"network"}
    took: dict[str, Any] = {}
    waits: dict[str, str] = {}
    for name in old.changes(new):
        try:
            if name in fixed:
                raise _Later(_TOLD)
            if name in _HOW:
                _HOW[name](process, old, new, name)
        except _Later as reason:
            waits[name] = str(reason)
        except PermissionError:
            capability = "CAP_SYS_NICE" if name in ("nice", "cpus") else "CAP_SYS_RESOURCE"
            waits[name] = f"to change it in a running process, this session lacks {capability}"
        except OSError as error:
            waits[name] = f"the kernel refuses to change it: {error.strerror}"
        else:
            took[name] = getattr(new, name)
    if took:
        process.policy = old.but(name=new.name, **took)
        waits |= _tell(process, old, [name for name in took if name in _WATCHED])
        if waits:
            process.policy = process.policy.but(name=f"{old.name.removesuffix(_CHANGED)[:80]}{_CHANGED}")
        took = {name: value for name, value in took.items() if name not in waits}
        details = process.protection.details | {"lacking": process.protection.lacking}
        process.talk.wall.again()
        process.protection = Protection.of(process.policy, details)
    return Amendment(tuple(took), tuple(waits.items()))


def _tell(process: Any, old: Policy, names: list[str]) -> dict[str, str]:
    """Tell the supervisor the limits that it watches; return those that it could not be told, and why."""
    if not names:
        return {}
    limits = process.plan["limits"] | {name: getattr(process.policy, name) for name in _WATCHED}
    message = {"do": "limits", "limits": limits}
    if len(json.dumps(message)) > _PACKET:
        reason = "the policy names too many folders to tell its supervisor again"
    elif not process.lane.say(message):
        reason = "its supervisor does not listen"
    else:
        return {}
    process.policy = process.policy.but(**{name: getattr(old, name) for name in names})
    return dict.fromkeys(names, reason)


# ---------------------------------------------------------------- limits


def _limit(process: Any, old: Policy, new: Policy, name: str) -> None:
    """Change a limit that the supervisor watches; the kernel's own, for each process, follows if it can."""
    if process.lane is None:
        raise _Later("it runs without the supervisor that would watch it")
    eased = name in new.weaker_than(old)
    if name == "processes" and eased and not process.plan["forks"]:
        raise _Later("the kernel was told at the start that it starts none")
    try:
        if eased or name != "cpu":  # whom the kernel strikes for his processor time, it does not name
            _set_rlimit(process, new, _RLIMITS[name])
    except (PermissionError, _Later):
        if eased:
            raise


def _files(process: Any, _old: Policy, new: Policy, name: str) -> None:
    _set_rlimit(process, new, _RLIMITS[name])


def _set_rlimit(process: Any, new: Policy, kind: str) -> None:
    """Set a limit of each process that there is; raises PermissionError if the kernel says no."""
    applied = process.protection.details.setdefault("rlimits", {})
    told = process.plan["rlimits"]
    value = fence.rlimits(new).get(kind)
    if kind == "NPROC":
        if kind not in applied:
            return  # it would count the threads that this user has elsewhere, which nobody has counted
        value = None if value is None else value + applied[kind] - told[kind]
    number = getattr(resource, f"RLIMIT_{kind}")
    highest = resource.getrlimit(number)[1]
    limit = highest if value is None or (highest != resource.RLIM_INFINITY and value > highest) else value
    if limit == applied.get(kind):
        return
    for pid in _pids(process):
        try:
            hard = resource.prlimit(pid, number)[1] if kind in _SOFT else limit
            resource.prlimit(pid, number, (limit, hard))
        except ProcessLookupError:  # it has ended meanwhile
            continue
        except PermissionError:  # another user's, and we are not root enough
            if kind not in _SOFT:
                raise
            _ask(process, "ease_limit", kind, limit)
            break
        except ValueError:  # how Python says that a limit may not be raised
            raise PermissionError(f"RLIMIT_{kind} of process {pid}") from None
    applied.pop(kind, None)
    told.pop(kind, None)
    if value is not None:
        applied[kind], told[kind] = limit, fence.rlimits(new)[kind]


def _pids(process: Any) -> Iterator[int]:
    """Give the companion and all that it has started, until no new one comes; what they fork inherits."""
    yield process.pid
    done = {process.pid}
    for _ in range(_ROUNDS):
        try:
            root = psutil.Process(process.pid)
            root = root.parent() or root if process.lane is not None else root
            fresh = {child.pid for child in root.children(recursive=True)} - done
        except psutil.Error:  # it has ended meanwhile
            return
        if not fresh:
            return
        yield from fresh
        done |= fresh


def _tasks(process: Any) -> Iterator[int]:
    """Give every thread: niceness and CPUs are a thread's own (sched(7))."""
    for pid in _pids(process):
        try:
            yield from map(int, os.listdir(f"/proc/{pid}/task"))
        except FileNotFoundError:
            continue


def _renice(process: Any, _old: Policy, new: Policy, _name: str) -> None:
    wanted = max(new.nice or 0, os.getpriority(os.PRIO_PROCESS, 0))
    for task in _tasks(process):
        _still(os.setpriority, os.PRIO_PROCESS, task, wanted)


def _move(process: Any, _old: Policy, new: Policy, _name: str) -> None:
    here = os.sched_getaffinity(0)
    missing = sorted(set(new.cpus or ()) - here)
    if missing:
        gone = ", ".join(map(str, missing))
        have = ", ".join(map(str, sorted(here)))
        raise _Later(f"this session may not use CPU {gone}, so it will not even start; it has {have}")
    for task in _tasks(process):
        _still(os.sched_setaffinity, task, new.cpus or here)


def _still(act: Callable[..., Any], *args: Any) -> None:
    """Do something to a thread that may have ended meanwhile."""
    try:
        act(*args)
    except ProcessLookupError:
        return


# ---------------------------------------------------------------- what this session sees to


def _redial(process: Any, _old: Policy, new: Policy, _name: str) -> None:
    if process.plan["network"] != "listed" or new.network == "all":
        raise _Later(_TOLD)
    now = new.network if isinstance(new.network, tuple) else ()
    process.dialer.allowed = now
    process.dialer.resolve()
    strange = sorted(set(process.dialer.hosts()) - set(process.plan["hosts"]))
    if strange:
        raise _Later(
            f"its addresses are allowed now, but the companion can look up {', '.join(strange)} only then"
        )


def _import(process: Any, _old: Policy, new: Policy, _name: str) -> None:
    _ask(process, "allow_imports", new.imports, new.name)


def _ask(process: Any, name: str, *args: Any) -> None:
    """Ask the companion itself for something, though it may be at work for another thread."""
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            process.talk.ask(name, *args)
        except Exception as error:  # border: the companion's answer, and it may say anything
            failed.append(error)

    asking = threading.Thread(target=ask, name="isolate_magic-amendment", daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    if failed:
        raise _Later(f"the companion did not take it: {failed[0]}")
    if asking.is_alive():
        raise _Later("or before, when it has done what it is doing")


def _filter(process: Any, _old: Policy, new: Policy, _name: str) -> None:
    if process.output.gate is None:
        process.output.gate = gate(process.name, new)
        return
    process.output.gate.output, process.output.gate.rate = new.output, new.output_rate


_HOW: dict[str, Callable[[Any, Policy, Policy, str], None]] = {
    **dict.fromkeys(_WATCHED, _limit), "open_files": _files, "nice": _renice, "cpus": _move,
    "network": _redial, "imports": _import, "output": _filter, "output_rate": _filter,
}  # fmt: skip
