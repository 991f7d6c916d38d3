"""The control group of one companion, where this system lends one (supervisor).

It is the kernel's own backstop behind RLIMIT_DATA and the watchdog: it counts what no look at processes
sees (files in memory, memfds that nobody maps, the kernel's own tables), it counts before the memory is
there and not after, and one write kills all that is in it. Only cgroup v2 is used, and only as it is
found: no process but the companion's is moved, and controllers are switched on only in a group that was
handed over to this user. Whether it can be had is found by doing it. Sources: cgroups(7);
Documentation/admin-guide/cgroup-v2.rst, from where the names of the files are.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import time
from typing import Any, NamedTuple

_NAME = "isolate-"
_TASKS = 16  # threads that a process has on average, where only processes are limited
_SLACK = 16 << 20  # bytes, or a twentieth, above the limit: who stays below it never gets here
_WAIT = 1.0  # seconds for the dying to leave a group
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Place(NamedTuple):
    """A group in which a companion's can be made.

    Attributes:
        path: its folder.
        controllers: what it gives to the groups in it: `memory`, `pids` and others.
    """

    path: str
    controllers: frozenset[str]


class Group:
    """A group of a companion's own, if one can be had; if not, nothing here does anything.

    To be made while the host's files can be seen.

    Args:
        plan: what the host wants; see `isolate_magic.fence`.

    Attributes:
        applied: the files that are in use: `memory.max`, `pids.max`, `cgroup.kill`.
        lacking: why there are no more, or "".
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        limits = plan["limits"]
        self.applied: list[str] = []
        self.lacking = ""
        self._above = self._folder = -1
        self._name = f"{_NAME}{os.getpid()}-{os.urandom(4).hex()}"
        self._limits: dict[str, Any] = limits
        # What lies in its own tmpfs is limited as disk; here it counts as memory as well.
        self._beside = plan["disk"] if plan["files"]["rooted"] else limits["disk"] or 0
        wanted = _wanted(limits)
        if not wanted:
            self.lacking = "no limit needs one"
            return
        try:
            found, self.lacking = places(wanted)
        except OSError as error:
            found, self.lacking = [], str(error)
        for place in found:
            if plan["walled"] and not place.controllers & wanted:
                return  # what is walled is killed at once as it is, and to be moved takes milliseconds
            if self._made(place):
                self._arrange(place)
                return

    @property
    def report(self) -> dict[str, Any]:
        """Say what is in use, as plain data."""
        return {"applied": self.applied, "lacking": self.lacking}

    @property
    def fds(self) -> list[int]:
        """The descriptors that the worker must not have."""
        return [fd for fd in (self._above, self._folder) if fd >= 0]

    def _made(self, place: Place) -> bool:
        try:
            self._above = os.open(place.path, _READ)
            _sweep(self._above)
            os.mkdir(self._name, dir_fd=self._above)
            self._folder = os.open(self._name, _READ, dir_fd=self._above)
            fcntl.flock(self._folder, fcntl.LOCK_EX)  # for `_sweep` of others
        except OSError as error:
            self.lacking = self.lacking or f"{error.strerror}: {place.path}"
            self.remove()
            return False
        return True

    def _arrange(self, place: Place) -> None:
        if "memory" in place.controllers:
            self._write("memory.oom.group", "1")  # all or none: half a companion is no use
            self._write("memory.swap.max", "0")  # not there where there is no swap
        self.applied = [name for name, text in self._values().items() if self._write(name, text)]
        if self._there("cgroup.kill"):  # from Linux 5.14 on
            self.applied.append("cgroup.kill")
        if not self.applied:
            self.remove()

    def _values(self) -> dict[str, str]:
        limits, values = self._limits, {}
        if limits["memory"]:
            values["memory.max"] = str(self._most)
        if limits["threads"] or limits["processes"]:
            values["pids.max"] = str(limits["threads"] or limits["processes"] * _TASKS)
        return values

    @property
    def _most(self) -> int:
        memory: int = self._limits["memory"]
        return memory + max(memory // 20, _SLACK) + self._beside

    def join(self, pid: int) -> None:
        """Move a companion's worker in, before it runs anything of its user's."""
        if self._folder >= 0 and not self._write("cgroup.procs", str(pid)):
            self.applied, self.lacking = [], f"it cannot be moved into {self._name}"
            self.remove()

    def limit(self, limits: dict[str, Any]) -> None:
        """Put other limits in force; what is not limited any more is free."""
        self._limits = limits
        if self._folder >= 0:
            free = {"memory.max": "max", "pids.max": "max"}
            for name, text in (free | self._values()).items():
                self._write(name, text)

    def kill(self) -> None:
        """Kill all that is in it, at once and whatever it does meanwhile."""
        if "cgroup.kill" in self.applied:
            self._write("cgroup.kill", "1")

    def verdict(self, status: int) -> dict[str, str] | None:
        """Return why a worker has ended, if the kernel has ended it for memory.

        Args:
            status: as wait(2) has it.
        """
        if self._folder < 0 or not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return None
        events = counters(self._read("memory.events"))
        if not (events.get("oom_kill") or events.get("oom_group_kill")):
            return None
        if events.get("oom") and self._limits["memory"]:
            size, most = (f"{count / 2**20:.4g} MiB" for count in (self._limits["memory"], self._most))
            text = f"memory limit of {size} passed: at {most}, with its files, the kernel has ended it"
        else:
            text = "the kernel has ended it because memory ran out around it"
        return {"kind": "memory", "reason": text}

    def remove(self) -> None:
        """Remove it; what cannot be removed now is by the next one that is made beside it."""
        if self._folder >= 0:
            self._rmdir()
        for fd in self.fds:
            os.close(fd)
        self._above = self._folder = -1

    def _rmdir(self) -> None:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                os.rmdir(self._name, dir_fd=self._above)
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    return
            select.select([], [], [], 0.001)  # those in it are dying

    def _there(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._folder)
        except OSError:
            return False
        return True

    def _write(self, name: str, text: str) -> bool:
        """Write to one of its files; return whether it was taken."""
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError:
            return False
        return True

    def _read(self, name: str) -> str:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:  # without its controller it has no such file
            return ""
        with open(fd, encoding="ascii") as file:
            return file.read()


def _wanted(limits: dict[str, Any]) -> set[str]:
    wanted = {"memory"} if limits["memory"] else set()
    return wanted | ({"pids"} if limits["processes"] or limits["threads"] else set())


def _sweep(above: int) -> None:
    """Remove groups whose supervisor was killed: nobody holds their lock any more."""
    for name in os.listdir(above):
        if name.startswith(_NAME):
            try:
                fd = os.open(name, _READ, dir_fd=above)
            except OSError:  # removed meanwhile
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rmdir(name, dir_fd=above)
            except OSError:  # in use, or another user's
                continue
            finally:
                os.close(fd)


def places(wanted: set[str]) -> tuple[list[Place], str]:
    """Find where a group could be made, best first, and what is lacking there.

    Args:
        wanted: the controllers.

    Returns:
        the places, and why not all that is wanted can be had, or "".

    Raises:
        OSError: there is no place at all, and why.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        mounted = hierarchy(mounts.read())
    if mounted is None:
        raise OSError("no cgroup v2 is mounted that can be written")
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as groups:
        own = located(groups.read(), *mounted)
    if own is None:
        raise OSError("the group of this session lies outside of the cgroup v2 that is mounted here")
    found = [Place(own, _given(own, wanted))]
    reason = ""
    if own != mounted[0]:
        held = _held(own)
        if held:  # a group beside it would get around that
            reason = f"{own} has a limit of its own ({held}), which a group beside it would evade"
        else:
            beside = os.path.dirname(own)
            found.append(Place(beside, _given(beside, wanted)))
    found.sort(key=lambda place: -len(place.controllers & wanted))
    lacking = " and ".join(sorted(wanted - found[0].controllers))
    if not lacking:
        return found, ""
    return found, reason or f"{found[0].path} has no {lacking} in cgroup.subtree_control"


def hierarchy(mountinfo: str) -> tuple[str, str] | None:
    """Find the cgroup v2 that can be written, in a hybrid layout too.

    Args:
        mountinfo: as /proc/PID/mountinfo has it.

    Returns:
        where it is mounted, and which of its groups is seen there; None if there is none.
    """
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if kind[0] == "cgroup2" and "rw" in fields[5].split(",") and "rw" in kind[-1].split(","):
            return _plain(fields[4]), _plain(fields[3])
    return None


def located(groups: str, mountpoint: str, root: str) -> str | None:
    """Find the folder of a process's own group.

    Args:
        groups: as /proc/PID/cgroup has it.
        mountpoint: where the hierarchy is mounted.
        root: which group is seen there.
    """
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::")), "")
    below = os.path.relpath(own, root) if own.startswith("/") else ".."
    return None if below.split("/")[0] == ".." else os.path.normpath(os.path.join(mountpoint, below))


def _plain(text: str) -> str:
    """Undo the escapes of a path in mountinfo: space, tab, newline and backslash, in octal (proc(5))."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def _given(path: str, wanted: set[str]) -> frozenset[str]:
    """Return the controllers of the groups in a group; the missing are switched on if it is ours."""
    switch = f"{path}/cgroup.subtree_control"
    given = set(_text(switch).split())
    # With processes in it, it takes no `memory`, and `pids` would make groups in it unfit for processes.
    if wanted - given and _handed_over(path) and not _text(f"{path}/cgroup.procs"):
        for name in (wanted - given) & set(_text(f"{path}/cgroup.controllers").split()):
            try:
                with open(switch, "w", encoding="ascii") as file:
                    file.write(f"+{name}")
                given.add(name)
            except OSError:  # one that a group above has not passed on, or processes meanwhile
                continue
    return frozenset(given)


def _handed_over(path: str) -> bool:
    """Return whether a group was delegated: to an ordinary user, or by systemd, which marks it so."""
    try:
        if os.geteuid() and os.stat(path).st_uid == os.geteuid():
            return True
        return os.getxattr(path, "user.delegate") == b"1"
    except OSError:  # no such mark, or no such marks at all
        return False


def _held(path: str) -> str:
    """Return the limit of memory that a group has, or ""."""
    for name in ("memory.max", "memory.high"):  # systemd gives every service a pids.max
        if _text(f"{path}/{name}").strip() not in ("", "max"):
            return name
    return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def counters(text: str) -> dict[str, int]:
    """Read a file of names and numbers, such as memory.events."""
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}
