"""What travels to a companion: data, proxies and callbacks by number, all else as one pickle (host)."""

from __future__ import annotations

import os
import weakref
from typing import Any

from isolate_magic import progress
from isolate_magic.deadlines import copying
from isolate_magic.link import bulk, values
from isolate_magic.link import frames as f
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.packing import pack
from isolate_magic.link.proxy import claim_of
from isolate_magic.link.refs import Claim
from isolate_magic.link.shared import Segment

_PLAIN = values.PLAIN
_SMALL = f.INLINE // 4


class Arguments:
    """Turn objects of ours into frame values for one companion.

    Args:
        talk: the conversation with it.
    """

    def __init__(self, talk: Any) -> None:
        self.talk = talk
        self.direct = True
        self.segments: weakref.WeakKeyDictionary[Segment, Claim] = weakref.WeakKeyDictionary()

    def wrap(self, args: Any, kwargs: dict[str, Any], held: list[Claim]) -> tuple[Any, dict[str, Any]]:
        """Turn the arguments of a call into frame values: each by itself, or all in one pickle.

        Args:
            args: the arguments by place.
            kwargs: the arguments by name.
            held: gets the claims on memory in the companion that must last until the call is over.

        Raises:
            TransferError: an argument cannot travel.
            StaleProxyError: an argument's companion is dead.
        """
        for value in args:
            if type(value) not in _PLAIN:
                break
        else:
            if not kwargs:
                return tuple(map(values.plain, args)), kwargs
        try:
            wrapped = tuple([values.wrap(value, self._other) for value in args])
            return wrapped, {name: values.wrap(value, self._other) for name, value in kwargs.items()}
        except _NeedsPickle:
            return (self.packed((tuple(args), kwargs), held),), {}

    def result(self, value: Any, held: list[Claim]) -> Any:
        """Turn the result of a callback into a frame value; as `wrap`."""
        try:
            return values.wrap(value, self._other)
        except _NeedsPickle:
            return self.packed(value, held)

    def _other(self, value: Any, _depth: int) -> Any:
        claim = claim_of(value)
        if claim is None:
            raise _NeedsPickle
        return f.Own(self.talk.number_of(claim))

    def packed(self, value: Any, held: list[Claim]) -> f.Pickled:
        """Pickle a value, with its large buffers put into the companion's memory; as `wrap`."""
        data, beside = pack(value, self.talk)
        parts = [data, *beside]
        sizes = [len(data), *(part.nbytes for part in beside)]
        large = [n for n, size in enumerate(sizes) if size > _SMALL] if sum(sizes) > f.INLINE else []
        if sum(sizes) - sum(sizes[n] for n in large) > f.INLINE:
            large = list(range(len(parts)))
        buffers: list[Any] = [None if n in large else f.Inline(bytes(part)) for n, part in enumerate(parts)]
        if large:
            owner = self._store([parts[n] for n in large], [sizes[n] for n in large])
            held.append(Claim(self.talk, owner, "memory for arguments"))
            for index, n in enumerate(large):
                buffers[n] = f.Reserved(owner, index)
        return f.Pickled(buffers[0], tuple(buffers[1:]))

    def _store(self, parts: list[Any], sizes: list[int]) -> int:
        """Put buffers into the companion's memory; return the number that holds them there."""
        with progress.outgoing(self.talk, sum(sizes)):
            owner = self._write(parts, sizes) if self.direct else self._send(parts, sizes)
        if type(owner) is not int or owner < 2:
            raise self.talk.break_off("it cannot take arguments")
        return owner

    def _write(self, parts: list[Any], sizes: list[int]) -> Any:
        told = self.talk.ask("reserve", tuple(sizes))
        try:
            owner, addresses = told
            for part, there, size in zip(parts, addresses, sizes, strict=True):
                if size:
                    self._fill(there, part)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise self.talk.break_off(f"its memory cannot be written ({error})") from None
        return owner

    def _fill(self, there: int, part: Any) -> None:
        with copying(self.talk, part.nbytes if hasattr(part, "nbytes") else len(part)):
            for slab in foreign_numpy.slabs(part):
                bulk.store(self.talk.pid, there, slab, progress.moved)
                there += slab.nbytes

    def _send(self, parts: list[Any], sizes: list[int]) -> Any:
        fd = bulk.make(sum(sizes))
        try:
            offset = 0
            for part in parts:
                for slab in foreign_numpy.slabs(part):
                    offset = bulk.write(fd, slab, offset, progress.moved)
            bulk.seal(fd)
            token = self._hand_over(fd)
        finally:
            os.close(fd)
        return self.talk.ask("accept", tuple(sizes), token)

    def _hand_over(self, fd: int) -> int:
        """Send a memfd through the door; return the token that goes with it."""
        token: int = next(self.talk.desk.tokens)
        try:
            self.talk.desk.hand_over(token, fd)
        except OSError as error:
            raise self.talk.break_off(f"it takes no memory ({error})") from None
        return token

    def number_of_segment(self, segment: Segment) -> int:
        """Return the number of the companion's map of a segment, which it is given the first time.

        The companion keeps its map until the segment is gone here, so it is sent once in a companion's life.
        """
        claim = self.segments.get(segment)
        if claim is None:
            mapped = self.talk.ask("attach", self._hand_over(segment.fd), segment.length)
            if type(mapped) is not int or mapped < 2:
                raise self.talk.break_off("it cannot map shared memory")
            # Another thread may have been as fast; then theirs is used, and ours goes with its claim.
            claim = self.segments.setdefault(segment, Claim(self.talk, mapped, "shared memory"))
        return claim.number


class _NeedsPickle(Exception):
    """Say that a value is no data and no proxy."""
