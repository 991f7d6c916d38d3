"""Mutable arguments: what the callee has changed in them comes back (both sides).

Both sides walk through the arguments in the same order, so that a container is told by its place in
that order. The companion remembers what was in each; after the call it tells those that have changed.
What was in them before is told by container and position: `rows.sort()` brings the same rows back.
"""

from __future__ import annotations

import copyreg
import functools
import re
import types
from collections.abc import Callable, Container, Iterable
from operator import is_
from typing import Any

from isolate_magic.errors import TransferError
from isolate_magic.link import frames as f
from isolate_magic.link import values

_KINDS: dict[type, str] = {list: "l", dict: "d", set: "s", bytearray: "b", tuple: "t"}
_STATE = (
    "__reduce_ex__",
    "__reduce__",
    "__getstate__",
    "__setstate__",
    "__getnewargs_ex__",
    "__getnewargs__",
)
_LEAVES = values.TWINS - {tuple}
_ACTED_ON = re.compile(r"__.*__\Z|_repr_|_ipython_|_isolate_")  # by Python, by IPython, by us
_NOTHING = object()
_WHOLE = -1  # the position that stands for the container itself


def containers(arguments: Any, lent: Container[int]) -> list[Any]:
    """Return the mutable containers in a value, each once, in an order that both sides share.

    Args:
        arguments: the arguments by place and by name, as they are packed.
        lent: the identities of the companion's own objects, for which the host sent a number.
    """
    found, seen, ahead = list[Any](), set[int](), [arguments]
    for value in ahead:  # which grows meanwhile
        number, kind = id(value), type(value)
        if number in seen or number in lent:
            continue
        seen.add(number)
        if kind is not tuple:
            found.append(value)
        inside = value if kind is list or kind is tuple else _inside(value, kind)
        wanted = set(map(type, inside)) - _LEAVES
        if wanted:
            wanted = {kind for kind in wanted if kind in _KINDS or _plain_object(kind)}
            ahead += [item for item in inside if type(item) in wanted]
    return found


def mutable(kind: type) -> bool:
    """Return whether a change of an instance of this class would be lost with a copy of it."""
    return kind in _KINDS.keys() - {tuple} or _plain_object(kind)


@functools.lru_cache(1000)
def _plain_object(kind: type) -> bool:
    """Return whether instances of a class are copied by their `__dict__` and by nothing else."""
    return (
        kind.__module__ != "builtins"
        and getattr(kind, "__dictoffset__", 0) != 0
        and not any("__call__" in up.__dict__ for up in kind.__mro__)  # it may be called back
        and not issubclass(kind, (type, types.ModuleType))
        and kind not in copyreg.dispatch_table
        and all(getattr(kind, name, None) is getattr(object, name, None) for name in _STATE)
    )


def _inside(value: Any, kind: type) -> Any:
    if kind is dict:
        return value.values()
    return () if kind in (set, bytearray) else vars(value).values()


def _state(container: Any) -> Any:
    """Return a copy of what is in a container now: a list, a dict, a set or a bytearray."""
    return container.copy() if type(container) in _KINDS else vars(container).copy()


def _changed(container: Any, before: Any) -> bool:
    kind = type(before)
    if kind in (set, bytearray):
        return bool(container != before)
    now = container if type(container) is kind else vars(container)
    if len(now) != len(before) or not all(map(is_, now, before)):
        return True
    return kind is dict and not all(map(is_, now.values(), before.values()))


def _flat(state: Any) -> list[Any]:
    """Return the parts of a state by position: items, or keys and values in turn."""
    return state if type(state) is list else [part for pair in state.items() for part in pair]


class Watch:
    """Tell what a call has changed in its arguments (companion).

    Args:
        arguments: as for `containers`.
        lent: as for `containers`.
    """

    def __init__(self, arguments: Any, lent: Container[int]) -> None:
        self._containers = containers(arguments, lent)
        self._before = [_state(container) for container in self._containers]

    def changes(self, wrap: Callable[[Any], Any]) -> f.Changes | None:
        """Return the changes as data; None if there are none.

        Args:
            wrap: turns a new value in a container into a frame value.
        """
        changed = [place for place, now in enumerate(self._containers) if _changed(now, self._before[place])]
        if not changed:
            return None
        places = self._places()

        def told(item: Any) -> Any:
            return places[id(item)] if id(item) in places else wrap(item)

        found = [f.Change(place, self._content(place, told)) for place in changed]
        return f.Changes(_shape(self._containers), tuple(found))

    def _places(self) -> dict[int, f.Place]:
        """Return by identity where an object was before the call; plain values need no place."""
        places = {}
        for number, before in enumerate(self._before):
            if type(before) in (list, dict):
                for position, item in enumerate(_flat(before)):
                    if type(item) not in values.PLAIN:
                        places[id(item)] = f.Place(number, position)
        for number, container in enumerate(self._containers):
            places[id(container)] = f.Place(number, _WHOLE)
        return places

    def _content(self, place: int, told: Callable[[Any], Any]) -> tuple[Any, ...]:
        before, now = self._before[place], _state(self._containers[place])
        if type(now) is bytearray:
            return (told(bytes(now)),)
        if type(now) is not set:
            return tuple(map(told, _flat(now)))
        gone = before - now
        if any(type(item) not in values.TWINS for item in gone):
            raise TransferError(
                "a set given as an argument lost an object that is no plain value: which one is it here?"
            )
        return f.Tuple(tuple(map(told, now - before))), f.Tuple(tuple(map(told, gone)))


