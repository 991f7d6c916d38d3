"""Values that travel as data in both directions, exact type kept (both sides).

`wrap` turns one into a frame value, `unwrap` turns it back. What is not in the two tables below is
handed to `other`, which decides between a reference, a copy, a pickle and a refusal.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from time import thread_time
from typing import Any

from isolate_magic.link import frames as f

PLAIN = frozenset({type(None), bool, int, float, str})
"""Types that msgpack carries by itself (an int of up to 64 bits, a str without lone surrogates)."""

TWINS = frozenset({
    type(None), bool, int, float, complex, str, bytes, tuple, frozenset, range, slice,
    dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone, Decimal,
})  # fmt: skip
"""Classes that both sides have as their own, because their values travel."""

_CONSTANTS: dict[str, Any] = {"Ellipsis": ..., "NotImplemented": NotImplemented} | {
    f"dataclasses.{name}": getattr(dataclasses, name)
    for name in ("MISSING", "KW_ONLY", "_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR")
}
"""Objects that are compared by `is`; without those of dataclasses `fields(proxy)` would be empty."""

_NAMES = {id(constant): name for name, constant in _CONSTANTS.items()}

DEPTH = 32
"""How deep values may be nested."""

_STEP = 1024
_SLOW, _GROWTH = 0.1, 1e-7  # seconds that so many may take, and for each that is there already

Other = Callable[[Any, int], Any]


def plain(value: Any) -> Any:
    """Return a value of a `PLAIN` type as it travels: itself, or `Big` or `Text`."""
    kind = type(value)
    if kind is int:
        if not -0x8000000000000000 <= value <= 0xFFFFFFFFFFFFFFFF:
            return f.Big(hex(value))
    elif kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return f.Text(value.encode("utf-8", "surrogatepass"))
    return value


def wrap(value: Any, other: Other, depth: int = 0) -> Any:
    """Turn a value into a frame value.

    Args:
        value: anything.
        other: called with a value of a type not in the table, and the depth.
        depth: how deep the value lies.

    Raises:
        RecursionError: the value is nested deeper than `DEPTH`.
    """
    kind = type(value)
    if kind in PLAIN:
        return plain(value)
    if depth > DEPTH:
        raise RecursionError(f"nested deeper than {DEPTH}")
    maker = _WRAP.get(kind)
    if maker is None:
        return other(value, depth)
    made = maker(value, lambda item: wrap(item, other, depth + 1))
    return other(value, depth) if made is None else made


def unwrap(value: Any, other: Other, depth: int = 0) -> Any:
    """Turn a frame value back; structs that are not in the table go to `other` with the depth."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if depth > DEPTH + 1:
        raise ValueError(f"a value is nested deeper than {DEPTH}")
    maker = _UNWRAP.get(kind)
    if maker is None:
        return other(value, depth)
    return maker(value, lambda item: unwrap(item, other, depth + 1))


def gathered(table: Any, items: Sequence[Any]) -> Any:
    """Put items into a set, or pairs into a dict, and return it.

    Raises:
        ValueError: they were chosen to have the same hash, so that each is compared with all before it.
    """
    for first in range(0, len(items), _STEP):
        begin = thread_time()
        table.update(items[first : first + _STEP])
        if thread_time() - begin > _SLOW + first * _GROWTH:
            raise ValueError(f"{len(items)} keys that all have the same hash")
    return table


# Each maker gets the value and a function for the values inside it; None sends the value to `other`.

_Inner = Callable[[Any], Any]


def _bytes(value: bytes, _inner: _Inner) -> Any:
    return f.Bytes(value) if len(value) <= f.INLINE else None


def _name(value: Any, _inner: _Inner) -> Any:
    name = _NAMES.get(id(value))
    return f.Constant(name) if name else None


def _items(value: Any, inner: _Inner) -> tuple[Any, ...]:
    return tuple(map(inner, value))


def _zone(value: Any) -> tuple[bool, Any]:
    """Return whether this tzinfo travels as data, and the data."""
    zone = value.tzinfo
    if zone is None:
        return True, None
    return _known_zone(zone)


