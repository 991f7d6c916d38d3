"""From a policy to a plan: what the zygote, the supervisor and the companion shall do, as plain data (host).

A plan names concrete paths, numbers and layers; `isolate_magic.child.confinement` carries it out. Nothing
is decided there: what a plan asks for is had, or the companion does not start.
"""

from __future__ import annotations

import itertools
import os
import resource
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from isolate_magic import patterns, spawner
from isolate_magic.errors import ConfinementError, PolicyError
from isolate_magic.policy import Policy

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone",
    "/etc/mime.types", "/etc/fonts", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/alternatives",
    "/etc/protocols", "/etc/services", "/etc/os-release", "/etc/debian_version",
    "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
_NAMES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PROC = ("cpuinfo", "meminfo", "stat", "loadavg", "version", "filesystems", "uptime", "self")
_PACKAGES = ("site-packages", "dist-packages", ".zip")
_TASKS = 16  # threads that a process of the tree has on average, where only processes are limited
_TRACED = ["open", "creat", "openat", "openat2", "execve", "execveat", "connect"]
_SCRATCH = 1 << 30
_STACK = 8 << 20  # of a thread
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def runtime() -> list[str]:
    """Return the paths that any Python needs to run: the system's, the interpreter's and its packages."""
    ours = os.path.dirname(os.path.abspath(__file__))
    prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    packages = [entry for entry in sys.path if entry.endswith(_PACKAGES)]
    found = [*_SYSTEM, *prefixes, *packages, ours]
    return [path for path in dict.fromkeys(found) if os.path.exists(path) and path != "/"]


def walled(policy: Policy) -> bool:
    """Return whether a policy confines files, signals and system calls, and not limits or network alone."""
    return not policy.trusted or policy.read is not None or policy.write is not None or bool(policy.hidden)


def limited(policy: Policy) -> bool:
    """Return whether a supervisor has limits to watch."""
    watched = (policy.memory, policy.cpu, policy.processes, policy.threads, policy.disk)
    return any(value is not None for value in watched)


def limits(policy: Policy, folders: Sequence[str], scratch: str) -> dict[str, Any]:
    """Return what the watchdog needs.

    Args:
        policy: the policy.
        folders: those of the user's that may be written; what is in them already does not count.
        scratch: a folder of the companion's own, or "".
    """
    return {
        "memory": policy.memory, "cpu": policy.cpu, "processes": policy.processes,
        "threads": policy.threads, "disk": policy.disk,
        "folders": list(folders) if policy.disk else [], "scratch": [scratch] if scratch else [],
    }  # fmt: skip


def rlimits(policy: Policy) -> dict[str, int]:
    """Return the limits that the kernel enforces by process (setrlimit(2))."""
    found: dict[str, int] = {}
    if policy.memory is not None:
        found["DATA"] = policy.memory + _stacks(policy)
    if policy.cpu is not None:
        found["CPU"] = int(policy.cpu) + 2  # the watchdog, which counts the whole tree, comes first
    if policy.open_files is not None:
        found["NOFILE"] = policy.open_files
    if policy.disk is not None:
        found["FSIZE"] = policy.disk
    if policy.threads is not None or policy.processes is not None:
        found["NPROC"] = policy.threads or (policy.processes or 1) * _TASKS
    if not policy.trusted:
        found["CORE"] = 0
    return found


def _stacks(policy: Policy) -> int:
    """Return the bytes that the stacks of thread pools take: two pools with a thread for each CPU.

    RLIMIT_DATA counts a stack whole (setrlimit(2)), though hardly any of it is ever used. Without this room
    torch dies where there are 64 CPUs. The watchdog counts what is used.
    """
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    threads = 2 * (os.cpu_count() or 1)
    return min(threads, policy.threads or threads) * (stack if 0 < stack <= _STACK else _STACK)


def plan(
    policy: Policy, tier: str, scratch: str, hosts: dict[str, list[str]], traced: bool = False
) -> dict[str, Any]:
    """Return the plan for one start of a companion.

    Args:
        policy: what the companion may do.
        tier: `N` (namespaces) or `L` (Landlock and seccomp), for policies that need one.
        scratch: a folder of the companion's own, in tier L; "" in tier N, which makes one.
        hosts: names that may be connected to, with the addresses that were found for them.
        traced: whether it can be traced though no wall needs a supervisor.

    Raises:
        PolicyError: a path of the policy is gone.
    """
    wall = walled(policy)
    listed = isinstance(policy.network, tuple)
    fenced = wall or policy.network != "all"
    tier = tier if fenced else ""
    write = policy.writable() if policy.write is not None else []
    notify = _TRACED if wall or traced else ["connect"] if listed else []
    if listed and not wall and tier != "N":
        raise PolicyError(
            f"policy {policy.name or 'of this companion'!r} lists addresses and trusts the companion "
            "with all files; in tier L that cannot be enforced: name the files that it may read (read=...)"
        )
    return {
        "supervised": bool(fenced or notify or limited(policy) or rlimits(policy) or _placed(policy)),
        "name": policy.name,
        "tier": tier,
        "walled": wall,
        "files": _files(policy, tier, write),
        "network": "listed" if listed else policy.network,
        "hosts": hosts,
        "seccomp": _seccomp(wall, tier, policy, notify),
        "notify": notify,
        "forks": policy.processes != 1,
        "limits": limits(policy, write, scratch),
        "watched": limited(policy),
        "rlimits": rlimits(policy),
        "disk": policy.disk or min(_SCRATCH, policy.memory or _SCRATCH),
        "scratch": [scratch] if scratch else [],
        "home": _home(policy, tier, scratch),
        "temporary": _temporary(policy, tier, scratch),
        "nice": policy.nice,
        "cpus": _cpus(policy),
        "nodes": None if policy.numa is None else [policy.numa],
        "imports": policy.imports,
    }