class Given:
    """Remember the arguments of a call until it is over (host).

    Args:
        arguments: as for `containers`.
    """

    def __init__(self, arguments: Any) -> None:
        self._containers = containers(arguments, ())
        self._before = [_state(container) for container in self._containers]
        self._flat: dict[int, list[Any]] = {}

    def restore(self, changes: f.Changes, unwrap: Callable[[Any], Any]) -> None:
        """Do to the arguments here what the call has done to their copies.

        Args:
            changes: what the companion told.
            unwrap: makes an object of a frame value.

        Raises:
            ValueError, IndexError, TypeError: it makes no sense.
            TransferError: the arguments look different on both sides, or what was changed may not be.
        """
        if changes.shape != _shape(self._containers):
            raise TransferError(
                "the call has changed its arguments in a way that cannot be told here; pass plain lists and "
                "dicts, or make the objects there"
            )

        def made(item: Any) -> Any:
            return self._original(item) if type(item) is f.Place else unwrap(item)

        ready = [(self._containers[_index(change.place)], change.items) for change in changes.found]
        contents = [_content(target, list(map(made, items))) for target, items in ready]
        for (target, _), content in zip(ready, contents, strict=True):
            _put(target, content)

    def _original(self, place: f.Place) -> Any:
        container = _index(place.container)
        if place.position == _WHOLE:
            return self._containers[container]
        before = self._before[container]
        if type(before) not in (list, dict):
            raise ValueError("a place in a container that has none")
        if container not in self._flat:
            self._flat[container] = _flat(before)
        return self._flat[container][_index(place.position)]


def _shape(found: list[Any]) -> str:
    return "".join(_KINDS.get(type(container), "o") for container in found)


def _index(number: int) -> int:
    if number < 0:
        raise IndexError(number)
    return number


def _content(target: Any, told: list[Any]) -> Any:
    """Return what shall be in a container, so that `_put` cannot fail half-way.

    Raises:
        ValueError, TypeError: it does not fit the container.
        TransferError: it may not be there.
    """
    kind = type(target)
    if kind is list:
        return told
    if kind is bytearray:
        (data,) = told
        if type(data) is not bytes:
            raise ValueError(f"a {type(data).__name__} for the content of a bytearray")
        if len(data) != len(target):
            _check_resizable(target)
        return data
    if kind is set:
        new, gone = told
        if not type(new) is type(gone) is tuple:
            raise ValueError("a change of a set that is none")
        # The hashes of proxies may do anything, so before all else.
        return (target - values.gathered(set(), gone)) | values.gathered(set(), new)
    table = values.gathered({}, list(_pairs(told)))
    if kind is not dict:
        _check_attributes(target, table)
    return table


def _check_resizable(target: bytearray) -> None:
    try:
        target.append(0)
    except BufferError as error:
        raise TransferError(
            f"a bytearray given as an argument has another length now, and here a view keeps it: {error}"
        ) from None
    target.pop()


def _check_attributes(target: Any, table: dict[Any, Any]) -> None:
    """Refuse attributes by which an object would get another behaviour here, and fields that are frozen."""
    if not all(type(name) is str for name in table):
        raise ValueError("attributes whose names are no text")
    before = vars(target)
    frozen = getattr(getattr(type(target), "__dataclass_params__", None), "frozen", False)
    fields = set(type(target).__dataclass_fields__) & set(before) if frozen else set()
    fixed = fields | {name for name in table if _ACTED_ON.match(name)}
    for name in sorted(fixed):
        if not _same(table.get(name, _NOTHING), before.get(name, _NOTHING)):
            reason = "its class is frozen" if name in fields else "Python acts on such a name"
            raise TransferError(
                f"the call has changed the attribute {name!r} of an argument, a {type(target).__qualname__}, "
                f"which is not done here: {reason}. Return the value instead"
            )


def _same(one: Any, other: Any) -> bool:
    plain = type(one) in values.PLAIN and type(one) is type(other)
    return one is other or (plain and bool(one == other or one != one))


def _put(target: Any, content: Any) -> None:
    """Replace what is in a container by what `_content` has made."""
    if isinstance(target, (list, bytearray)):
        target[:] = content
    else:
        table = vars(target) if _KINDS.get(type(target)) is None else target
        table.clear()
        table.update(content)


def _pairs(flat: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
