"""What this host, or container, gives a sandbox: kernel, layers, what is missing and how to get it (host).

Probed by doing, not by version. Sources: landlock(7), user_namespaces(7), seccomp(2), cgroups(7); Ubuntu's
"Restricted unprivileged user namespaces"; Docker's "Seccomp security profiles for Docker" and `docker run
--security-opt`; podman-run(1), `--security-opt`; Kubernetes' "Configure a Security Context for a Pod or
Container" and "Use a User Namespace With a Pod".
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

from isolate_magic import spawner
from isolate_magic.canaries import status
from isolate_magic.companion import Companion

_LANDLOCK_CREATE, _LANDLOCK_VERSION = 444, 1  # the same number on every machine, and the flag; landlock(7)
_SIGNALS_ABI = 6
_PROBE_SECONDS = 10
# unshare(2), then the maps, then a mount: where AppArmor restricts user namespaces only the last one fails.
_PROBE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def do(name, result):
    if result:
        raise SystemExit(name + ": " + os.strerror(ctypes.get_errno()))
uid, gid = os.getuid(), os.getgid()
do("unshare", libc.unshare(0x10000000 | 0x20000))
for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
    try:
        with open("/proc/self/" + name, "w") as file:
            file.write(text)
    except OSError as error:
        raise SystemExit(f"{name}: {error.strerror}")
do("mount", libc.mount(b"none", b"/", None, ctypes.c_ulong(16384 | 1 << 18), None))
do("mount", libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(6), None))
print("yes", end="")
"""


@dataclass(frozen=True)
class Fact:
    """One thing about this host.

    Attributes:
        name: what it is about.
        value: how it is here.
    """

    name: str
    value: str


def facts() -> list[Fact]:
    """Look at this host."""
    abi = landlock()
    rules = {True: "files, TCP, signals", False: "files, no signals: tier L needs ABI 6, Linux 6.12"}
    found = [
        ("system", f"Linux {platform.release()}, {platform.machine()}, Python {platform.python_version()}"),
        ("user", "root" if os.geteuid() == 0 else f"an ordinary user (uid {os.geteuid()})"),
        ("container", container() or "none that shows"),
        ("user namespaces", user_namespaces()),
        ("Landlock", f"ABI {abi} ({rules[abi >= _SIGNALS_ABI]})" if abi else "not there"),
        ("seccomp", seccomp()),
        ("cgroup v2 for memory", _cgroup()),
        ("large copies", _COPIES[_direct()]),
    ]
    return [Fact(*pair) for pair in found]


_COPIES = {
    True: "read straight out of the companion's memory (process_vm_readv)",
    False: "through shared memory files: process_vm_readv is not allowed here",
}


def _direct() -> bool:
    with Companion(f"doctor-facts-{os.getpid()}") as companion:
        return spawner.zygote((), {}, companion.policy.environment, companion.policy.trusted).direct


def landlock() -> int:
    """Return the version of Landlock's interface, 0 without Landlock (landlock_create_ruleset(2))."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    number, version = ctypes.c_long(_LANDLOCK_CREATE), ctypes.c_uint32(_LANDLOCK_VERSION)
    return max(int(call(number, None, ctypes.c_size_t(0), version)), 0)


def user_namespaces() -> str:
    """Say whether this user can make a user namespace and mount in it, by trying it in another process."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _PROBE],
        capture_output=True,
        text=True,
        timeout=_PROBE_SECONDS,
        check=False,
    )
    if done.stdout == "yes":
        return "yes, and mounts in them work"
    lines = done.stderr.strip().splitlines() or ["?"]
    return f"no ({lines[-1]}{_restriction()})"


def _restriction() -> str:
    """Name the setting that forbids user namespaces, if one of the known ones does."""
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "; kernel.apparmor_restrict_unprivileged_userns is 1"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "; kernel.unprivileged_userns_clone is 0"
    if _setting("user/max_user_namespaces") == "0":
        return "; user.max_user_namespaces is 0"
    return ""


def seccomp() -> str:
    """Say whether programs for seccomp are taken, and whether the kernel asks about calls (seccomp(2))."""
    actions = _setting("kernel/seccomp/actions_avail").split()
    if "kill_process" not in actions:
        return "not there"
    asks = "with" if "user_notif" in actions else "without"
    filtered = "; this process is filtered itself" if status(os.getpid()).get("Seccomp") == "2" else ""
    return f"yes, {asks} user notification{filtered}"


def container() -> str:
    """Name the container that this process seems to be in, "" if none shows."""
    cgroups = _text("/proc/self/cgroup") + _text("/proc/1/cgroup")
    if os.environ.get("KUBERNETES_SERVICE_HOST") or "kubepods" in cgroups:
        return "Kubernetes"
    if os.path.exists("/run/.containerenv") or "libpod" in cgroups:
        return "Podman"
    if os.path.exists("/.dockerenv") or "/docker" in cgroups:
        return "Docker"
    kind = _text("/run/systemd/container").strip()
    return kind or ("LXC" if "/lxc" in cgroups else "")


def _cgroup() -> str:
    """Say whether a memory limit could be set by a cgroup of our own (cgroups(7), cgroup.controllers)."""
    instead = "; not needed: RLIMIT_DATA and a watchdog hold the limit"
    path = next((line[3:] for line in _text("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        folder = root + path.rstrip("/")
        if path and os.path.exists(f"{folder}/cgroup.controllers"):
            if "memory" not in _text(f"{folder}/cgroup.controllers").split():
                return "no memory controller" + instead
            return ("writable" if os.access(folder, os.W_OK) else "not writable") + instead
    return "not there" + instead


def cure(layer: str) -> str:
    """Say how to get a layer on this host, or in this container; "" if nothing is known.

    Args:
        layer: as `isolate_magic.ConfinementError.layer` has it.
    """
    if layer in ("namespaces", "root"):
        restriction = _restriction()
        ways = [_CONTAINERS.get(container(), ""), restriction and _LIFT + restriction]
        return "; and ".join(filter(None, ways)) or _ALLOW
    return _CURES.get(layer, "")


_CONTAINERS = {
    "Docker": "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined; better than unconfined is Docker's own seccomp profile with "
    "unshare, mount, mount_setattr, open_tree, move_mount, umount2, pivot_root and clone for namespaces "
    "allowed in it",
    "Podman": "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL (with SELinux also "
    "--security-opt label=disable)",
    "Kubernetes": "in the pod hostUsers: false; in the container's securityContext seccompProfile: {type: "
    "Unconfined}, or a Localhost profile that allows unshare, mount and pivot_root, appArmorProfile: {type: "
    "Unconfined} and procMount: Unmasked",
}
_LIFT = (
    "have an administrator lift the setting (sysctl -w), or on Ubuntu give this Python an AppArmor profile "
    "with `userns,`"
)
_ALLOW = (
    "sysctl -w user.max_user_namespaces=10000; on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0"
)
_CURES = {
    "files": "Linux 5.13 or newer with Landlock on (lsm=landlock,... on the kernel's command line); in "
    "Docker, 23.0 or newer",
    "signals": "Linux 6.12 or newer (Landlock ABI 6), or user namespaces",
    "system calls": "a kernel with seccomp filters (CONFIG_SECCOMP_FILTER)",
    "user": "install Python where everybody may read it (not in /root), or run the session as an ordinary "
    "user",
}


def _setting(name: str) -> str:
    return _text(f"/proc/sys/{name}").strip()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
