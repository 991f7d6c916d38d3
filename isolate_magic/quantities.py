"""Sizes, durations and counts as people write them, made into bytes, seconds and numbers (both sides)."""

from __future__ import annotations

import math
import operator
import re
from datetime import timedelta
from fractions import Fraction
from typing import Any

from isolate_magic.errors import PolicyError

_NUMBER = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{0,18})?)\s*([A-Za-z]{1,10})\s*")
_SIZES = {
    "b": 1,
    **{letter: 1024**n for n, letter in enumerate("kmgt", 1)},
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmgt", 1)},
}
_DURATIONS = {
    **dict.fromkeys(("ms",), Fraction(1, 1000)),
    **dict.fromkeys(("s", "sec", "second", "seconds"), Fraction(1)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), Fraction(60)),
    **dict.fromkeys(("h", "hour", "hours"), Fraction(3600)),
    **dict.fromkeys(("d", "day", "days"), Fraction(86400)),
}
_LONGEST = 10**9

SIZE = (
    'a number of bytes above 0, or text with a unit (B, kB, KiB, MB, MiB, GB, GiB, TB, TiB), such as "512MiB"'
)
DURATION = 'a number of seconds above 0, or text with a unit (ms, s, min, h, d), such as "30s" or "1.5h"'


def wrong(field: str, value: object, accepted: str) -> PolicyError:
    """Make the error for a value that a field of a policy does not take.

    Args:
        field: the field's name.
        value: what was given.
        accepted: what the field takes, with an example.
    """
    shown = repr(value)
    shown = shown if len(shown) <= 120 else f"{shown[:100]}..."
    return PolicyError(f"{field} = {shown}: {field} takes {accepted}")


def size(field: str, value: Any) -> int:
    """Return a size in bytes.

    K, M, G and T without a B count as KiB to TiB, as they do for ulimit and systemd; case does not matter.

    Args:
        field: the name of the policy's field, for the error.
        value: a whole number, or text such as "512MiB" or "1 GiB".

    Raises:
        PolicyError: it is no size, or not above zero.
    """
    if isinstance(value, str):
        amount = int(_measured(field, value, _SIZES, SIZE))
    elif isinstance(value, float) and value.is_integer():
        amount = int(value)
    else:
        amount = _whole(field, value, SIZE)
    if not 0 < amount < 1 << 62:
        raise wrong(field, value, SIZE)
    return amount


def duration(field: str, value: Any) -> float:
    """Return a duration in seconds.

    Args:
        field: the name of the policy's field, for the error.
        value: a number, a timedelta, or text such as "30s", "5min", "1.5h" or "250ms".

    Raises:
        PolicyError: it is no duration, or not above zero.
    """
    if isinstance(value, str):
        seconds = float(_measured(field, value, _DURATIONS, DURATION))
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LONGEST:
        seconds = float(value)
    else:
        raise wrong(field, value, DURATION)
    if not math.isfinite(seconds) or not 0 < seconds <= _LONGEST:
        raise wrong(field, value, DURATION)
    return seconds


def count(field: str, value: Any, lowest: int, highest: int) -> int:
    """Return a whole number between two others.

    Args:
        field: the name of the policy's field, for the error.
        value: the number.
        lowest: the least that is accepted.
        highest: the most that is accepted.

    Raises:
        PolicyError: it is no such number.
    """
    accepted = f"a whole number from {lowest} to {highest}"
    number = _whole(field, value, accepted)
    if not lowest <= number <= highest:
        raise wrong(field, value, accepted)
    return number


def spelled(amount: int) -> int | str:
    """Return a size as people write it if that is exact ("512MiB"), else the number of bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(amount, _SIZES[unit.lower()])
        if whole and not rest:
            return f"{whole}{unit}"
    return amount


def spoken(seconds: float) -> str:
    """Return a duration as people say it ("5 min"), in the largest unit that leaves nothing over."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _measured(field: str, text: str, units: dict[str, Any], accepted: str) -> Fraction:
    found = _NUMBER.fullmatch(text)
    unit: Fraction | int | None = units.get(found[2].lower()) if found else None
    if not found or unit is None:
        raise wrong(field, text, accepted)
    return Fraction(found[1].rstrip(".")) * unit


def _whole(field: str, value: Any, accepted: str) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise wrong(field, value, accepted)
