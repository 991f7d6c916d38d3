"""Values through the codec alone: wrap, encode, decode, unwrap."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolate_magic.link import frames as f
from isolate_magic.link import values


class Other(Exception):
    pass


def refuse(value: Any, _depth: int) -> Any:
    raise Other(type(value))


def through(value: Any) -> Any:
    packet = f.encode(f.Reply(1, values.wrap(value, refuse)))
    return values.unwrap(f.decode(packet).value, refuse)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (
            one == other
            and math.copysign(1, one) == math.copysign(1, other)
            or (one != one and other != other)
        )
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, slice):
        return same((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, (dt.datetime, dt.time)):
        return one == other and one.fold == other.fold and repr(one) == repr(other)
    return bool(one == other)


zones = st.none() | st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)))
leaves = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.complex_numbers()
    | st.binary() | st.text() | st.text(st.characters(exclude_categories=())) | st.just(...) | st.just(NotImplemented)
    | st.dates() | st.timedeltas() | st.times(timezones=zones) | st.datetimes(timezones=zones) | st.decimals()
)  # fmt: skip
hashable = st.none() | st.integers() | st.text() | st.binary()
everything = st.recursive(
    leaves | st.frozensets(hashable) | st.builds(range, st.integers(), st.integers(), st.integers(1)),
    lambda inner: st.lists(inner).map(tuple) | st.builds(slice, inner, inner, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(everything)
def test_every_value_of_the_table_survives_with_its_exact_type(value: Any) -> None:
    assert same(through(value), value)


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**5000, float("nan"), float("-inf"), -0.0,
        "\ud800", "a\0b", "", b"", (), frozenset(), Decimal("sNaN"), Decimal("-0.00"), range(5, -5, -2),
        dt.datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc), dt.timedelta(-1, 5, 7), dt.time(1, 2, fold=1), dt.timezone.utc,
        dt.timezone(dt.timedelta(hours=2)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_at_the_edges_survive(value: Any) -> None:
    assert same(through(value), value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        set(),
        object(),
        type("I", (int,), {})(1),
        type("S", (str,), {})("s"),
        dt.timezone(dt.timedelta(0), "X"),
    ],
)
def test_everything_else_is_left_to_the_caller(value: Any) -> None:
    with pytest.raises(Other):
        values.wrap(value, refuse)


def test_nesting_has_a_limit_on_both_sides() -> None:
    value: Any = ()
    for _ in range(values.DEPTH):
        value = (value,)
    assert through(value) == value
    with pytest.raises(RecursionError):
        values.wrap((value,), refuse)
    wire: Any = f.Tuple(())
    for _ in range(values.DEPTH + 5):
        wire = f.Tuple((wire,))
    with pytest.raises(ValueError, match="nested deeper"):
        values.unwrap(wire, refuse)


@pytest.mark.parametrize(
    "wire",
    [
        f.Constant("exit"), f.Big("zz"), f.Moment("datetime", (1,)), f.Moment("nothing", ()), f.Number("one"),
        f.Moment("datetime", (2020, 1, 1, 0, 0, 0, 0, 0), "../../etc/passwd"), f.Text(b"\xff"),
        f.Moment("datetime", (2020, 13, 1, 0, 0, 0, 0, 0)), f.Range(1, 2, 0), f.Range(1, 2.5, 1),
        f.Moment("time", (1, 2, 3, 4, 0), "America"),
    ],
    ids=lambda wire: type(wire).__name__,
)  # fmt: skip
def test_nonsense_is_an_error_and_nothing_else(wire: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, ArithmeticError)):
        made = values.unwrap(wire, refuse)
        hash(made)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        f.decode(b"\x93\x03\x01" + b"\xc1" + data)
    try:
        f.decode(data)
    except msgspec.MsgspecError:
        pass
