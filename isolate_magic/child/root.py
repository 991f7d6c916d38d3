"""The file system that a confined companion sees in tier N (supervisor, companion).

It is a small tmpfs with read-only binds of what the policy allows and Python needs, made in four steps:

1. a tmpfs over /tmp becomes the root, the host's own lies in `/old` (`stage`);
2. every allowed path appears under its own name, symbolic links on the way included (`furnish`);
3. /proc of the new pid namespace is mounted, by the first process that lives there (`close`);
4. `/old` goes, and the tmpfs becomes read-only.

/tmp, /dev/shm and the working directory are folders of one second tmpfs of the size that the policy gives.
They lie beside each other in it, so a Landlock rule for one says nothing about what appears in another.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import Any

from isolate_magic.child import landlock, mounts

OLD = "/old"
_SPACE = "/space"
HOME = "/tmp/home"
_INODES = 20_000
_OWN_SIZE, _OWN_INODES = 4 << 20, 8000
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {
    "/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2", "/dev/ptmx": "/dev/null",
}  # fmt: skip
_REFUSED = ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/etc/NetworkManager")
_CLOSED = ("/root", "/home", "/var", "/boot", "/srv", "/mnt", "/media", "/opt", "/run", "/sys")
_LOOKED_INTO = ("cpuinfo", "meminfo", "stat", "loadavg", "version", "filesystems", "uptime")


@dataclass
class Entry:
    """One path of the new root.

    Attributes:
        path: where it appears, without symbolic links.
        writable: whether it may be written.
        scratch: whether it is a folder of the companion's own instead of the host's.
        mapped: whether its owners are seen through the map that makes root's files the companion's.
    """

    path: str
    writable: bool = False
    scratch: bool = False
    mapped: bool = False


@dataclass
class Layout:
    """What the new root is made of; computed while the host's paths can still be looked at."""

    entries: dict[str, Entry] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)

    def add(self, path: str, *, writable: bool = False, mapped: bool = False) -> None:
        """Let a path of the host appear; symbolic links on the way are repeated."""
        real = self._follow(path)
        known = self.entries.get(real)
        if known is None or writable:
            self.entries[real] = Entry(real, writable, mapped=mapped)

    def _follow(self, path: str) -> str:
        """Note the symbolic links in a path and return where it leads."""
        done, rest = "/", [part for part in path.split("/") if part]
        for _ in range(200):
            if not rest:
                return done
            part = rest.pop(0)
            if part == "..":
                done = os.path.dirname(done)
                continue
            here = os.path.join(done, part)
            if os.path.islink(here):
                target = os.readlink(here)
                self.links[here] = target
                done = "/" if target.startswith("/") else done
                rest = [piece for piece in target.split("/") if piece not in ("", ".")] + rest
            else:
                done = here
        raise OSError(errno.ELOOP, f"too many symbolic links in {path}")

    def covered(self, path: str) -> bool:
        """Return whether a path lies in something of the host's that appears."""
        return any(_below(path, known) for known, entry in self.entries.items() if not entry.scratch)

    def movable(self) -> list[str]:
        """Return the folders around what is hidden that could be renamed, the outermost first.

        Then the next start would not find it to hide it. As mount points they cannot be.
        """
        found: set[str] = set()
        for path in self.hidden:
            open_ = [known for known, entry in self.entries.items() if entry.writable and _below(path, known)]
            while open_ and len(path := os.path.dirname(path)) > min(map(len, open_)):
                found.add(path)
        return sorted((path for path in found - set(self.entries) if os.path.isdir(path)), key=len)


