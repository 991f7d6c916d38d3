"""The processes of one companion, found and read through /proc (host).

Nothing that a process says about itself is believed, only what the kernel says of it. A process may vanish
between any two lines; it then counts as gone. What the kernel does not let this user read is None.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_READ = 1 << 14
_FULL = (
    1 << 12
) - 64  # of a list of children the kernel gives at most a page at a time, whatever one asks for
_MOST = 2000  # processes that are looked at: those of a bomb of forks are more than anybody wants to know

# proc_pid_status(5). A name cannot forge a line: the kernel writes its newlines as "\n".
_IDS = re.compile(rb"\nNSpid:\t(?:\d+\t)+1\n")
_NUMBERS = re.compile(rb"\n(VmHWM|VmRSS|RssAnon|RssShmem|VmPTE|VmSwap|Threads):\s*(\d+)")
_ROLLUP = re.compile(rb"\n(Private_\w+|Pss_Anon|Pss_Shmem|SwapPss):\s*(\d+) kB")
_IO = re.compile(rb"^(rchar|wchar|read_bytes|write_bytes): (\d+)", re.MULTILINE)


class Member(NamedTuple):
    """A process, with its memory in bytes.

    Attributes:
        pid: the process.
        rss: resident, files and memory shared with others included.
        top: the most that was ever resident.
        held: what counts towards a limit: not files; but page tables and swap.
        tables: its page tables.
        threads: how many it has.
        where: the folder in /proc that tells of it; that of another thread where the first has ended.
    """

    pid: int
    rss: int
    top: int
    held: int
    tables: int
    threads: int
    where: str


class Io(NamedTuple):
    """What was read and written, in bytes: by the disk, and by calls, as psutil names them."""

    read_bytes: int
    write_bytes: int
    read_chars: int
    write_chars: int


class Shares(NamedTuple):
    """Memory that only one process has, and its share of what counts towards a limit, in bytes."""

    own: int
    share: int


def members(pid: int, root: int = 0) -> list[Member]:
    """Return all processes of a companion.

    Args:
        pid: the companion's own.
        root: its supervisor, if it has one: that adopts orphans, and does not count itself.
    """
    found: list[Member] = []
    ahead, seen = [root or pid], set[int]()
    while ahead and len(found) < _MOST:
        one = ahead.pop()
        if one in seen:
            continue
        seen.add(one)
        status = _text(f"{one}/status")
        if status is None:
            continue
        values = {name: int(number) for name, number in _NUMBERS.findall(status)}
        threads = values.get(b"Threads", 1)
        ahead += _children(one, threads)
        if one != root and not (root and _IDS.search(status)):  # nor does the init of its pid namespace
            found.append(_member(one, threads, values))
    return found


def _member(pid: int, threads: int, values: dict[bytes, int]) -> Member:
    where = str(pid)
    if b"VmRSS" not in values and threads > 1:
        where, values = _living(pid)
    size = {name: values.get(name, 0) << 10 for name in (b"VmRSS", b"VmHWM", b"VmPTE")}
    held = sum(values.get(name, 0) << 10 for name in (b"RssAnon", b"RssShmem", b"VmSwap")) + size[b"VmPTE"]
    return Member(pid, size[b"VmRSS"], size[b"VmHWM"], held, size[b"VmPTE"], threads, where)


def _living(pid: int) -> tuple[str, dict[bytes, int]]:
    """Find a thread that tells of the memory: the first one tells nothing once it has ended."""
    for name in _names(f"/proc/{pid}/task"):
        where = f"{pid}/task/{name}"
        values = {name: int(number) for name, number in _NUMBERS.findall(_text(f"{where}/status") or b"")}
        if b"VmRSS" in values:
            return where, values
    return str(pid), {}


def seconds(pid: int) -> float:
    """Return the processor time of a process, and of those that it has started and waited for."""
    return sum(map(int, _stat(pid)[11:15])) / _TICKS


def faults(pid: int) -> int:
    """Return how many pages a process has been given so far without a disk; 0 if it is gone."""
    return sum(map(int, _stat(pid)[7:8]))


def _stat(pid: int) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) from `state` on; none if it is gone."""
    text = _text(f"{pid}/stat")
    # From the last parenthesis on: the name before it may hold anything.
    return text[text.rfind(b")") + 2 :].split(None, 15) if text else []


def held(pid: int) -> int:
    """Return the bytes of memory that a process holds beside files (proc_pid_statm(5)); 0 if it is gone."""
    sizes = [int(size) for size in (_text(f"{pid}/statm") or b"0 0 0").split()]
    return (sizes[1] - sizes[2]) * _PAGE


def io(pid: int) -> Io | None:
    """Return what a process, and those that it has started and waited for, have read and written."""
    text = _text(f"{pid}/io")
    if not text:
        return None
    values = {name: int(number) for name, number in _IO.findall(text)}
    return Io(*(values.get(name, 0) for name in (b"read_bytes", b"write_bytes", b"rchar", b"wchar")))


def open_files(member: Member) -> int | None:
    """Return how many descriptors a process has."""
    folder = f"/proc/{member.where}/fd"
    try:
        # From Linux 6.2 on the kernel tells the number as the size; before, it is 0 and they are counted.
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError as error:
        return None if isinstance(error, PermissionError) else 0


def shares(member: Member) -> Shares | None:
    """Return what a process has for itself; slow: 3 ms for a GiB."""
    found = _rollup(member.where)
    return found and Shares(found.own, found.share + member.tables)


def private(pid: int) -> int | None:
    """Return the bytes that a process shares with nobody; None if it is gone or hides it."""
    found = _rollup(str(pid))
    return found and found.own


def _rollup(where: str) -> Shares | None:
    text = _text(f"{where}/smaps_rollup")
    if not text:
        return None
    own = share = 0
    for name, number in _ROLLUP.findall(text):
        if name.startswith(b"Private_"):
            own += int(number) << 10
        else:
            share += int(number) << 10
    return Shares(own, share)


def gone(pid: int) -> bool:
    """Return whether there is no such process, or only its exit status."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def total(members: list[Member], read: Callable[[Member], int | None]) -> int | None:
    """Add up what is read of each process; None if the kernel does not tell for one that is there."""
    parts = [(member.pid, read(member)) for member in members]
    if any(part is None and not gone(pid) for pid, part in parts):
        return None
    return sum(part or 0 for _, part in parts)


def parent(pid: int) -> int:
    """Return the process that has started another; 0 if that is gone."""
    text = _text(f"{pid}/stat")
    return int(text[text.rfind(b")") + 2 :].split(None, 3)[1]) if text else 0


def _children(pid: int, threads: int) -> list[int]:
    names = [str(pid)] if threads == 1 else _names(f"/proc/{pid}/task")
    lists = [_text(f"{pid}/task/{name}/children") for name in names]
    if lists and all(found is None for found in lists):  # a kernel without CONFIG_PROC_CHILDREN
        return _searched(pid)
    return [int(child) for found in lists for child in (found or b"").split()]


def _searched(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(path: str) -> bytes | None:
    """Read a small file of /proc; None if it is not there (any more) or closed to us."""
    try:
        fd = os.open(f"/proc/{path}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = part = os.read(fd, _READ)
        while len(part) > _FULL:  # else the kernel had no more
            part = os.read(fd, _READ)
            text += part
        return text
    except OSError:
        return None
    finally:
        os.close(fd)
