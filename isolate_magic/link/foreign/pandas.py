"""pandas frames, series, indexes and scalars as data: a kind and its parts, checked (both sides).

The companion describes an object in nested tuples; the host makes it again from a fixed list of kinds.
An array of values is described as `("numpy", array)`, `("object", items)`, `("string", storage, nan, items)`,
`("category", codes, index, ordered)`, `("zoned", array, moment)` or `("masked", array, mask)`; an index
as the name of its class and its parts. Periods, intervals, sparse and Arrow arrays are no data here.
"""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from isolate_magic.link import frames as f

_KINDS = "biufcmM"
_UNITS = (("s", 1), ("ms", 1), ("us", 1), ("ns", 1))
_INT64 = range(-(1 << 63), 1 << 63)
_FREQUENCY = 60  # characters


class _NoData(Exception):
    """Say that something in a table has no form as data."""


def _pandas() -> Any:
    return importlib.import_module("pandas")


# ---------------------------------------------------------------- companion


def wrap_table(value: Any, inner: Callable[[Any], Any]) -> f.Table | None:
    """Turn a pandas object into data, or return None if it is not of a kind that travels.

    Args:
        value: an instance of a class of pandas.
        inner: turns a value inside it into a frame value.

    Raises:
        TypeError, ValueError: `inner` could not turn some value inside it.
    """
    try:
        kind, *parts = _describe(value)  # keeps the views alive while the caller tells them apart by id
    except _NoData:
        return None
    return f.Table(kind, tuple(map(inner, parts)))


def _describe(value: Any) -> tuple[Any, ...]:
    pd = _pandas()
    kind = type(value)
    if kind is pd.Timestamp:
        return "Timestamp", value.asm8, None if value.tz is None else _moment(value.tz)
    if kind is pd.Timedelta:
        return "Timedelta", value.asm8
    if value is pd.NaT or value is pd.NA:
        return ("NaT" if value is pd.NaT else "NA",)
    if kind not in (pd.DataFrame, pd.Series):
        return _index(value)
    if value.attrs or not value.flags.allows_duplicate_labels:
        raise _NoData("attributes and flags")
    if kind is pd.Series:
        return "Series", _column(value), _index(value.index), value.name
    return "DataFrame", tuple(_blocks(value)), _index(value.index), _index(value.columns)


def _moment(zone: dt.tzinfo) -> dt.datetime:
    """Return a datetime that carries a time zone: zones alone do not travel."""
    return dt.datetime(2000, 1, 1, tzinfo=zone)


def _blocks(frame: Any) -> Iterator[tuple[Any, Any]]:
    """Describe the columns as pandas stores them: column numbers and the values of these columns."""
    import numpy as np

    for block in frame._mgr.blocks:
        values, places = block.values, block.mgr_locs.as_array
        if isinstance(values.dtype, np.dtype) and values.dtype.kind != "O":
            yield places.copy(), _column(values)
        else:
            for n in range(len(places)):
                yield places[n : n + 1].copy(), _column(values if values.ndim == 1 else values[n])


def _column(values: Any) -> tuple[Any, ...]:
    """Describe the values of a series, an index or an array; the arrays in it are views."""
    import numpy as np

    pd = _pandas()
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        array = np.asarray(values)
        return ("object", tuple(array.tolist())) if dtype.kind == "O" else ("numpy", array.view())
    values = getattr(values, "array", values)
    if type(dtype) is pd.StringDtype:
        items = values.astype(object)
        items[values.isna()] = None
        return "string", dtype.storage, dtype.na_value is not pd.NA, tuple(items.tolist())
    if type(dtype) is pd.CategoricalDtype:
        return "category", values.codes.view(), _index(values.categories), values.ordered
    if type(dtype) is pd.DatetimeTZDtype:
        return "zoned", values.asi8.view(f"M8[{dtype.unit}]"), _moment(dtype.tz)
    if type(values) in (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray):
        return "masked", values._data.view(), values._mask.view()
    raise _NoData(f"an array of {dtype}")


def _index(index: Any) -> tuple[Any, ...]:
    pd = _pandas()
    kind = type(index)
    if kind is pd.RangeIndex:
        return "RangeIndex", index.start, index.stop, index.step, index.name
    if kind is pd.MultiIndex:
        codes = tuple(code.view() for code in index.codes)
        return "MultiIndex", tuple(map(_index, index.levels)), codes, tuple(index.names)
    if kind in (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex, pd.CategoricalIndex):
        return kind.__name__, _column(index), index.name, _frequency(getattr(index, "freq", None))
    raise _NoData(kind.__name__)


