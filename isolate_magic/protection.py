"""The report of what confines a companion: each field of its policy, and what enforces it (host)."""

from __future__ import annotations

import html
from dataclasses import dataclass, fields
from typing import Any

from isolate_magic import quantities
from isolate_magic.policy import Policy

_RLIMITS = {
    "memory": "DATA", "open_files": "NOFILE", "cpu": "CPU", "disk": "FSIZE", "threads": "NPROC",
    "processes": "NPROC",
}  # fmt: skip

_SIZES = ("memory", "disk", "output", "output_rate")
_SHOWN = 8  # of a list

_BY = {
    "imports": "import hook in the companion: a convenience, no wall",
    "wall": "main session: interrupt, then SIGKILL",
    "output": "main session",
    "output_rate": "main session",
    "environment": "zygote's exec",
    "cpus": "sched_setaffinity",
    "numa": "set_mempolicy",
    "nice": "setpriority",
}


@dataclass(frozen=True)
class Layer:
    """One field of a policy, or the system calls and signals, which have none.

    Attributes:
        field: its name.
        allows: what is allowed, as text.
        enforced_by: what in the kernel, the supervisor or the main session sees to it.
    """

    field: str
    allows: str
    enforced_by: str

    def __str__(self) -> str:
        return f"{self.field}: {self.allows} ({self.enforced_by})"


@dataclass(frozen=True)
class Protection:
    """What confines a companion.

    Attributes:
        policy: the name of its policy.
        tier: `N` (namespaces), `L` (Landlock and seccomp), or "" where nothing is confined.
        layers: what is enforced, and by what.
        details: what the companion's supervisor has reported, as plain data.
        lacking: why there is no tier N, if there is none.
    """

    policy: str
    tier: str
    layers: tuple[Layer, ...]
    details: dict[str, Any]
    lacking: str = ""

    @classmethod
    def of(cls, policy: Policy, told: dict[str, Any]) -> Protection:
        """Make the report from a policy and what the supervisor has told before any user code ran."""
        lacking = told.get("lacking", "")
        details = {name: value for name, value in told.items() if name != "lacking"}
        layers = [
            Layer(field.name, _said(policy, field.name), by)
            for field in fields(policy)
            if (by := _enforcer(policy, details, field.name))
        ]
        if details.get("seccomp") == "wall":
            layers.append(Layer("system calls", "an allow-list", "seccomp"))
            scoped = "signals" in details.get("landlocked", ())
            by = " and ".join(
                name
                for name, there in (
                    ("pid namespace", "pid" in details["namespaces"]),
                    ("Landlock scope", scoped),
                )
                if there
            )
            layers.append(Layer("signals", "its own processes", by))
            layers.append(Layer("user", f"uid {details.get('uid')}, no capabilities", "setresuid, capset"))
        return cls(policy.name, details.get("tier", ""), tuple(layers), details, lacking)

    @property
    def charged(self) -> bool:
        """Tell whether the kernel counts all memory that the companion writes to first, whoever holds it."""
        return "memory.max" in self.details.get("cgroup", {}).get("applied", ())

    def __str__(self) -> str:
        head = f"policy {self.policy or '(unnamed)'}"
        head += f", tier {self.tier}" if self.tier else ", not confined: crash isolation only"
        lines = [head, *(f"  {layer}" for layer in self.layers)]
        if self.lacking:
            lines.append(f"  no namespaces: {self.lacking}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *rest = str(self).splitlines()
        rows = "".join(
            f"<tr><td>{html.escape(layer.field)}</td><td>{html.escape(layer.allows)}</td>"
            f"<td>{html.escape(layer.enforced_by)}</td></tr>"
            for layer in self.layers
        )
        note = f"<div>{html.escape(rest[-1])}</div>" if self.lacking else ""
        return (
            f"<div>{html.escape(head)}</div><table><thead><tr><th>field</th><th>allows</th>"
            f"<th>enforced by</th></tr></thead><tbody>{rows}</tbody></table>{note}"
        )


def _said(policy: Policy, name: str) -> str:
    """Say a value as people say it, and not all of a long list."""
    value = getattr(policy, name)
    if isinstance(value, tuple):
        shown = [str(item) for item in value[:_SHOWN]]
        more = [f"{len(value) - _SHOWN} more"] if len(value) > _SHOWN else []
        return ", ".join(shown + more) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _SIZES:
        size = str(quantities.spelled(value))
        return f"{size[:-3]} {size[-3:]}" if size.endswith("iB") else f"{value:,} bytes"
    return quantities.spoken(value) if name in ("cpu", "wall") else str(value)


def _enforcer(policy: Policy, details: dict[str, Any], name: str) -> str:
    """Name what enforces a field, or "" where the policy leaves it open."""
    value = getattr(policy, name)
    if value is None or (name == "network" and value == "all"):
        return ""
    if name in ("read", "write", "hidden"):
        return _files(details) if value or name != "hidden" else ""
    if name == "network":
        return _network(details, isinstance(value, tuple))
    if name == "trusted":
        return "" if value else "main session: no pickles, filtered output; all layers or no start"
    if name == "cpus" and details.get("seccomp") == "wall":
        return "sched_setaffinity, seccomp"
    return _BY.get(name) or _limit(details, name)


def _limit(details: dict[str, Any], name: str) -> str:
    applied = details.get("rlimits", {})
    by = []
    if name in _RLIMITS and _RLIMITS[name] in applied:
        by.append(f"RLIMIT_{_RLIMITS[name]}")
    group = {"memory": "memory.max", "processes": "pids.max", "threads": "pids.max"}.get(name)
    if group in details.get("cgroup", {}).get("applied", ()):
        by.append(f"cgroup ({group})")
    if name in ("memory", "cpu", "processes", "threads"):
        by.append("watchdog of the supervisor")
    if name == "disk":
        by.append(
            "size of its tmpfs" if "mount" in details.get("namespaces", ()) else "watchdog of the supervisor"
        )
    return ", ".join(by)


def _files(details: dict[str, Any]) -> str:
    by = ["own root"] if "mount" in details.get("namespaces", ()) else []
    if details.get("landlock"):
        by.append(f"Landlock ABI {details['landlock']}")
    return ", ".join(by)


def _network(details: dict[str, Any], listed: bool) -> str:
    by = ["net namespace"] if "net" in details.get("namespaces", ()) else []
    if details.get("seccomp") in ("wall", "offline"):
        by.append("seccomp")
    if listed:
        by.append("the main session connects" + ("" if details.get("asks") else ", for Python's socket only"))
    return ", ".join(by)