def plan(files: dict[str, Any], cwd: str) -> Layout:
    """Compute the layout for a policy's files.

    Args:
        files: lists of absolute paths: `runtime`, `read`, `write`, `mapped`, `hidden`.
        cwd: the host's working directory, which becomes a scratch folder unless it is shown.
    """
    layout = Layout()
    for path in files["runtime"]:
        layout.add(path, mapped=path in files["mapped"])
    for path in files["read"]:
        layout.add(path, mapped=path in files["mapped"])
    for path in files["write"]:
        layout.add(path, writable=True, mapped=path in files["mapped"])
    here = os.path.realpath(cwd)
    if (
        here not in ("/", "/tmp")
        and not layout.covered(here)
        and not here.startswith(("/proc/", "/dev/", "/sys/"))
    ):
        layout.entries[here] = Entry(here, True, scratch=True)
        layout._follow(cwd)
    layout.hidden = [os.path.realpath(path) for path in files["hidden"]]
    return layout


def stage(disk: int) -> None:
    """Make a tmpfs the root, with the host's in `/old` and the scratch space in /tmp."""
    mounts.make_private()
    mounts.tmpfs("/tmp", _OWN_SIZE, _OWN_INODES, 0o755)
    os.mkdir("/tmp" + OLD)
    mounts.pivot("/tmp", "/tmp" + OLD)
    os.mkdir(_SPACE)
    mounts.tmpfs(_SPACE, disk, _INODES, 0o755)


def furnish(layout: Layout, owner: tuple[int, int], userns: int = -1) -> None:
    """Let everything of a layout appear.

    Args:
        layout: what shall appear.
        owner: uid and gid of the companion, who owns the scratch folders.
        userns: as `mounts.bind` takes it, for entries that are mapped.
    """
    _scratch(owner)
    _devices()
    for path in ("/proc", "/etc"):
        os.makedirs(path, exist_ok=True)
    for entry in sorted(layout.entries.values(), key=lambda entry: entry.path.count("/")):
        _show(entry, layout, userns)
    for link, target in layout.links.items():
        if not os.path.lexists(link):
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(target, link)
    _etc()
    for folder in layout.movable():
        mounts.bind(folder, folder, writable=True)
    for path in layout.hidden:
        _hide(path)
    for path in (*_CLOSED, *_REFUSED):
        if not os.path.lexists(path) and os.path.lexists(OLD + path):
            _mountpoint(path, os.path.isdir(OLD + path))
            os.chmod(path, 0)
    mounts.detach(_SPACE)
    os.rmdir(_SPACE)


def _scratch(owner: tuple[int, int]) -> None:
    """Make the companion's own folders; /tmp appears first, since others may be shown in it."""
    for name, mode in (("tmp", 0o1777), ("tmp/home", 0o755), ("cwd", 0o755), ("shm", 0o1777)):
        os.mkdir(f"{_SPACE}/{name}")
        os.chown(f"{_SPACE}/{name}", *owner)
        os.chmod(f"{_SPACE}/{name}", mode)
    _mountpoint("/tmp", True)
    mounts.bind(f"{_SPACE}/tmp", "/tmp", writable=True)


def _show(entry: Entry, layout: Layout, userns: int) -> None:
    if entry.scratch:
        _mountpoint(entry.path, True)
        mounts.bind(f"{_SPACE}/cwd", entry.path, writable=True)
        return
    above = [known for known in layout.entries if entry.path.startswith(known.rstrip("/") + "/")]
    nearest = layout.entries[max(above, key=len)] if above else None
    if (
        nearest
        and not nearest.scratch
        and (nearest.writable, nearest.mapped)
        == (
            entry.writable,
            entry.mapped,
        )
    ):
        return
    source = (OLD + entry.path).rstrip("/")
    hidden = [OLD + path for path in layout.hidden if _below(path, entry.path)]
    # What only covers a file of the host's goes when the host puts another in its place (rename(2)). So of a
    # folder with something hidden in it, each other thing is shown by itself.
    parts = landlock.carve([source], hidden) if hidden and not entry.writable else [source]
    for part in parts:
        place = part.removeprefix(OLD)
        _mountpoint(place, os.path.isdir(part))
        mounts.bind(part, place, writable=entry.writable, userns=userns if entry.mapped else -1)
    for path in hidden if parts != [source] else ():
        _surround(path, source)