def _frequency(offset: Any) -> str | None:
    """Return the frequency as text, if the text says all of it."""
    if offset is None:
        return None
    text: str = offset.freqstr
    try:
        whole = len(text) <= _FREQUENCY and _pandas().tseries.frequencies.to_offset(text) == offset
    except ValueError:
        whole = False
    if not whole:
        raise _NoData(text)
    return text


# ---------------------------------------------------------------- host


def unwrap_table(value: f.Table, inner: Callable[[Any], Any]) -> Any:
    """Make the pandas object again, of arrays of our own.

    Args:
        value: the data.
        inner: turns a part back into a value.

    Raises:
        ValueError, TypeError: the kind is unknown, or its parts do not fit each other.
    """
    parts = value.kind, *map(inner, value.parts)
    try:
        return _make(_TABLES, parts)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError) as error:
        raise ValueError(f"pandas refuses a {value.kind}: {str(error)[:200]}") from error


def _check(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(f"a table with {what}")


def _make(makers: _Makers, parts: Any) -> Any:
    """Call the maker that the first part names with the other parts."""
    _check(type(parts) is tuple and parts and type(parts[0]) is str, "no description")
    kind, *rest = parts
    _check(kind in makers, f"{kind[:60]!r} where it does not belong")
    count, maker = makers[kind]
    _check(len(rest) == count, f"{len(rest)} parts of a {kind}")
    return maker(*rest)


def _array(array: Any, kinds: str = _KINDS, ndim: int = 1) -> Any:
    """Return an array that pandas can hold as it is."""
    import numpy as np

    _check(type(array) is np.ndarray and array.ndim == ndim, f"no array of {ndim} dimensions")
    _check(array.dtype.kind in kinds, f"an array of {array.dtype}")
    if array.dtype.kind in "mM" or kinds != _KINDS:
        _check(array.dtype.isnative, "an array in another byte order")
    if array.dtype.kind in "mM":
        _check(np.datetime_data(array.dtype) in _UNITS, f"an array of {array.dtype}")
    return array


def _codes(codes: Any, size: int) -> Any:
    """Return codes that all are -1 or a place below `size`: pandas itself reads where they point."""
    _array(codes, "i")
    _check(codes.min(initial=-1) >= -1 and codes.max(initial=-1) < size, f"codes beyond its {size} values")
    return codes


def _objects(items: Any) -> Any:
    import numpy as np

    _check(type(items) is tuple, "objects that are no tuple")
    return np.fromiter(items, dtype=object, count=len(items))


def _strings(storage: Any, nan: Any, items: Any) -> Any:
    pd = _pandas()
    _check(storage in ("python", "pyarrow") and type(nan) is bool, "strings of unknown storage")
    _check(type(items) is tuple and set(map(type, items)) <= {str, type(None)}, "strings that are none")
    missing = float("nan") if nan else pd.NA
    try:
        dtype = pd.StringDtype(storage, na_value=missing)
    except ImportError:
        dtype = pd.StringDtype("python", na_value=missing)
    return pd.array(list(items), dtype=dtype)


def _category(codes: Any, categories: Any, ordered: Any) -> Any:
    index = _make(_FLAT, categories)
    _check(type(ordered) is bool, "categories of unknown order")
    return _pandas().Categorical.from_codes(_codes(codes, len(index)), index, ordered=ordered)


def _zoned(array: Any, moment: Any) -> Any:
    index = _pandas().DatetimeIndex(_array(array, "M"), copy=False)
    return index.tz_localize("UTC").tz_convert(_zone(moment)).array


def _zone(moment: Any) -> dt.tzinfo:
    if type(moment) is not dt.datetime or moment.tzinfo is None:
        raise ValueError("a table with no time zone")
    return moment.tzinfo


def _masked(array: Any, mask: Any) -> Any:
    arrays = _pandas().arrays
    _check(_array(mask, "b").shape == _array(array, "biuf").shape, "a mask of another length")
    makers = {"b": arrays.BooleanArray, "f": arrays.FloatingArray}
    return makers.get(array.dtype.kind, arrays.IntegerArray)(array, mask)


def _range(start: Any, stop: Any, step: Any, name: Any) -> Any:
    _check(all(type(n) is int and n in _INT64 for n in (start, stop, step)), "a range of no 64-bit numbers")
    _check(step and len(range(start, stop, step)) in _INT64, "a range of no length")
    return _pandas().RangeIndex(start, stop, step, name=name)


def _flat(kind: str, column: Any, name: Any, frequency: Any) -> Any:
    values = _make(_COLUMNS, column)
    index = _pandas().Index(values, dtype=values.dtype, name=name, copy=False, tupleize_cols=False)
    _check(type(index).__name__ == kind, f"a {kind} of {values.dtype}")
    if frequency is not None:
        _check(kind in ("DatetimeIndex", "TimedeltaIndex"), f"a frequency of a {kind}")
        _check(type(frequency) is str and len(frequency) <= _FREQUENCY, "a frequency that is none")
        index.freq = frequency
    return index


def _multi(levels: Any, codes: Any, names: Any) -> Any:
    _check({type(levels), type(codes), type(names)} == {tuple}, "levels that are no tuple")
    _check(len(levels) == len(codes) == len(names), "levels, codes and names that disagree")
    made = [_make(_FLAT, level) for level in levels]
    _check(all(level.is_unique for level in made), "a value twice in a level")
    checked = [_codes(code, len(level)) for code, level in zip(codes, made, strict=True)]
    return _pandas().MultiIndex(levels=made, codes=checked, names=names)


def _series(column: Any, index: Any, name: Any) -> Any:
    values, rows = _make(_COLUMNS, column), _make(_INDEXES, index)
    _check(len(values) == len(rows), f"{len(values)} values and an index of {len(rows)}")
    return _pandas().Series(values, index=rows, dtype=values.dtype, name=name, copy=False)


def _frame(blocks: Any, index: Any, columns: Any) -> Any:
    import numpy as np

    rows, heads = _make(_INDEXES, index), _make(_INDEXES, columns)
    _check(type(blocks) is tuple, "blocks that are no tuple")
    made = [_block(block, len(rows)) for block in blocks]
    places = np.concatenate([np.empty(0, np.int64), *(places for _, places in made)])
    _check(len(places) == len(heads), f"{len(places)} columns and {len(heads)} names")
    _check(np.array_equal(np.sort(places), np.arange(len(heads))), "columns that do not follow each other")
    return _assemble(made, rows, heads)


def _block(block: Any, rows: int) -> tuple[Any, Any]:
    """Return the values of some columns, as (columns, rows) or an array of pandas, and their numbers."""
    _check(type(block) is tuple and len(block) == 2 and type(block[1]) is tuple, "no block")
    places, column = _array(block[0], "i"), block[1]
    if len(column) == 2 and column[0] == "numpy":
        values = _array(column[1], ndim=2)
    else:
        values = _make(_COLUMNS, column)
        if values.dtype == object:
            values = values.reshape(1, -1)
    shape = (len(places), rows) if values.ndim == 2 else (rows,)
    _check(values.shape == shape and (values.ndim == 2 or len(places) == 1), "columns of other lengths")
    return values, places


def _assemble(blocks: list[tuple[Any, Any]], index: Any, columns: Any) -> Any:
    """Make a frame of blocks that fit, without another copy."""
    pd = _pandas()
    if hasattr(pd.api, "internals"):
        return pd.api.internals.create_dataframe_from_blocks(blocks, index=index, columns=columns)
    series = {}  # pandas 2 takes no blocks
    for values, places in blocks:
        for place, row in zip(places.tolist(), values if values.ndim == 2 else [values], strict=True):
            series[place] = pd.Series(row, index=index, dtype=row.dtype, copy=False)
    frame = pd.DataFrame(dict(sorted(series.items())), index=index, copy=False)
    frame.columns = columns
    return frame


def _timestamp(scalar: Any, moment: Any) -> Any:
    made = _pandas().Timestamp(_scalar(scalar, "M"))
    return made if moment is None else made.tz_localize("UTC").tz_convert(_zone(moment))


def _scalar(scalar: Any, kind: str) -> Any:
    import numpy as np

    _check(isinstance(scalar, np.generic), "no scalar")
    return _array(np.array([scalar]), kind)[0]


_Makers = dict[str, tuple[int, Callable[..., Any]]]
_COLUMNS: _Makers = {
    "numpy": (1, _array),
    "object": (1, _objects),
    "string": (3, _strings),
    "category": (3, _category),
    "zoned": (2, _zoned),
    "masked": (2, _masked),
}
_FLAT: _Makers = {
    kind: (3, partial(_flat, kind))
    for kind in ("Index", "DatetimeIndex", "TimedeltaIndex", "CategoricalIndex")
} | {"RangeIndex": (4, _range)}
_INDEXES: _Makers = _FLAT | {"MultiIndex": (3, _multi)}
_TABLES: _Makers = _INDEXES | {
    "DataFrame": (3, _frame),
    "Series": (3, _series),
    "Timestamp": (2, _timestamp),
    "Timedelta": (1, lambda scalar: _pandas().Timedelta(_scalar(scalar, "m"))),
    "NaT": (0, lambda: _pandas().NaT),
    "NA": (0, lambda: _pandas().NA),
}
