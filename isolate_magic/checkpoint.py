"""`companion.checkpoint` and `Companion.restore`: what cells have bound, into a file and back (host).

The companion pickles and unpickles. Here its bytes are moved, encrypted and authenticated, a few MiB at a
time; it never sees the key, and this process never looks into the pickle.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import psutil

from isolate_magic import inventory, keys, output, progress
from isolate_magic.bodies import check_room
from isolate_magic.deadlines import copying
from isolate_magic.errors import CheckpointError, TransferError
from isolate_magic.inventory import Checkpoint, Contents
from isolate_magic.link import bulk
from isolate_magic.link.refs import Claim
from isolate_magic.vault import CHUNK, Reader, Writer

if TYPE_CHECKING:
    from isolate_magic.policy import Policy
    from isolate_magic.process import Process

_PIECE = 16 * CHUNK
_Path = str | os.PathLike[str]
_Key = str | bytes | None
_READ = "read; nothing was loaded"
_WRITTEN = "written; what stood there before is as it was"


class Saved:
    """Be the part of a `Companion` that is saved to a file, and comes back from one."""

    name: str
    policy: Policy
    restored: Checkpoint | None = None
    """What was restored last, or None."""

    def _living(self) -> Process:
        raise NotImplementedError

    def _alive(self) -> Process | None:
        raise NotImplementedError

    def close(self) -> None:
        """Stop for good."""
        raise NotImplementedError

    def checkpoint(self, path: _Path, *, key: _Key = None) -> Checkpoint:
        """Save what the cells have bound, encrypted and authenticated; needs the extra `checkpoint`.

        The file is written beside its place and put there when it is whole; what stood there before stays
        until then. Tasks and threads of the companion should rest meanwhile.

        Args:
            path: where to.
            key: 32 bytes, as `isolate_magic.new_key` makes them, or a passphrase.

        Returns:
            what is in it, and what is not, with the reason: show it.

        Raises:
            CheckpointError: the key is none, the companion does not run, or the file cannot be written.
            NotSupported: the extra is not installed.
            ProcessTerminationError: the companion died.
        """
        __tracebackhide__ = True
        keys.derivation(key)
        process, place, free = self._ready_to_save(path)
        with _complaints(place, _WRITTEN):
            return _save(process, place, key, free)

    def _ready_to_save(self, path: _Path) -> tuple[Process, str, int]:
        """Return the process, the absolute path, and the free bytes there; raise as `checkpoint`."""
        keys.check_installed()
        place = os.path.abspath(os.fspath(path))
        with _complaints(place, _WRITTEN):
            if os.path.isdir(place):
                raise IsADirectoryError(0, "it is a folder")
            free = shutil.disk_usage(os.path.dirname(place)).free
        process = self._alive()
        if process is None:  # a new one would hold nothing, and that would take the place of the old file
            raise CheckpointError(
                f"companion {self.name!r} does not run, so it holds nothing; nothing was written"
            )
        return process, place, free

    def resume(self, path: _Path, *, key: _Key = None) -> Checkpoint:
        """Bind here what a checkpoint holds, beside what is bound already; all of it at once.

        To load it runs code in it, with the rights of this companion: whoever has the key could have written
        any. Restore only what you would run.

        Args:
            path: where it is.
            key: the one that it was saved with.

        Returns:
            what is bound now, and what is not, with the reason.

        Raises:
            CheckpointError: it is damaged, changed, of another key, of another Python, or comes from a
                companion that was not trusted and this one is; nothing was loaded then.
            NotSupported: the extra is not installed.
            ProcessTerminationError: the companion died.
        """
        __tracebackhide__ = True
        with _opened(path, key) as (reader, found):
            return self._resume(reader, found, os.path.abspath(os.fspath(path)))

    @classmethod
    def restore(cls, path: _Path, *, key: _Key = None, name: str = "default", **options: Any) -> Self:
        """Make a companion that has the names of a checkpoint, in this process or on another day.

        Whoever has the key could have written any code into it, which runs with the rights of the new
        companion. One that was saved by a companion that was not trusted wants a policy that is not either.

        Args:
            path: where it is.
            key: the one that it was saved with.
            name: of the new companion.
            **options: as for `Companion`: `policy`, `preload`, `env`, `traced`, `snapshots`.

        Returns:
            the companion; `restored` tells what is bound in it.

        Raises:
            CheckpointError: as `resume`; there is no companion then.
            ValueError: there is a companion of this name: `resume` binds the names in it.
        """
        __tracebackhide__ = True
        with _opened(path, key) as (reader, found):
            made = cls(name, **options)  # type: ignore[call-arg]
            try:
                made._resume(reader, found, os.path.abspath(os.fspath(path)))
            except BaseException:
                made.close()
                raise
            return made

    def _resume(self, reader: Reader, found: Contents, path: str) -> Checkpoint:
        alive = self._alive()
        _check_trust(found, self.policy.trusted if alive is None else alive.trusted, self.name)
        process = self._living()
        _check_trust(found, process.trusted, self.name)
        names, lost = _load(process, reader, found)
        left = {**found.left, **lost}
        self.restored = told = _told(path, found, reader.size, names, left)
        for name, reason in lost.items():
            output.default.stream("stderr", f"{name} was not restored: {reason}\n")
        return told


def _told(path: str, found: Contents, size: int, names: tuple[str, ...], left: dict[str, str]) -> Checkpoint:
    saved = datetime.fromtimestamp(found.saved, UTC)
    return Checkpoint(path, names, left, size, saved, found.companion, found.trusted, found.python)


@contextmanager
def _complaints(path: str, what: str) -> Iterator[None]:
    """Say which file it is that the system refuses to read or to write."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be {what}: {error.strerror or error}") from error