def _surround(path: str, top: str) -> None:
    """Make a place for what is hidden, and the links of the folders around it."""
    if os.path.lexists(path):
        _mountpoint(path.removeprefix(OLD), os.path.isdir(path))
    while path != top:
        path = os.path.dirname(path)
        for link in (one.path for one in os.scandir(path) if one.is_symlink()):
            if not os.path.lexists(link.removeprefix(OLD)):
                os.symlink(os.readlink(link), link.removeprefix(OLD))


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mountpoint(path: str, folder: bool) -> None:
    if os.path.lexists(path):
        return
    os.makedirs(path if folder else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not folder:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _devices() -> None:
    os.makedirs("/dev/shm")
    mounts.bind(f"{_SPACE}/shm", "/dev/shm", writable=True)
    for name in _DEVICES:
        _mountpoint(f"/dev/{name}", False)
        mounts.bind(f"{OLD}/dev/{name}", f"/dev/{name}", writable=True, devices=True)
    for link, target in _LINKS.items():
        os.symlink(target, link)


def _etc() -> None:
    """Write the few files that name users and hosts; nothing of the host's own is told."""
    uid, gid = os.stat(HOME).st_uid, os.stat(HOME).st_gid
    files = {
        "passwd": f"isolated:x:{uid}:{gid}:isolated:{HOME}:/bin/sh\n",
        "group": f"isolated:x:{gid}:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        "hostname": "isolated\n",
    }
    for name, text in files.items():
        if not os.path.lexists(f"/etc/{name}"):
            with open(f"/etc/{name}", "x", encoding="ascii") as file:
                file.write(text)


def write_hosts(names: dict[str, list[str]]) -> None:
    """Write /etc/hosts: the loopback, and the allowed names with the addresses that the host has found."""
    lines = ["127.0.0.1 localhost isolated", "::1 localhost isolated"]
    lines += [f"{address} {name}" for name, addresses in names.items() for address in addresses]
    with open("/etc/hosts", "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")


def _hide(path: str) -> None:
    """Cover a path: an empty folder that nobody may enter, or an empty file that nobody may read."""
    if not os.path.lexists(path):
        return
    folder = stat.S_ISDIR(os.stat(path).st_mode)
    cover = f"{_SPACE}/hidden" if folder else f"{_SPACE}/hidden-file"
    if not os.path.lexists(cover):
        _mountpoint(cover, folder)
        os.chmod(cover, 0)
    mounts.bind(cover, path, writable=False)


def cover(hidden: list[str]) -> None:
    """Hide paths where the companion sees the host's own files: folders become empty, files unreadable."""
    mounts.make_private()
    for path in map(os.path.realpath, hidden):
        if os.path.isdir(path):
            mounts.tmpfs(path, 4096, 2, 0)
        elif os.path.lexists(path):
            mounts.bind("/dev/null", path, writable=False)  # without devices: it cannot even be opened


def close(rooted: bool) -> str:
    """Mount /proc, let go of the host's root and freeze the new one; the first process inside calls it.

    Args:
        rooted: whether there is a root of its own; else only /proc is mounted.

    Returns:
        "" or why there is no /proc.
    """
    missing = ""
    if not rooted:
        mounts.proc("/proc")
        mounts.tmpfs("/proc/1", 4096, 2, 0)
        return missing
    try:
        mounts.proc("/proc")
        mounts.tmpfs("/proc/1", 4096, 2, 0)  # through which init's memory could be written
    except OSError as error:
        missing = str(error)
        _proc_of_files()
    mounts.detach(OLD)
    os.rmdir(OLD)
    mounts.freeze("/")
    return missing


def _proc_of_files() -> None:
    for name in _LOOKED_INTO:
        if os.path.exists(f"{OLD}/proc/{name}"):
            _mountpoint(f"/proc/{name}", False)
            mounts.bind(f"{OLD}/proc/{name}", f"/proc/{name}", writable=False)