def _placed(policy: Policy) -> bool:
    """Return whether a policy says where, or how eagerly, a companion runs."""
    return policy.cpus is not None or policy.numa is not None or bool(policy.nice)


def _cpus(policy: Policy) -> list[int] | None:
    """Return the CPUs that a policy leaves, those of its NUMA node if it names one.

    Raises:
        PolicyError: this machine does not have them, or this session may not use them.
    """
    ours = os.sched_getaffinity(0)
    wanted = ours if policy.cpus is None else set(policy.cpus)
    if policy.numa is not None:
        try:
            with open(f"/sys/devices/system/node/node{policy.numa}/cpulist", encoding="ascii") as listed:
                wanted &= set(Policy(cpus=listed.read().strip()).cpus or ())
        except OSError:
            raise PolicyError(f"numa = {policy.numa}: this machine has no such NUMA node") from None
    if policy.cpus is None and policy.numa is None:
        return None
    if not wanted or not wanted <= ours:
        raise PolicyError(
            f"cpus = {sorted(wanted)}: this session may use the CPUs {sorted(ours)}; name some of these"
        )
    return sorted(wanted)


def _home(policy: Policy, tier: str, scratch: str) -> str:
    if policy.read is None:
        return ""
    return "/tmp/home" if tier == "N" else scratch


def _temporary(policy: Policy, tier: str, scratch: str) -> str:
    """Return the folder for temporary files: one in which new files can be made.

    Landlock lets nothing new be made in a folder with something hidden below it.
    """
    if (
        policy.read is not None
        and tier == "N"
        and not any(_within(path, ["/tmp"]) for path in policy.concealed())
    ):
        return "/tmp"
    return _home(policy, tier, scratch)


def _seccomp(wall: bool, tier: str, policy: Policy, notify: list[str]) -> str:
    if wall:
        return "wall"
    if policy.network != "all" and tier == "L":
        return "offline"
    return "tracing" if notify else ""


def _files(policy: Policy, tier: str, write: list[str]) -> dict[str, Any]:
    if not walled(policy):
        return {
            "rooted": False,
            "runtime": [],
            "read": [],
            "write": [],
            "mapped": [],
            "hidden": [],
            "pierced": [],
        }
    rooted = policy.read is not None
    read = policy.readable() if rooted else ["/"]
    needed = runtime()
    if policy.network == "all":
        needed += [path for path in _NAMES if os.path.exists(path)]
    if tier == "L":
        needed = [*needed, *_DEVICES, *(f"/proc/{name}" for name in _PROC)]
    if policy.write is None:
        write = ["/"]
    user, hidden = [*read, *write] if rooted else [], policy.concealed()
    _check_links(user, write)
    if policy.write is not None and not (rooted and tier == "N"):
        _check_packages(write)
    return {
        "rooted": rooted, "runtime": needed, "read": read, "write": write,
        "mapped": [path for path in (*user, *needed) if path in write or _private(path)],
        "hidden": hidden, "pierced": [path for path in hidden if _within(path, write)],
    }  # fmt: skip


def _within(path: str, folders: Sequence[str]) -> bool:
    """Return whether a path lies in one of some folders; links are followed."""
    return any(patterns.below(os.path.realpath(path), os.path.realpath(folder)) for folder in folders)


def _check_links(paths: Sequence[str], write: Sequence[str]) -> None:
    """Make sure that no path leads over a link that a companion may have put there.

    Raises:
        PolicyError: one does.
    """
    for path in paths:
        for link in patterns.links(path):
            if _within(os.path.dirname(link), write):
                raise PolicyError(
                    f"{path} leads over the link {link}, which lies where the policy lets companions "
                    "write, so one may have put it there; remove it, or name what it leads to: "
                    f"{os.path.realpath(path)}"
                )


def _check_packages(write: Sequence[str]) -> None:
    """Make sure that no folder that may be written holds what Python runs; mounts would keep that as it is.

    Raises:
        PolicyError: one does.
    """
    for folder in map(os.path.realpath, write):
        for path in map(os.path.realpath, runtime()):
            if path != folder and patterns.below(path, folder):
                raise PolicyError(
                    f"write: {folder} holds {path}, which this session runs; without a root of its own "
                    "a companion could change it there. Name smaller folders"
                )


