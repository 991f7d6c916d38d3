"""Iteration over a list, dict, set, deque or array of a companion, many items at a time (host).

Items are fetched ahead only where nobody can tell: the companion looks at them without moving the
iterator, and they are thrown away as soon as any other request is made of it, since that might change
the container. What has been taken is told before the iterator is used for anything else.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from isolate_magic.link.proxy import Proxy
from isolate_magic.link.refs import Claim

_MOST = 4096
ITERATORS = frozenset({
    "builtins.list_iterator", "builtins.list_reverseiterator", "builtins.dict_keyiterator",
    "builtins.dict_valueiterator", "builtins.dict_itemiterator", "builtins.dict_reversekeyiterator",
    "builtins.dict_reversevalueiterator", "builtins.dict_reverseitemiterator", "builtins.odict_iterator",
    "builtins.set_iterator", "builtins.tuple_iterator", "_collections._deque_iterator",
    "_collections._deque_reverse_iterator", "collections._deque_iterator",  # the latter since Python 3.12
    "collections._deque_reverse_iterator", "builtins.iterator",
})  # fmt: skip
"""The iterators whose `copy.copy` walks on from the same place, and whose steps run no code of anybody."""


class Advancing(Claim):
    """Hold an iterator of the companion, and the items that are here already.

    Attributes:
        ahead: items that have been looked at and not been taken.
        number: as in `Claim`; reading it tells the companion first what has been taken.
    """

    __slots__ = ("_number", "_size", "_stamp", "_wanted", "ahead")

    def __init__(self, owner: Any, number: int, label: str, times: int = 1) -> None:
        self._number = number
        self._stamp = self._size = 0
        self._wanted = 1
        self.ahead: deque[Any] = deque()
        super().__init__(owner, number, label, times)

    @property
    def number(self) -> int:
        """Return the iterator's number; it stands there where it stands here."""
        taken = self._size - len(self.ahead)
        if taken and not self.owner.closed:
            self._size = 0
            self.ahead.clear()
            self.owner.ask("advance", self._number, taken)
        return self._number

    @number.setter
    def number(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        if self.times:  # a finalizer makes no request: how far it went does not matter any more
            self.owner.drops.append((self._number, self.times))

    def current(self) -> bool:
        """Return whether nothing has been asked of the companion since the items were fetched."""
        return self._stamp == self.owner.latest and not self.owner.closed

    def more(self) -> Any:
        """Return the next item, and fetch some after it."""
        __tracebackhide__ = True
        owner = self.owner
        if owner.closed:
            owner.refuse(self)
        self._wanted = min(self._wanted * 2, _MOST) if self.current() else 1
        taken = self._size - len(self.ahead)
        self._size = 0
        self.ahead.clear()
        told = owner.ask("ahead", self._number, taken, self._wanted)
        if type(told) is not tuple or not 0 < len(told) <= self._wanted:
            raise owner.break_off("it sent items ahead that nobody asked for")
        first, *rest = told
        self._stamp, self._size = owner.latest, len(rest)
        self.ahead.extend(rest)
        return first


class Iterating(Proxy):
    """Stand for an iterator over a container."""

    __slots__ = ()
    _isolate_claim_ = Advancing

    def __next__(self) -> Any:
        __tracebackhide__ = True
        claim: Any = self._isolate_
        if claim.ahead and claim.current():
            try:
                return claim.ahead.popleft()
            except IndexError:  # another thread has taken the last one
                return claim.more()
        return claim.more()
