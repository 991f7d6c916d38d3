"""Objects lent to the other side, with counts, and the claims on what it lent us (both sides).

The lender counts how often it has sent an object. The holder remembers how often it has received
it and gives that number back when the last stand-in is gone, so an object sent again while its
release is under way is never freed too early.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Container
from itertools import count
from typing import Any

from isolate_magic.link import frames as f

_PINNED = 1 << 62


class Lent:
    """Keep the objects that the other side holds, by number.

    Args:
        service: the object with the number 1, which is never dropped.

    Attributes:
        last: the highest number so far.
    """

    def __init__(self, service: object) -> None:
        self._objects: dict[int, list[Any]] = {1: [service, _PINNED]}
        self._numbers: dict[int, int] = {id(service): 1}
        self._next = count(2)
        self.last = 1
        self._lock = threading.Lock()

    def lend(self, obj: object) -> int:
        """Count one more reference to `obj` and return its number."""
        with self._lock:
            number = self._numbers.get(id(obj))
            if number is None:
                number = self.last = next(self._next)
                self._numbers[id(obj)] = number
                self._objects[number] = [obj, 1]
            else:
                self._objects[number][1] += 1
            return number

    def pin(self, obj: object) -> int:
        """Return the number of `obj`, which stays lent for good; meant for classes."""
        number = self._numbers.get(id(obj))
        if number is None or self._objects[number][1] < _PINNED:
            number = self.lend(obj)
            self._objects[number][1] += _PINNED
        return number

    def __getitem__(self, number: int) -> Any:
        """Return the object with this number; a `Found` brings it along.

        Raises:
            KeyError: no such object is lent.
        """
        found: Any = number
        return found.thing if type(found) is Found else self._objects[number][0]

    def find(self, value: Any) -> None:
        """Replace the numbers of our objects in a frame value by the objects themselves."""
        if type(value) is f.Own:
            entry = self._objects.get(value.id)
            if entry is not None:
                value.id = Found(entry[0])  # type: ignore[assignment]
        elif isinstance(value, f.Wire):
            for name in value.__struct_fields__:
                self.find(getattr(value, name))
        elif type(value) is tuple:
            for item in value:
                self.find(item)
        elif type(value) is dict:
            for item in value.values():
                self.find(item)

    def __contains__(self, number: int) -> bool:
        return number in self._objects

    @property
    def identities(self) -> Container[int]:
        """The `id` of every object that the other side holds now."""
        return self._numbers

    def holds(self, obj: object) -> bool:
        """Return whether the other side holds this very object now."""
        return id(obj) in self._numbers

    def __len__(self) -> int:
        return len(self._objects) - 1

    def copy(self) -> Lent:
        """Return a table of its own with what is lent now; it goes on with the numbers of this one."""
        with self._lock:
            made = Lent(self._objects[1][0])
            made._objects = {number: list(entry) for number, entry in self._objects.items()}
            made._numbers = dict(self._numbers)
            made._next, made.last = self._next, self.last
        return made

    def settle(self, last: int, counts: dict[int, int]) -> list[Any]:
        """Count what the other side says that it holds; what it does not, up to a number, is free.

        Args:
            last: the number up to which `counts` tells all.
            counts: how often it holds each; unknown numbers are ignored.

        Returns:
            what is free now, as `drop` does.
        """
        gone = []
        with self._lock:
            for number in [n for n in self._objects if 1 < n <= last]:
                entry = self._objects[number]
                entry[1] = counts.get(number, 0) + (_PINNED if entry[1] >= _PINNED else 0)
                if not entry[1]:
                    del self._objects[number], self._numbers[id(entry[0])]
                    gone.append(entry)
        return gone

    def drop(self, drops: tuple[int, ...]) -> list[Any]:
        """Take back counts, given as pairs of number and count; unknown numbers raise KeyError.

        Returns:
            what is free now: its finalizers run when the caller lets go of the list.
        """
        gone = []
        with self._lock:
            for number, times in zip(drops[::2], drops[1::2], strict=True):
                entry = self._objects[number]
                if not 0 < times <= entry[1] % _PINNED:  # what is pinned stays, whatever the other side says
                    raise KeyError(number)
                entry[1] -= times
                if not entry[1]:
                    del self._objects[number], self._numbers[id(entry[0])]
                    gone.append(entry)
        return gone


class Found:
    """Stand in a frame for the number of a lent object, which may be dropped before the frame is used."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing


class Claim:
    """Hold one object of the other side; its drop is queued when the claim is collected.

    Attributes:
        owner: the conversation that the object belongs to.
        number: the object's number there.
        label: its name, if it has one.
        times: how often it has been received; 0 for a class, which stays lent for good.
    """

    __slots__ = ("__weakref__", "label", "number", "owner", "times")

    def __init__(self, owner: Any, number: int, label: str, times: int = 1) -> None:
        self.owner = owner
        self.number = number
        self.label = label
        self.times = times

    def __del__(self) -> None:
        # Only a deque append: a finalizer may run inside any call, a send from here could deadlock.
        if self.times:
            self.owner.drops.append((self.number, self.times))


def take(drops: deque[tuple[int, int]]) -> tuple[int, ...]:
    """Empty the queue of drops into the flat form that frames carry."""
    flat: list[int] = []
    while drops and len(flat) < 4000:
        flat.extend(drops.popleft())
    return tuple(flat)


__all__ = ["Claim", "Found", "Lent", "take"]
