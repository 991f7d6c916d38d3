"""Mounts, in the few calls that build a companion's root: bind, tmpfs, pivot (supervisor, companion).

The calls of the new mount API have the same numbers on every machine (mount_setattr(2), open_tree(2),
move_mount(2)); they need Linux 5.12.
"""

from __future__ import annotations

import ctypes
import os

from isolate_magic.child.linux import check

_libc = ctypes.CDLL(None, use_errno=True)

NOSUID, NODEV, NOEXEC, RDONLY = 2, 4, 8, 1  # mount(2)
_REMOUNT, _BIND, _REC, _PRIVATE = 32, 4096, 16384, 1 << 18
_DETACH = 2
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_CLONE, _CLOEXEC, _FROM_FD = 1, os.O_CLOEXEC, 4
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_IDMAP = 1, 2, 4, 0x100000


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64), ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64), ("userns", ctypes.c_uint64),
    )  # fmt: skip


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    check(result, f"mount {kind or source} on {target}")


def make_private() -> None:
    """Let no mount or unmount of this mount namespace be seen in another one (mount_namespaces(7))."""
    _mount("none", "/", None, _REC | _PRIVATE, None)


def tmpfs(target: str, size: int, inodes: int, mode: int) -> None:
    """Mount an empty file system that lies in memory (tmpfs(5)).

    Args:
        target: the folder.
        size: most bytes in it.
        inodes: most files in it.
        mode: the rights of its root.
    """
    _mount("tmpfs", target, "tmpfs", NOSUID | NODEV, f"size={size},nr_inodes={inodes},mode={mode:o}")


def proc(target: str) -> None:
    """Mount /proc of this process's pid namespace, read-only.

    Raises:
        OSError: EPERM where /proc is partly covered, as in many containers.
    """
    _mount("proc", target, "proc", NOSUID | NODEV | NOEXEC | RDONLY, None)


def freeze(target: str) -> None:
    """Make a mount read-only."""
    _mount("none", target, None, _REMOUNT | _BIND | RDONLY | NOSUID | NODEV, None)


def bind(source: str, target: str, *, writable: bool, devices: bool = False, userns: int = -1) -> None:
    """Show a file or a folder, with all that is mounted below it, at another place.

    Args:
        source: what is shown.
        target: an existing file or folder, as the source is one.
        writable: whether it can be written, as far as its own mount and rights allow.
        devices: whether device files in it can be opened.
        userns: a user namespace whose map the owners of files are seen through; -1 for none.

    Raises:
        OSError: the source is not there, or its file system knows no such maps.
    """
    tree = check(
        _libc.syscall(
            _OPEN_TREE, _AT_FDCWD, os.fsencode(source), ctypes.c_uint(_CLONE | _CLOEXEC | _AT_RECURSIVE)
        ),
        f"open_tree {source}",
    )
    try:
        wanted = _ATTR_NOSUID | (0 if writable else _ATTR_RDONLY) | (0 if devices else _ATTR_NODEV)
        attr = _MountAttr(wanted | (_ATTR_IDMAP if userns >= 0 else 0), 0, 0, max(userns, 0))
        flags = ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE)
        size = ctypes.c_size_t(ctypes.sizeof(attr))
        result = _libc.syscall(_MOUNT_SETATTR, tree, b"", flags, ctypes.byref(attr), size)
        check(result, f"mount_setattr {source}")
        result = _libc.syscall(
            _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_FROM_FD)
        )
        check(result, f"move_mount {target}")
    finally:
        os.close(tree)


def pivot(new: str, old: str) -> None:
    """Make the mount `new` the root; the old root lies in its folder `old` then (pivot_root(2))."""
    check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), "pivot_root")
    os.chdir("/")


def detach(target: str) -> None:
    """Take a mount, and all below it, out of this mount namespace at once (umount2(2), MNT_DETACH)."""
    check(_libc.umount2(os.fsencode(target), _DETACH), f"umount {target}")