def _private(path: str) -> bool:
    """Return whether others than its owner may not read a path."""
    mode = os.stat(path).st_mode
    return not mode & 0o004 or (os.path.isdir(path) and not mode & 0o001)


def tiers() -> list[str]:
    """Return the tiers to try, best first; ISOLATE_MAGIC_TIER names one alone, to look for a fault."""
    wanted = os.environ.get("ISOLATE_MAGIC_TIER", "")
    if wanted not in ("", "N", "L"):
        raise PolicyError(f"ISOLATE_MAGIC_TIER={wanted!r}: the tiers are N (namespaces) and L (Landlock)")
    return [wanted] if wanted else ["N", "L"]


def surroundings(policy: Policy, plan: dict[str, Any]) -> dict[str, Any]:
    """Return working directory, import path and arguments for a companion; a hostile one learns little."""
    cwd = spawner.folder()
    if plan["scratch"]:
        cwd = plan["scratch"][0]
    if not plan["walled"] or policy.read is None:
        return {"cwd": cwd, "path": sys.path, "argv": sys.argv}
    shown = plan["files"]["runtime"] + plan["files"]["read"] + plan["files"]["write"]
    path = [entry for entry in sys.path if any(entry == one or entry.startswith(one + "/") for one in shown)]
    return {"cwd": cwd, "path": ["", *path], "argv": [""]}


def make_scratch(policy: Policy) -> str:
    """Make a folder of a companion's own, in which what it may use of the working directory is linked.

    So relative paths mean the same there as here, for whatever the policy allows.
    """
    made = tempfile.mkdtemp(prefix="isolate-")
    here = os.path.realpath(spawner.folder())
    for path in dict.fromkeys([*policy.readable(), *(policy.writable() if policy.write else ())]):
        relative = os.path.relpath(path, here)
        if relative.startswith("..") or relative == ".":
            continue
        place = os.path.join(made, relative)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not os.path.lexists(place):
            os.symlink(path, place)
    return made


def remove_scratch(path: str) -> None:
    """Remove such a folder, whatever the companion has left in it; links are not followed.

    A folder in a folder is brought up to the top before it goes, so depth costs no stack and no descriptors.
    What cannot be removed stays.
    """
    if not path:
        return
    try:
        top = os.open(path, _FOLDER)
    except OSError:  # gone already
        return
    names = (f"{secrets.token_hex(8)}-{number}" for number in itertools.count())
    try:
        changed = True
        while changed:
            changed = False
            for name in os.listdir(top):
                changed |= _taken_away(top, name, names)
    finally:
        os.close(top)
    try:
        os.rmdir(path)
    except OSError:  # somebody else has put something there
        return


def _taken_away(top: int, name: str, names: Iterator[str]) -> bool:
    """Remove a file, or a folder whose own folders move up; return whether anything has changed."""
    try:
        if not _unlinked(top, name):
            os.chmod(name, 0o700, dir_fd=top)  # its owner may have closed it
            folder = os.open(name, _FOLDER, dir_fd=top)
            try:
                for inner in os.listdir(folder):
                    if not _unlinked(folder, inner):
                        os.chmod(inner, 0o700, dir_fd=folder)
                        os.rename(inner, next(names), src_dir_fd=folder, dst_dir_fd=top)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
    except OSError:
        return False
    return True


def _unlinked(folder: int, name: str) -> bool:
    """Remove a file; return False for a folder."""
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return False
    os.unlink(name, dir_fd=folder)
    return True


_CURES = {
    "namespaces": "allow user namespaces: `sysctl -w user.max_user_namespaces=10000` (and on Ubuntu "
    "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`); in a container run it with a seccomp "
    "profile that lets unshare, mount and pivot_root through",
    "files": "use Linux 5.13 or newer with Landlock switched on (`lsm=landlock,...`, a kernel parameter)",
    "signals": "use Linux 6.12 or newer, whose Landlock keeps signals in, or allow user namespaces",
    "system calls": "use a kernel with seccomp filters, and a container whose profile lets seccomp through",
}


def explained(policy: Policy, error: ConfinementError, lacking: str) -> ConfinementError:
    """Return the error for a companion that cannot be confined: what is missing, and the cure."""
    name = policy.name or "of this companion"
    text = (
        f"policy {name!r} cannot be enforced here, so the companion was not started: {error.layer}: {error}"
    )
    if lacking:
        text += f" (tier L; tier N is not to be had: {lacking})"
    cures = [_CURES[layer] for layer in (error.layer, "namespaces" if lacking else "") if layer in _CURES]
    if cures:
        text += ". To get it, " + "; or ".join(cures)
    return ConfinementError(f"{text}. `python -m isolate_magic doctor` tries every layer", error.layer)