def _known_zone(zone: dt.tzinfo) -> tuple[bool, Any]:
    if type(zone) is dt.timezone:
        unnamed = dt.timezone(zone.utcoffset(None))
        if zone == unnamed and zone.tzname(None) == unnamed.tzname(None):
            return True, _duration(zone.utcoffset(None), _same)
    key = getattr(zone, "key", None) if type(zone).__module__ == "zoneinfo" else None
    return key is not None, key


def _same(value: Any) -> Any:
    return value


def _datetime(v: dt.datetime, _inner: _Inner) -> Any:
    known, zone = _zone(v)
    numbers = (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.fold)
    return f.Moment("datetime", numbers, zone) if known else None


def _time(v: dt.time, _inner: _Inner) -> Any:
    known, zone = _zone(v)
    numbers = (v.hour, v.minute, v.second, v.microsecond, v.fold)
    return f.Moment("time", numbers, zone) if known else None


def _date(v: dt.date, _inner: _Inner) -> Any:
    return f.Moment("date", (v.year, v.month, v.day))


def _timezone(v: dt.timezone, _inner: _Inner) -> Any:
    known, zone = _known_zone(v)
    return f.Moment("timezone", (), zone) if known else None


def _duration(v: dt.timedelta, _inner: _Inner) -> Any:
    return f.Moment("timedelta", (v.days, v.seconds, v.microseconds))


_WRAP: dict[type, Callable[[Any, _Inner], Any]] = {
    bytes: _bytes,
    complex: lambda v, _: f.Complex(v.real, v.imag),
    tuple: lambda v, inner: f.Tuple(_items(v, inner)),
    frozenset: lambda v, inner: f.FrozenSet(_items(v, inner)),
    range: lambda v, inner: f.Range(inner(v.start), inner(v.stop), inner(v.step)),
    slice: lambda v, inner: f.Slice(inner(v.start), inner(v.stop), inner(v.step)),
    **{type(constant): _name for constant in _CONSTANTS.values()},
    dt.datetime: _datetime,
    dt.date: _date,
    dt.time: _time,
    dt.timedelta: _duration,
    dt.timezone: _timezone,
    Decimal: lambda v, _: f.Number(str(v)),
}


def _constant(value: f.Constant, _inner: _Inner) -> Any:
    return _CONSTANTS[value.name]


def _moment(value: f.Moment, inner: _Inner) -> Any:
    numbers = value.fields
    if value.kind == "timedelta":
        return dt.timedelta(*numbers)
    if value.kind == "date":
        return dt.date(*numbers)
    if value.kind == "timezone":
        return _tzinfo(value.zone, inner)
    maker: Any = {"datetime": dt.datetime, "time": dt.time}[value.kind]
    return maker(*numbers[:-1], tzinfo=_tzinfo(value.zone, inner), fold=numbers[-1])


def _tzinfo(zone: Any, inner: _Inner) -> Any:
    if zone is None:
        return None
    if isinstance(zone, str):
        if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", zone):
            raise ValueError(f"{zone[:60]!r} is no time zone")
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(zone)
        except OSError as error:  # the folder of a continent
            raise ValueError(f"{zone[:60]!r} is no time zone") from error
    return dt.timezone(inner(zone))


_UNWRAP: dict[type, Callable[[Any, _Inner], Any]] = {
    f.Bytes: lambda v, _: v.data,
    f.Big: lambda v, _: int(v.digits, 16),
    f.Text: lambda v, _: v.data.decode("utf-8", "surrogatepass"),
    f.Complex: lambda v, _: complex(v.real, v.imag),
    f.Tuple: lambda v, inner: _items(v.items, inner),
    f.FrozenSet: lambda v, inner: frozenset(gathered(set(), _items(v.items, inner))),
    f.Range: lambda v, inner: range(inner(v.start), inner(v.stop), inner(v.step)),
    f.Slice: lambda v, inner: slice(inner(v.start), inner(v.stop), inner(v.step)),
    f.Constant: _constant,
    f.Moment: _moment,
    f.Number: lambda v, _: Decimal(v.digits),
}
