"""The bytes on disk below some folders, counted in small steps beside other work (zygote, in the keeper).

The folders are a hostile program's: no link is followed, no path is used but the first, every folder is
opened by its name in the one above, and depth and number of entries are bounded.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

from isolate_magic.child.tree import Tree

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PAUSE = 0.1  # seconds between two counts
_SHARE = 0.05  # of the time, for counting
_SLICE = 0.005  # the longest time away from other work
_STEP = 32  # entries between two looks at the clock
_HIDDEN = 1.0  # seconds for which a folder may be unreadable: tests of programs do that
_DEPTH = 64  # folders in folders; two descriptors each
_NEW = 20_000  # files that may be added
_OLD = 200_000  # files that may be there at the start
_DESCRIPTORS = 4096  # looked at for deleted files in one count


if TYPE_CHECKING:
    _Entries = os._ScandirIterator[str]


class Count:
    """One count, at the end or in the middle: bytes, entries, and why it cannot be completed."""

    def __init__(self) -> None:
        self.bytes = 0
        self.entries = 0
        self.refusal: str | None = None
        self.hidden: set[int] = set()
        self._seen: set[tuple[int, int]] = set()

    def add(self, found: os.stat_result) -> bool:
        """Count a file or folder once; return whether it was new."""
        key = (found.st_dev, found.st_ino)
        if key in self._seen:
            return False
        self._seen.add(key)
        self.bytes += found.st_blocks * 512
        self.entries += 1
        return True


class Disk:
    """What a tree of processes has put into some folders.

    Args:
        limit: bytes, all folders together.
        grown: folders of the user: what is in them now does not count.
        whole: folders made for the companion: all in them counts.

    Raises:
        OSError: a folder cannot be opened, or holds too many files to be watched.
    """

    def __init__(self, limit: int, grown: Iterable[str], whole: Iterable[str]) -> None:
        self.limit = limit
        self.used = 0
        self.pressing = False
        self._roots: list[int] = []
        self._count = Count()
        self._steps: Generator[None, None, None] | None = None
        self._next = self._paid = 0.0
        self._hidden: dict[int, float] = {}
        try:
            self._open(grown)
            self._before = self._at_the_start()
            self._open(whole)
        except OSError:
            self.close()
            raise
        self._devices = {os.fstat(root).st_dev for root in self._roots}

    def close(self) -> None:
        """Give the folders back."""
        if self._steps is not None:
            self._steps.close()
        self._steps = None
        while self._roots:
            os.close(self._roots.pop())

    def look(self, now: float, tree: Tree) -> str | None:
        """Count on for a moment; return what was passed, if anything.

        A count takes long if there is much to count, and files that come and go meanwhile may be in it
        together. So one that passes the limit is only a suspicion, and a second without pauses decides.
        """
        if self._steps is None:
            if now < self._next:
                return None
            self._count = Count()
            self._steps = self._walk(self._count, tree)
            self._paid = max(self._paid, now - _SLICE / _SHARE)
        begin = time.monotonic()
        allowed = _SLICE if self.pressing else min(_SLICE, (now - self._paid) * _SHARE)
        spent = 0.0
        ended = self._excess(self._count) is not None
        while not ended and spent < allowed:
            ended = next(self._steps, self) is self or self._excess(self._count) is not None
            spent = time.monotonic() - begin
        self._paid = min(now, self._paid + spent / _SHARE) if not self.pressing else now
        return self._judged(now) if ended else None

    def _judged(self, now: float) -> str | None:
        if self._steps is not None:
            self._steps.close()
        self._steps = None
        self._next = now + _PAUSE
        count = self._count
        self.used = max(0, count.bytes - self._before.bytes)
        hidden = count.hidden - self._before.hidden
        self._hidden = {key: self._hidden.get(key, now) for key in hidden}
        excess = self._excess(count)
        if excess is None and any(now - since > _HIDDEN for since in self._hidden.values()):
            return "in a folder that was made unreadable and could hold anything"
        if excess and not self.pressing:
            self.pressing = True
            self._next = now
            return None
        self.pressing = False
        return excess

    def _excess(self, count: Count) -> str | None:
        if count.refusal:
            return count.refusal
        if count.entries - self._before.entries > _NEW:
            return f"more than {_NEW:,} new files"
        used = count.bytes - self._before.bytes
        return f"{used / 2**20:.1f} MiB in {count.entries} files and folders" if used > self.limit else None

    def _open(self, folders: Iterable[str]) -> None:
        for folder in folders:
            self._roots.append(os.open(folder, _FOLDER & ~os.O_NOFOLLOW))

    def _at_the_start(self) -> Count:
        count = Count()
        for _ in self._walk(count, None):
            if count.entries > _OLD:
                raise OSError(
                    f"a limited folder holds more than {_OLD:,} files: too many to watch; name a smaller one"
                )
        return count

    def _walk(self, count: Count, tree: Tree | None) -> Generator[None, None, None]:
        for root in self._roots:
            count.add(os.fstat(root))
            yield from _below(root, count)
        left = _DESCRIPTORS
        for path in _opened(tree) if tree else ():
            found = tree.status_of(path) if tree else None
            # Deleted, but still open and growing: no folder shows it.
            if found and not found.st_nlink and stat.S_ISREG(found.st_mode) and found.st_dev in self._devices:
                count.add(found)
            left -= 1
            if left % _STEP == 0:
                yield
            if left == 0:
                return


def _opened(tree: Tree) -> Iterator[str]:
    """The open descriptors of all processes, as paths in /proc; those of who hides them are missing."""
    for pid in tree.pids():
        for number in tree.numbers(f"{pid}/fd"):
            yield f"{pid}/fd/{number}"


def _below(root: int, count: Count) -> Generator[None, None, None]:
    """Count what is below a folder, deepest first, with at most one folder open for each level."""
    levels: list[tuple[int, _Entries]] = []
    try:
        levels.append((os.dup(root), os.scandir(root)))
        steps = 0
        while levels:
            steps += 1
            if steps % _STEP == 0:
                yield
            folder, entries = levels[-1]
            entry = _next(entries)
            if entry is None:
                entries.close()
                os.close(folder)
                levels.pop()
            elif _counted(entry, count) and entry.is_dir(follow_symlinks=False):
                if len(levels) >= _DEPTH:
                    count.refusal = f"folders nested more than {_DEPTH} deep"
                    return
                _enter(folder, entry, count, levels)
    finally:
        for folder, entries in levels:
            entries.close()
            os.close(folder)


def _next(entries: _Entries) -> os.DirEntry[str] | None:
    try:
        return next(entries, None)
    except OSError:
        return None  # the folder was removed meanwhile


def _counted(entry: os.DirEntry[str], count: Count) -> bool:
    try:
        return count.add(entry.stat(follow_symlinks=False))
    except OSError:
        return False  # gone meanwhile


def _enter(folder: int, entry: os.DirEntry[str], count: Count, levels: list[tuple[int, _Entries]]) -> None:
    try:
        opened = os.open(entry.name, _FOLDER, dir_fd=folder)
    except PermissionError:
        count.hidden.add(entry.inode())
    except OSError:
        pass  # gone meanwhile, or a link by now
    else:
        levels.append((opened, os.scandir(opened)))
