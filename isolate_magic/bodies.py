"""The bytes that lie beside a companion's frames: weighed, fetched, given back (host)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from itertools import islice
from typing import Any

import psutil

from isolate_magic import progress
from isolate_magic.deadlines import copying
from isolate_magic.errors import TransferError
from isolate_magic.link import bulk
from isolate_magic.link import frames as f
from isolate_magic.link.copying import parts

_LYING_THERE = (f.Remote, f.Poured)
_LOOK = 1000  # parts of a value that are added up before any of them is fetched
_ROOM = 64 << 20  # bodies up to this size are fetched without a look at the free memory


class Bodies:
    """Fetch the bytes that frame values point to.

    Args:
        talk: the conversation that they come from.
    """

    def __init__(self, talk: Any) -> None:
        self.talk = talk

    def fit(self, value: Any) -> None:
        """Raise TransferError if all that a value points to does not fit here; then it is given back."""
        found = parts(value) if self.talk.process.trusted else bodies(value)
        look = islice(found, _LOOK) if self.talk.process.trusted else found
        try:
            self.check_room(sum(part.length for part in look if type(part) in _LYING_THERE))
        except TransferError:
            self.give_up(value)
            raise

    def followed(self, make: Callable[[Any], Any], value: Any) -> Any:
        """Make something of a value, and say how far the copy of all that it points to is."""
        look = islice(parts(value), _LOOK)
        total = sum(part.length for part in look if type(part) is f.Remote)
        with progress.incoming(self.talk, total):
            return make(value)

    def give_up(self, value: Any) -> None:
        """Let the companion free all that a value points to."""
        for part in parts(value):
            if type(part) is f.Remote:
                self._give_back(part)

    def check_room(self, length: int) -> None:
        """Raise as the function does; an untrusted companion leaves us half of the free memory."""
        check_room(length, 1.0 if self.talk.process.trusted else 0.5)

    def body(self, buffer: Any) -> Any:
        """Return the bytes of a buffer, fetched with one copy.

        Raises:
            ValueError, OSError: the buffer is not where the companion says.
        """
        if isinstance(buffer, f.Inline):
            return buffer.data
        if isinstance(buffer, f.Remote):
            try:
                self.check_room(buffer.length)
                with copying(self.talk, buffer.length), progress.incoming(self.talk, buffer.length):
                    return bulk.fetch_bytes(self.talk.pid, buffer.address, buffer.length, progress.moved)
            except OSError as error:
                raise ValueError(str(error)) from error
            finally:
                self._give_back(buffer)
        if not isinstance(buffer, f.Poured):
            raise ValueError("a buffer of the wrong kind")
        self.check_room(buffer.length)
        return bytes(self._poured(buffer))

    def fill(self, buffer: Any, address: int, size: int) -> None:
        """Copy the bytes of a buffer to an address of ours, which has room for `size`."""
        if isinstance(buffer, f.Inline):
            if len(buffer.data) != size:
                raise ValueError(f"{len(buffer.data)} bytes for {size}")
            ctypes.memmove(address, buffer.data, size)
            return
        if not isinstance(buffer, _LYING_THERE) or buffer.length != size:
            raise ValueError(f"{getattr(buffer, 'length', 'other')} bytes for {size}")
        self.check_room(size)
        if isinstance(buffer, f.Remote):
            try:
                with copying(self.talk, size), progress.incoming(self.talk, size):
                    bulk.fetch_to(self.talk.pid, buffer.address, address, size, progress.moved)
            except OSError as error:
                raise ValueError(str(error)) from error
            finally:
                self._give_back(buffer)
            return
        source = self._poured(buffer)
        ctypes.memmove(address, bulk.address(source), size)

    def sealed(self, buffer: Any) -> int:
        """Return the memfd that the companion has filled, sealed and as long as it was said to be."""
        if not isinstance(buffer, f.Poured):
            raise ValueError("a buffer of the wrong kind")
        fd: int = self.talk.poured.pop(buffer.token)
        try:
            bulk.seal(fd)
            bulk.check_length(fd, buffer.length)
        except OSError as error:
            os.close(fd)
            raise ValueError(f"a memfd that cannot be sealed: {error.strerror}") from error
        except ValueError:
            os.close(fd)
            raise
        return fd

    def _give_back(self, buffer: f.Remote) -> None:
        """Let the companion free a body; the number 0 marks one that was given back before."""
        if buffer.owner:
            self.talk.drops.append((buffer.owner, 1))
            buffer.owner = 0

    def _poured(self, buffer: Any) -> Any:
        fd = self.sealed(buffer)
        try:
            return memoryview(bulk.open_sealed(fd, buffer.length))[: buffer.length]
        finally:
            os.close(fd)


def bodies(value: Any) -> list[Any]:
    """Return all that a frame value points to, however large the value.

    Raises:
        ValueError: a length is negative.
    """
    found, ahead = list[Any](), [value]
    while ahead:
        part = ahead.pop()
        kind = type(part)
        if kind in _LYING_THERE:
            if part.length < 0:  # or the sum would be small
                raise ValueError(f"a body of {part.length} bytes")
            found.append(part)
        elif kind is tuple:
            ahead += part
        elif isinstance(part, f.Wire):
            ahead += [getattr(part, name) for name in part.__struct_fields__]
        elif kind is dict:
            ahead += part.values()
    return found


def check_room(length: int, share: float = 1.0) -> None:
    """Raise TransferError if so many bytes would not fit here, and ValueError for a negative number.

    Args:
        length: the number of bytes.
        share: how much of the memory that can be had they may take.
    """
    if length < 0:
        raise ValueError(f"a body of {length} bytes")
    if length <= _ROOM or length < os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE") * share:
        return  # into free pages; a look at all that can be had takes a tenth of a millisecond
    free = psutil.virtual_memory().available
    if length > free * share:
        kept = "" if share == 1.0 else f", of which a companion that is not trusted may take {share:.0%}"
        raise TransferError(
            f"{length / 2**30:.1f} GiB do not fit here: {free / 2**30:.1f} GiB of memory are free{kept}. "
            "Work on it through the proxy, or copy a part"
        )
