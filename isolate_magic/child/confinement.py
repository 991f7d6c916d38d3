"""The confinement of one companion: what is applied, and in which order (supervisor, companion).

A plan comes from the host (`isolate_magic.fence`), as plain data. The supervisor enters the namespaces
and builds the root; the worker, forked from it, gives up its rights, one after the other, and tells
what it has given up. Each step either takes or raises `Refused`, and then there is no companion.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Any

from isolate_magic.child import landlock, linux, root, seccomp

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_WALL = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
_NAMES = {
    _NEWUSER: "user", _NEWPID: "pid", _NEWNS: "mount", _NEWNET: "net", _NEWIPC: "ipc", _NEWUTS: "uts",
    _NEWCGROUP: "cgroup",
}  # fmt: skip
_OFFLINE_LOSES = (1 << 12) | (1 << 13) | (1 << 19) | (1 << 21)  # NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN
_SIGNALS_ABI, _PATH_SOCKETS_ABI = 6, 9
_WATCHED = ("DATA", "CPU")  # limits that the supervisor enforces, so that they can be eased while it runs
_VICTIM = 500  # oom_score_adj: the companion is to go before the main session


class Refused(Exception):
    """Say which layer could not be had, and how to get it.

    Attributes:
        layer: `namespaces`, `root`, `files`, `network`, `signals`, `system calls`, `user` or `limits`.
    """

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(reason)
        self.layer = layer


def rehearse(plan: dict[str, Any]) -> None:
    """Write the seccomp program of a plan ahead; in the zygote, so that no companion has to do it again."""
    try:
        if plan["seccomp"]:
            _program(plan, plan["tier"] == "N", os.geteuid() == 0, frozenset(plan["notify"]))
    except (OSError, ValueError):  # the companion fails at the same, and tells it
        return


class Ground:
    """What the supervisor prepares for the worker: namespaces and the root.

    Args:
        plan: what the host wants; see `isolate_magic.fence`.
        cwd: the host's working directory.
    """

    def __init__(self, plan: dict[str, Any], cwd: str) -> None:
        self.plan = plan
        self.cwd = cwd
        self.report: dict[str, Any] = {"tier": plan["tier"], "namespaces": []}
        self.superuser = os.geteuid() == 0
        self.enclosed = False  # whether no signal of the supervisor's gets out
        self.owner = (os.getuid(), os.getgid())
        if self.superuser and plan["walled"]:
            self.owner = (_spare_id("uid"), _spare_id("gid"))

    @property
    def namespaced(self) -> bool:
        """Tell whether the companion gets namespaces of its own."""
        return bool(self.plan["tier"] == "N")

    def enter(self) -> None:
        """Enter namespaces and build the root; harmless where the plan wants none.

        Raises:
            Refused: the system does not allow it.
        """
        plan = self.plan
        for folder in plan["scratch"]:
            os.chown(folder, *self.owner)
        if not self.namespaced:
            return
        walled = plan["walled"]
        layout = root.plan(plan["files"], self.cwd) if plan["files"]["rooted"] else None
        userns = -1
        if layout is not None and self.superuser and plan["files"]["mapped"]:
            userns = _map_of_root(self.owner)
        open_net = plan["network"] == "all"
        self._leave((_WALL if walled else _NEWNET) & ~(_NEWNET if open_net else 0))
        try:
            if layout is not None:
                root.stage(plan["disk"])
                root.furnish(layout, self.owner, userns)
                if not open_net:
                    root.write_hosts(plan["hosts"])
            elif walled:
                root.cover(plan["files"]["hidden"])
        except OSError as error:
            raise Refused("root", str(error)) from error
        finally:
            if userns >= 0:
                os.close(userns)

    def _leave(self, wanted: int) -> None:
        uid, gid = os.getuid(), os.getgid()
        flags = wanted if self.superuser else wanted | _NEWUSER
        try:
            linux.unshare(flags)
            if not self.superuser:
                linux.allow_attach()  # a process with new rights is not, and its /proc files are root's then
                _write("/proc/self/setgroups", "deny")
                _write("/proc/self/uid_map", f"{uid} {uid} 1")
                _write("/proc/self/gid_map", f"{gid} {gid} 1")
        except OSError as error:
            raise Refused("namespaces", str(error)) from error
        self.report["namespaces"] = [name for flag, name in _NAMES.items() if flags & flag]

    # ------------------------------------------------------------ in the worker

    def settle(self, keep: list[int]) -> None:
        """Give up all that a companion needs not; call it in the worker, as its last act but `seal`.

        Args:
            keep: descriptors that stay open.

        Raises:
            Refused: a layer that the plan wants cannot be had.
        """
        plan, report = self.plan, self.report
        self._step("limits", self._worsen)
        if plan["walled"]:
            if self.namespaced:
                missing = root.close(plan["files"]["rooted"])
                report["proc"] = missing or "own"
                _name_host()
            linux.close_all_but(keep)
            self._step("user", self._become_nobody)
        elif self.namespaced or plan["network"] != "all":
            lost = _OFFLINE_LOSES if self.superuser else (1 << 64) - 1
            self._step("user", lambda: linux.drop_capabilities(linux.capabilities() & ~lost))
        self._step("limits", self._limit)

    def _step(self, layer: str, act: Callable[[], None]) -> None:
        try:
            act()
        except (OSError, ValueError) as error:
            raise Refused(layer, str(error)) from error

    def _worsen(self) -> None:
        """Be the first to go when memory runs out, and the last to be served."""
        plan = self.plan
        for proc in ("/proc", f"{root.OLD}/proc"):
            try:
                _write(f"{proc}/self/oom_score_adj", str(_VICTIM))
                break
            except OSError:  # no /proc to write to: a courtesy to the host, no wall
                continue
        if plan["cpus"]:
            os.sched_setaffinity(0, plan["cpus"])
        if plan["nodes"]:
            linux.bind_memory(plan["nodes"])
        if plan["nice"]:
            os.setpriority(os.PRIO_PROCESS, 0, max(plan["nice"], os.getpriority(os.PRIO_PROCESS, 0)))

    def _become_nobody(self) -> None:
        linux.bound_capabilities()  # which root alone may
        if self.superuser:
            os.setgroups([])
            os.setresgid(self.owner[1], self.owner[1], self.owner[1])
            os.setresuid(self.owner[0], self.owner[0], self.owner[0])
        linux.drop_capabilities()
        linux.no_new_privileges()
        linux.allow_attach()
        linux.die_with_parent(None)  # a change of the user has switched that off (prctl(2))
        self.report["uid"] = os.getuid()
        self.report["capabilities"] = "none"

    def _limit(self) -> None:
        """Set what the kernel limits by itself (setrlimit(2))."""
        applied = self.report["rlimits"] = {}
        for name, value in self.plan["rlimits"].items():
            kind = getattr(resource, f"RLIMIT_{name}")
            if name == "NPROC" and not self.namespaced and not (self.superuser and self.plan["walled"]):
                value += _tasks_of(os.getuid())
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, hard if name in _WATCHED else value))
            applied[name] = value

    def seal(self) -> int | None:
        """Apply Landlock and seccomp, after which nothing can be taken back.

        Returns:
            the descriptor on which the kernel asks about system calls, if the plan wants one.
        """
        plan, report = self.plan, self.report
        if plan["walled"]:
            self._landlock()
            _check_library()
        report["seccomp"] = plan["seccomp"] or "none"
        if not plan["seccomp"]:
            return None
        linux.no_new_privileges()
        if not seccomp.available():
            raise Refused("system calls", "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")
        notify = frozenset(plan["notify"] if seccomp.available(listener=True) else ())
        report["asks"] = bool(notify)
        try:
            if notify and plan["seccomp"] == "offline":  # a second program, whose questions come last
                seccomp.install(seccomp.offline())
            return seccomp.install(
                _program(plan, self.namespaced, self.superuser, notify), listener=bool(notify)
            )
        except OSError as error:
            raise Refused("system calls", f"seccomp: {error.strerror}") from error

    def _landlock(self) -> None:
        abi, files = landlock.abi(), self.plan["files"]
        self.report["landlock"] = abi
        if self.namespaced and files["rooted"]:
            if abi:
                read, write = ["/"], [*_inside(files), "/tmp", "/dev/shm", "/dev/null"]
                if files["hidden"]:  # whose covers go with the file when the host replaces it
                    read, write = (
                        landlock.carve(_shown(files), files["hidden"]),
                        landlock.carve(write, files["hidden"]),
                    )
                self._restrict(read, write, tcp=False, scope=abi >= _SIGNALS_ABI)
            elif files["pierced"]:
                raise Refused(
                    "files",
                    f"without Landlock {files['pierced'][0]}, `hidden` in a folder that may be written, "
                    "would show as soon as somebody replaces it",
                )
            return
        if abi < _SIGNALS_ABI:
            have = f"Landlock is at ABI {abi} here" if abi else "there is no Landlock here"
            raise Refused("files" if not abi else "signals", f"{have}, and tier L needs {_SIGNALS_ABI}")
        read, write = [*files["runtime"], *files["read"]], [*files["write"], *self.plan["scratch"]]
        read, write = [path for path in read if os.path.exists(path)], [*write, "/dev/null"]
        if files["hidden"]:
            read = landlock.carve(read, files["hidden"])
            write = landlock.carve(write, files["hidden"])
        self._restrict(read, write, tcp=not self.namespaced and self.plan["network"] != "all", scope=True)
        for path, mode, name in [(p, os.R_OK, "read") for p in files["read"]] + [
            (p, os.W_OK, "write") for p in files["write"]
        ]:
            if not os.access(path, mode):
                raise Refused(
                    "user",
                    f"{path} is in the policy's `{name}`, but its rights keep uid {os.getuid()} out; "
                    "change them (chmod o+rX, o+w), or take it out of the policy",
                )

    def _restrict(self, read: list[str], write: list[str], *, tcp: bool, scope: bool) -> None:
        try:
            self.report["landlocked"] = landlock.restrict(
                read,
                write,
                tcp=tcp,
                scope=scope,
                fleeting=[*read, *write] if self.plan["files"]["hidden"] else [],
            )
        except OSError as error:
            raise Refused("files", f"Landlock: {error}") from error


def _check_library() -> None:
    """Make sure that modules can be imported from here on."""
    library = os.path.dirname(os.__file__)
    if not os.access(library, os.R_OK | os.X_OK):
        raise Refused(
            "user",
            f"the companion runs as uid {os.getuid()}, which may not read Python's library in {library}; "
            "install Python where everybody may read it, or run the session as an ordinary user",
        )


def _shown(files: dict[str, Any]) -> list[str]:
    own = ["/etc", "/dev", "/proc", "/sys", "/tmp", os.getcwd()]
    return [path for path in (*files["runtime"], *files["read"], *own) if os.path.exists(path)]


def _inside(files: dict[str, Any]) -> list[str]:
    return [path for path in (*files["write"], os.getcwd()) if os.path.exists(path)]


def _program(plan: dict[str, Any], namespaced: bool, other_uid: bool, notify: frozenset[str]) -> bytes:
    if plan["seccomp"] != "wall":
        return seccomp.tracing(notify) if notify or plan["seccomp"] == "tracing" else seccomp.offline()
    listed = plan["network"] == "listed"
    # Without a supervisor that looks at it, no connect may happen: sockets of the host's are about then.
    inside = namespaced and (notify or not listed)
    # A UNIX socket in a folder that is shown leads to its server; Landlock knows of that from version 9 on.
    files = plan["files"]
    bare = files["rooted"] and not (files["read"] or files["write"])
    own = "inside" if bare or landlock.supports(_PATH_SOCKETS_ABI) else "loopback"
    sockets: Any = own if inside else "tcp" if listed else "pairs"
    if plan["network"] == "all":
        sockets = "loopback"  # which is the host's then, with its abstract sockets
    profile = seccomp.Profile(
        sockets=sockets,
        notify=notify,
        forks=plan["forks"],
        own_pids=namespaced,
        own_files=namespaced and plan["files"]["rooted"],
        own_uid=other_uid,
        pinned=bool(plan["cpus"]),
    )
    return seccomp.program(profile)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _name_host() -> None:
    import socket

    try:
        socket.sethostname("isolated")
    except OSError:  # a courtesy too
        return


def _spare_id(kind: str) -> int:
    """Return a user or group id that nobody has: high in this user namespace's range (user_namespaces(7))."""
    most = 0
    with open(f"/proc/self/{kind}_map", encoding="ascii") as maps:
        for line in maps:
            first, _, length = map(int, line.split())
            most = max(most, first + length - 1)
    span = 1 << 20 if most > 1 << 30 else 500
    # Two below the end: of 65536 ids that leaves out 65534, which is nobody's and so may be others'.
    return min(most, 2_000_000_000) - 2 - os.getpid() % span if most > 1000 else max(most, 1)


def _tasks_of(uid: int) -> int:
    """Count the threads that a user has, which RLIMIT_NPROC counts too."""
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    found += len(os.listdir(f"/proc/{name}/task"))
            except OSError:  # it has ended meanwhile
                continue
    return found


def _map_of_root(owner: tuple[int, int]) -> int:
    """Return a user namespace in which root's files are the companion's (mount_setattr(2), IDMAP)."""
    hold, release = os.pipe()
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(release)
            linux.unshare(_NEWUSER)
            os.write(done, b"1")
            os.read(hold, 1)
        finally:
            os._exit(0)
    try:
        os.close(done)
        if os.read(ready, 1) != b"1":  # no user namespaces here: then the files' own rights count
            return -1
        _write(f"/proc/{pid}/uid_map", f"0 {owner[0]} 1")
        _write(f"/proc/{pid}/gid_map", f"0 {owner[1]} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    finally:
        for fd in (hold, release, ready):
            os.close(fd)
        os.waitpid(pid, 0)