def wants_passphrase(path: str) -> bool:
    """Return whether a file says that it was saved with a passphrase, not with 32 bytes.

    Raises:
        CheckpointError: it cannot be read, or is no checkpoint.
        NotSupported: the extra is not installed.
    """
    with _complaints(path, _READ):
        reader = Reader(path)
        reader.close()
        return reader.passphrase


@contextmanager
def _opened(path: _Path, key: _Key) -> Iterator[tuple[Reader, Contents]]:
    """Open a file and read what it says of itself; nothing has been loaded by then."""
    keys.derivation(key)
    with _complaints(os.fspath(path), _READ):
        reader = Reader(os.fspath(path))
        try:
            found = inventory.decoded(reader.open(key))
            inventory.check_python(found)
            yield reader, found
        finally:
            reader.close()


def _check_trust(found: Contents, trusted: bool, name: str) -> None:
    if trusted and not found.trusted:
        raise CheckpointError(
            f"it was saved by companion {found.companion!r}, which was not trusted, and to load it would run "
            f"that one's code with the rights of {name!r}, which is: restore it under policy='untrusted' or "
            "another that is not trusted; nothing was loaded"
        )


# ---------------------------------------------------------------- into a file


def _save(process: Process, path: str, key: Any, free: int) -> Checkpoint:
    """Move what a companion has pickled into a file."""
    talk = process.talk
    kept = talk.ask("keep")
    found: Contents = talk._guarded(
        lambda told: inventory.described(told, process.name, process.trusted), talk.ask("told", kept)
    )
    _check_length(process, found.length, free)
    writer = Writer(path, key, found.encoded())
    step = progress.Step(f"saving companion {process.name!r}", found.length)
    try:
        for offset in range(0, found.length, _PIECE):
            size = min(_PIECE, found.length - offset)
            piece = talk.ask("piece", kept, offset, size)
            if type(piece) is not bytes or len(piece) != size:
                raise talk.break_off("it does not give the bytes that it has announced")
            writer.write(piece, offset + size == found.length)
            step.add(size)
        size = writer.finish()
    finally:
        writer.give_up()
        step.end()
    return _told(path, found, size, found.names, found.left)


