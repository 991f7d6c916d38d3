"""Rules that bind a process and all its children to named files, landlock(7) (zygote and companion).

Facts from the kernel's Documentation/userspace-api/landlock.rst. The rules hold for the calling thread and
what it starts from then on, so they are set while there is one thread. They cannot be taken back. Files that
are open already stay open, and chmod, chown, utime, setxattr, stat, chdir and flock are not looked at.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Collection, Iterator, Sequence

from isolate_magic.child import syscalls
from isolate_magic.child.linux import _libc

# linux/landlock.h, LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV, _RESOLVE_UNIX = 1 << 13, 1 << 14, 1 << 15, 1 << 16
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # what a rule for a file may name
_SINCE = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV, 9: _RESOLVE_UNIX}
_TCP, _TCP_SINCE = 1 << 0 | 1 << 1, 4  # LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP
_ABSTRACT, _SIGNAL, _SCOPE_SINCE = 1 << 0, 1 << 1, 6  # LANDLOCK_SCOPE_*
_VERSION, _PATH_BENEATH = 1, 1


def abi() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none."""
    return max(0, _call("landlock_create_ruleset", None, ctypes.c_size_t(0), _VERSION))


def supports(version: int) -> bool:
    """Tell whether the kernel offers at least this version.

    3 is the first that keeps files from being truncated, 4 knows TCP, 6 signals and abstract sockets.
    """
    return abi() >= version


def restrict(
    read: Sequence[str],
    write: Sequence[str],
    *,
    execute: bool = True,
    tcp: bool = False,
    scope: bool = True,
    handle_read: bool = True,
    fleeting: Collection[str] = (),
) -> list[str]:
    """Deny this process all files but those below the given paths, and more if asked.

    What an older kernel does not know is left out, so look at the answer. `no_new_privs` must have been set
    (prctl(2), PR_SET_NO_NEW_PRIVS), or else the process must have CAP_SYS_ADMIN.

    Args:
        read: files, and folders with all below, to be read, listed and executed. A link counts as its target.
        write: the same, to be changed as well. Only here devices can be configured; nowhere can they be made.
        execute: files may be executed where they may be read.
        tcp: deny bind(2) and connect(2) of TCP sockets.
        scope: deny signals to, and abstract UNIX sockets of, processes outside.
        handle_read: False: reading is free everywhere and only changes are denied.
        fleeting: paths among `read` that may have gone in the meantime, such as those that `carve` found.

    Returns:
        What is denied from now on: "files", and where asked for and known "path sockets", "tcp",
        "abstract sockets" and "signals".

    Raises:
        OSError: there is no Landlock, or a path cannot be opened.
    """
    version = abi()
    handled = _known(version)
    if not handle_read:
        handled &= ~(_READ_FILE | _READ_DIR | _RESOLVE_UNIX | (_EXECUTE if execute else 0))
    refused = _MAKE_CHAR | _MAKE_BLOCK | _RESOLVE_UNIX | (0 if execute else _EXECUTE)
    readable = handled & (_EXECUTE | _READ_FILE | _READ_DIR) & ~refused
    grants = [*((path, readable) for path in read), *((path, handled & ~refused) for path in write)]
    net = _TCP if tcp and version >= _TCP_SINCE else 0
    scoped = _ABSTRACT | _SIGNAL if scope and version >= _SCOPE_SINCE else 0
    _apply(handled, net, scoped, grants, fleeting)
    return _said(handled, net, scoped)


def scope_only(signals: bool = True) -> list[str]:
    """Deny abstract UNIX sockets of processes outside, and signals to them; leave files alone.

    Returns:
        What is denied from now on, nothing if the kernel does not know it.

    Raises:
        OSError: the kernel refused.
    """
    if not supports(_SCOPE_SINCE):
        return []
    scoped = _ABSTRACT | (_SIGNAL if signals else 0)
    _apply(0, 0, scoped, [], ())
    return _said(0, 0, scoped)


def carve(allowed: Sequence[str], hidden: Sequence[str]) -> list[str]:
    """Return the paths to allow so that trees are allowed without what is hidden in them.

    Landlock can only add rights. So each folder on the way to a hidden path gives its place to its other
    entries; it can then not be listed, and what is put into it later is denied. A second name of a hidden
    file, as by link(2) or a bind mount, is not found.

    Args:
        allowed: folders or files.
        hidden: what to leave out, whether it exists or not.

    Raises:
        OSError: a folder on the way cannot be read.
    """
    left_out = [os.path.realpath(path) for path in hidden]
    trees = dict.fromkeys(os.path.realpath(path) for path in allowed)
    return list(dict.fromkeys(part for tree in trees for part in _without(tree, left_out)))


def _without(tree: str, hidden: list[str]) -> Iterator[str]:
    if any(_below(tree, path) for path in hidden):
        return
    if not any(_below(path, tree) for path in hidden):
        yield tree
        return
    with os.scandir(tree) as entries:
        # A rule for a link would be one for its target, which may be the hidden thing.
        paths = sorted(entry.path for entry in entries if not entry.is_symlink())
    for path in paths:
        yield from _without(path, hidden)


def _below(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree.rstrip("/") + "/")


def _known(version: int) -> int:
    """Return all rights on files that a version of Landlock knows."""
    return sum(rights for since, rights in _SINCE.items() if version >= since)


def _said(handled: int, net: int, scoped: int) -> list[str]:
    said = {
        "files": handled,
        "path sockets": handled & _RESOLVE_UNIX,
        "tcp": net,
        "abstract sockets": scoped & _ABSTRACT,
        "signals": scoped & _SIGNAL,
    }
    return [name for name, bits in said.items() if bits]


def _apply(
    handled: int, net: int, scoped: int, grants: list[tuple[str, int]], fleeting: Collection[str]
) -> None:
    attributes = struct.pack("@QQQ", handled, net, scoped)  # an older kernel wants the rest to be zero
    ruleset = _checked("landlock_create_ruleset", attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path, rights in grants:
            try:
                _grant(ruleset, path, rights)
            except FileNotFoundError:
                if path not in fleeting:
                    raise
        _checked("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _grant(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES
        if rights:
            _checked("landlock_add_rule", ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)


def _checked(name: str, *arguments: object) -> int:
    result = _call(name, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _call(name: str, *arguments: object) -> int:
    number = syscalls.number(name, syscalls.machine())
    result: int = _libc.syscall(ctypes.c_long(number or -1), *arguments)
    return result