def _check_length(process: Process, length: int, free: int) -> None:
    """Refuse what fits on no disk, and what no companion can hold, whatever it says."""
    if length > free - (length >> 10):
        raise CheckpointError(
            f"{length / 2**30:.1f} GiB do not fit beside the file: {free / 2**30:.1f} GiB are free there"
        )
    most = process.policy.memory or psutil.virtual_memory().total
    if not process.trusted and length > most:
        raise CheckpointError(
            f"companion {process.name!r} is not trusted, and wants {length / 2**30:.1f} GiB to be written, "
            "which is more than its memory holds"
        )


# ---------------------------------------------------------------- out of a file


def _load(process: Process, reader: Reader, found: Contents) -> tuple[tuple[str, ...], dict[str, str]]:
    """Move the body of a file into memory of the companion, and have it loaded once all is authentic."""
    talk = process.talk
    try:
        check_room(found.length)
    except TransferError as error:
        raise CheckpointError(f"{error}; nothing was loaded") from None
    step = progress.Step(f"restoring companion {process.name!r}", found.length)
    room = _Room(talk, found.sizes) if talk.arguments.direct else _Sealed(talk, found.sizes)
    try:
        for chunk in reader.body(found.length):
            room.put(chunk)
            step.add(len(chunk))
        owner = room.finish()
        told = talk.ask("regain", owner.number)
    finally:
        room.close()
        step.end()
    return talk._guarded(lambda told: _bound(told, process.trusted), told)  # type: ignore[no-any-return]


def _bound(told: Any, trusted: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    if type(told) is not tuple:
        raise ValueError("an answer that is none")
    names, lost = told
    if type(names) is not tuple or not all(type(name) is str for name in names):
        raise ValueError("names that are none")
    return tuple(map(inventory.shown_by(trusted), names)), inventory.reasons(lost, trusted)


class _Room:
    """Fill memory of a companion, one part after the other."""

    def __init__(self, talk: Any, sizes: tuple[int, ...]) -> None:
        self._talk = talk
        self._left = list(reversed(sizes))
        told = talk.ask("reserve", sizes)
        try:
            owner, addresses = told
            if type(owner) is not int or owner < 2 or len(addresses) != len(sizes):
                raise ValueError("no memory")
            self._owner = Claim(talk, owner, "memory for a checkpoint")
            self._places = list(reversed(addresses))
        except (ValueError, TypeError) as error:
            raise talk.break_off(f"it cannot take a checkpoint ({error})") from None

    def put(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            while not self._left[-1]:
                self._left.pop()
                self._places.pop()
            part = view[: self._left[-1]]
            try:
                with copying(self._talk, part.nbytes):
                    bulk.store(self._talk.pid, self._places[-1], part)
            except (OSError, TypeError, ctypes.ArgumentError) as error:
                raise self._talk.break_off(f"its memory cannot be written ({error})") from None
            self._left[-1] -= part.nbytes
            self._places[-1] += part.nbytes
            view = view[part.nbytes :]

    def finish(self) -> Claim:
        return self._owner

    def close(self) -> None:
        """Keep nothing open; the claim gives the memory back."""


class _Sealed:
    """Fill a memfd that a companion maps afterwards, where the kernel lets nobody write to its memory."""

    def __init__(self, talk: Any, sizes: tuple[int, ...]) -> None:
        self._talk = talk
        self._sizes = sizes
        self._offset = 0
        self._fd = bulk.make(sum(sizes))

    def put(self, chunk: bytes) -> None:
        self._offset = bulk.write(self._fd, chunk, self._offset)

    def finish(self) -> Claim:
        bulk.seal(self._fd)
        owner = self._talk.ask("accept", self._sizes, self._talk.arguments._hand_over(self._fd))
        if type(owner) is not int or owner < 2:
            raise self._talk.break_off("it cannot take a checkpoint")
        return Claim(self._talk, owner, "memory for a checkpoint")

    def close(self) -> None:
        os.close(self._fd)
