"""pandas objects as data: what survives the way from the companion, and what the host refuses."""

from __future__ import annotations

import ctypes
import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from isolate_magic.link import copying, frames, values
from isolate_magic.link.foreign import pandas as foreign

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")


def park(buffer):
    view = memoryview(buffer)
    return frames.Inline(bytes(view.cast("B")) if len(view) else b"")


def body(buffer):
    return buffer.data


def fill(buffer, address, length):
    ctypes.memmove(address, body(buffer), length)


def restore(value):
    def other(item, depth):
        return copying.rebuild(item, lambda part: values.unwrap(part, other, depth + 1), body, fill)

    return values.unwrap(value, other)


def pack(value):
    return copying.Copier(park, lambda _: None).copy(value)


def travel(value):
    return restore(frames.decode(frames.encode(frames.Reply(1, pack(value)))).value)


def same_index(one, two):
    pd.testing.assert_index_equal(one, two, exact=True)
    assert list(one.names) == list(two.names)
    assert getattr(one, "freq", None) == getattr(two, "freq", None)
    if isinstance(one, pd.MultiIndex):
        for left, right in zip(one.levels, two.levels, strict=True):
            same_index(left, right)
    else:
        assert one.dtype == two.dtype


def same_frame(one, two):
    assert type(two) is pd.DataFrame
    pd.testing.assert_frame_equal(
        one, two, check_freq=True, check_flags=True, check_index_type=True, check_column_type=True
    )
    assert list(one.dtypes) == list(two.dtypes)
    same_index(one.index, two.index)
    same_index(one.columns, two.columns)


COLUMNS = {
    "int8": np.array([1, -2, 3], "i1"),
    "uint64": np.array([1, 2, 2**64 - 1], "u8"),
    "float16": np.array([1, 2, np.nan], "f2"),
    "float": np.array([1.5, np.nan, np.inf]),
    "complex": np.array([1j, 2, np.nan], "c8"),
    "bool": np.array([True, False, True]),
    "swapped": np.array([1, 2, 3], ">i4"),
    "seconds": np.array([0, 10**11, "NaT"], "M8[s]"),
    "nanoseconds": np.array([1, 2, 3], "M8[ns]"),
    "lengths": np.array([1, 2, "NaT"], "m8[ms]"),
    "objects": np.array([None, "a", 3], object),
    "texts as objects": np.array(["a", "b", "\ud800"], object),
    "mixed objects": np.array([True, b"x", Decimal("1.10")], object),
    "times as objects": np.array([dt.datetime(2024, 1, 1), dt.date(2024, 1, 1), 2**70], object),
    "missing objects": np.array([pd.NA, pd.NaT, np.float32(1)], object),
    "stamps as objects": np.array(
        [pd.Timestamp(1), pd.Timestamp(2, tz="Asia/Tokyo"), pd.Timedelta(3)], object
    ),
    "string": pd.array(["a", None, "ü"], dtype="str"),
    "string with NA": pd.array(["a", pd.NA, ""], dtype=pd.StringDtype("python", na_value=pd.NA)),
    "category": pd.Categorical(["b", None, "a"], categories=["b", "a", "unused"], ordered=True),
    "numbers as categories": pd.Categorical([3, 1, 3]),
    "times as categories": pd.Categorical(pd.date_range("2024", periods=3, tz="Asia/Tokyo")),
    "UTC": pd.array(pd.to_datetime(["2024-01-01", None, "2024-06-01"], utc=True)),
    "Berlin": pd.array(
        pd.DatetimeIndex(["2024-01-01", None, "2024-06-01"]).as_unit("s").tz_localize("Europe/Berlin")
    ),
    "offset": pd.array(pd.date_range("2024", periods=3, tz=dt.timezone(dt.timedelta(hours=2)))),
    "zone named UTC": pd.array(pd.date_range("2024", periods=3, tz=ZoneInfo("UTC"))),
    "Int64": pd.array([1, None, 2**62 + 1], dtype="Int64"),
    "UInt8": pd.array([1, None, 255], dtype="UInt8"),
    "Float32": pd.array([1.5, None, 2], dtype="Float32"),
    "boolean": pd.array([True, None, False], dtype="boolean"),
}

INDEXES = {
    "range": pd.RangeIndex(10, -5, -3, name="r"),
    "empty range": pd.RangeIndex(0),
    "ints": pd.Index([3, 1, 1], dtype="i1", name=("a", 1)),
    "floats": pd.Index([0.5, np.nan]),
    "bools": pd.Index([True, False]),
    "objects": pd.Index(["a", 1, None, (1, 2)], dtype=object, name=7),
    "tuples": pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
    "texts": pd.Index(["a", None, "b"], dtype="str", name="t"),
    "texts as objects": pd.Index(["a", "b"], dtype=object),
    "masked": pd.Index([1, None, 3], dtype="Int32"),
    "empty": pd.Index([], dtype="f4"),
    "days": pd.date_range("2024-01-30", periods=4, name="day"),
    "month ends": pd.date_range("2024-01-30", periods=4, freq="ME", unit="s"),
    "business days": pd.date_range("2024-01-30", periods=40, freq="-2B"),
    "weeks": pd.date_range("2024-01-30", periods=4, freq="W-WED", tz="UTC"),
    "hours over a clock change": pd.date_range("2024-03-31", periods=5, freq="h", tz="Europe/Berlin"),
    "days over a clock change": pd.date_range("2024-03-30", periods=5, freq="D", tz="Europe/Berlin"),
    "days seen from elsewhere": pd.date_range("2024-03-30", periods=5, freq="D", tz="UTC").tz_convert(
        "Europe/Berlin"
    ),
    "no days": pd.date_range("2024", periods=0),
    "one day": pd.date_range("2024", periods=1),
    "days at random": pd.DatetimeIndex(["2024-01-05", None, "2024-01-01"]),
    "lengths": pd.timedelta_range("1h", periods=3, freq="90min", name="l"),
    "categories": pd.CategoricalIndex(["a", "b", "a"], categories=["b", "a"], ordered=True, name="c"),
    "product": pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None]),
    "levels of kinds": pd.MultiIndex.from_arrays(
        [pd.Categorical(["a", "b"]), pd.date_range("2024", periods=2), [1.5, np.nan]],
        names=["c", "d", ("e", 1)],
    ),
    "unused levels": pd.MultiIndex.from_product([["a", "b"], [1, 2]])[:1],
    "no rows": pd.MultiIndex.from_arrays([[], []], names=["x", "y"]),
}

FRAMES = {
    "all columns": pd.DataFrame(
        {name: pd.Series(array, dtype=array.dtype) for name, array in COLUMNS.items()}
    ),
    "one block": pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc")),
    "one block by columns": pd.DataFrame(np.asfortranarray(np.arange(12).reshape(4, 3))),
    "every second row": pd.DataFrame(np.arange(12).reshape(4, 3))[::2],
    "blocks in turns": pd.DataFrame({"a": [1], "b": [0.5], "c": [2], "d": [1.5], "e": ["x"]}),
    "names twice": pd.DataFrame([[1, 0.5, "x"]], columns=["a", "a", "b"]),
    "named levels": pd.DataFrame(
        np.ones((2, 4)),
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["i", "j"]),
        columns=pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=[None, "n"]),
    ),
    "a named axis": pd.DataFrame({"a": [1]}).rename_axis(columns="n", index="m"),
    "days as rows": pd.DataFrame({"a": range(3)}, index=pd.date_range("2024", periods=3)),
    "numbers as names": pd.DataFrame({0: [1], 2.5: [2], None: [3], dt.date(2024, 1, 1): [4]}),
    "nothing": pd.DataFrame(),
    "no columns": pd.DataFrame(index=["a", "b"]),
    "no rows": pd.DataFrame(
        {"a": np.array([], "i2"), "b": pd.array([], dtype="str"), "c": pd.Categorical([])}
    ),
    "zoned in one block": pd.DataFrame({n: pd.date_range("2024", periods=2, tz="UTC") for n in "ab"}).T,
    "objects in one block": pd.DataFrame(np.array([["a", 1], [None, 2.5]], object)),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_series_keeps_its_values_dtype_and_name(name):
    series = pd.Series(COLUMNS[name], dtype=COLUMNS[name].dtype, index=["a", "b", "c"], name=("n", 1))
    back = travel(series)
    pd.testing.assert_series_equal(series, back, check_freq=True, check_flags=True)
    assert back.dtype == series.dtype
    assert list(map(type, back)) == list(map(type, series))


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_keeps_its_class_names_and_frequency(name):
    back = travel(INDEXES[name])
    assert type(back) is type(INDEXES[name])
    same_index(INDEXES[name], back)


def test_a_range_stays_a_range():
    back = travel(pd.RangeIndex(10, -5, -3))
    assert (back.start, back.stop, back.step) == (10, -5, -3)


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_keeps_its_columns_rows_and_dtypes(name):
    same_frame(FRAMES[name], travel(FRAMES[name]))


def test_a_frame_comes_back_in_as_many_blocks_as_it_had():
    frame = pd.DataFrame({n: [n, n + 0.5][n % 2 :][:1] for n in range(20)})
    frame = frame.copy()  # joins the columns of a dtype
    assert len(travel(frame)._mgr.blocks) == len(frame._mgr.blocks) == 2


def test_a_frame_survives_a_pandas_that_takes_no_blocks(monkeypatch):
    monkeypatch.delattr(pd.api, "internals")
    for frame in FRAMES.values():
        same_frame(frame, travel(frame))


@pytest.mark.parametrize("missing", [np.nan, pd.NA], ids=str)
def test_strings_of_pyarrow_stay_strings_of_pyarrow(missing):
    pytest.importorskip("pyarrow")
    series = pd.Series(["a", None, "ü"], dtype=pd.StringDtype("pyarrow", na_value=missing))
    back = travel(series)
    assert back.dtype == series.dtype
    pd.testing.assert_series_equal(series, back)


def test_numbers_are_not_copied_in_the_companion():
    frame = pd.DataFrame(np.zeros((5, 3)))
    seen = []
    foreign.wrap_table(frame, lambda part: seen.append(part))
    blocks = seen[0]
    assert np.shares_memory(blocks[0][1][1], frame.to_numpy())


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_came_home_can_be_written(name):
    back = travel(FRAMES[name])
    if back.size:
        back.iloc[0, 0] = back.iloc[-1, 0]
    back.insert(0, back.columns[0] if len(back.columns) else "new", 1, allow_duplicates=True)
    assert len(back.columns) == len(FRAMES[name].columns) + 1


def test_a_frame_that_came_home_is_its_own():
    frame = pd.DataFrame(np.zeros((2, 2)))
    back = travel(frame)
    back.iloc[0, 0] = 5
    assert frame.iloc[0, 0] == 0
    assert back.iloc[0, 0] == 5


@pytest.mark.parametrize(
    "scalar",
    [
        pd.Timestamp("2024-01-01 12:00:00.123456789"),
        pd.Timestamp("2024-01-01").as_unit("s"),
        pd.Timestamp("2024-10-27 00:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2024-01-01T00:00+05:30"),
        pd.Timedelta(1, "ns"),
        pd.Timedelta("-3 days").as_unit("s"),
    ],
    ids=str,
)
def test_a_scalar_keeps_its_value_unit_and_zone(scalar):
    back = travel(scalar)
    assert type(back) is type(scalar)
    assert (back, back.unit, str(back)) == (scalar, scalar.unit, str(scalar))


@pytest.mark.parametrize("value", [pd.NaT, pd.NA], ids=str)
def test_a_missing_value_stays_the_one_there_is(value):
    assert travel(value) is value


def test_tables_travel_inside_other_things():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    series = {n: frame["a"] + n for n in range(20)}
    back = travel({"frames": [frame, frame.copy()], "series": series})
    same_frame(frame, back["frames"][0])
    same_frame(frame, back["frames"][1])
    for n in series:
        pd.testing.assert_series_equal(series[n], back["series"][n])


def test_tables_travel_inside_a_column():
    back = travel(pd.Series([pd.Series([1, 2]), [1, {"a": 2}], np.arange(3)]))
    pd.testing.assert_series_equal(back[0], pd.Series([1, 2]))
    assert back[1] == [1, {"a": 2}]
    assert back[2].tolist() == [0, 1, 2]


class Custom(pd.DataFrame):
    pass


def noted():
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["note"] = "x"
    return frame


@pytest.mark.parametrize(
    "value",
    [
        noted(),
        pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        Custom({"a": [1]}),
        pd.DataFrame({"a": pd.period_range("2024", periods=2, freq="M")}),
        pd.Series(pd.arrays.SparseArray([0, 1])),
        pd.Series(pd.cut([1, 2], 2)),
        pd.interval_range(0, 3),
        pd.period_range("2024", periods=2, freq="M"),
        pd.date_range("2024", periods=3, freq=pd.DateOffset(months=1, days=1)),
        pd.date_range("2024", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])),
        pd.Interval(0, 1),
        pd.Period("2024"),
        pd.DataFrame({"a": [1]}).groupby("a"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_lose_something_is_left_to_others(value):
    assert foreign.wrap_table(value, lambda part: part) is None


@pytest.mark.parametrize(
    "value", [pd.Series([object()]), pd.DataFrame({object(): [1]})], ids=["value", "name"]
)
def test_an_object_that_is_no_data_refuses_the_whole(value):
    with pytest.raises(copying.NoData):
        pack(value)


# ---------------------------------------------------------------- hostile bytes

INTS = ("numpy", np.arange(3))
TEXTS = ("string", "python", True, ("a", "b"))
ROWS = ("RangeIndex", 0, 3, 1, None)
HEADS = ("Index", TEXTS, None, None)
BLOCK = (np.array([0, 1]), ("numpy", np.ones((2, 3))))


def codes(*numbers, dtype="i1"):
    return np.array(numbers, dtype)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("os.system", ()),
        ("", ()),
        ("NaT", (1,)),
        ("NA", ("x",)),
        ("Period", (1,)),
        # numbers of parts, kinds of parts
        ("Series", ()),
        ("Series", (INTS, ROWS)),
        ("Series", (INTS, ROWS, "name", 1)),
        ("Series", (3, ROWS, None)),
        ("Series", ((), ROWS, None)),
        ("Series", (([],), ROWS, None)),
        ("Series", (("pickle", b""), ROWS, None)),
        ("Series", (("numpy",), ROWS, None)),
        ("Series", (("numpy", [1, 2, 3]), ROWS, None)),
        ("Series", (INTS, INTS, None)),
        ("Series", (INTS, np.arange(3), None)),
        ("Series", (INTS, ("DataFrame", (), ROWS, ROWS), None)),
        ("Series", (INTS, ROWS, [])),
        # arrays
        ("Series", (("numpy", np.ones((3, 1))), ROWS, None)),
        ("Series", (("numpy", np.array(3)), ROWS, None)),
        ("Series", (("numpy", np.array(["a", "b", "c"])), ROWS, None)),
        ("Series", (("numpy", np.zeros(3, "V8")), ROWS, None)),
        ("Series", (("numpy", np.zeros(3, [("a", "i4")])), ROWS, None)),
        ("Series", (("numpy", np.zeros(3, "M8[D]")), ROWS, None)),
        ("Series", (("numpy", np.zeros(3, "M8[25ns]")), ROWS, None)),
        ("Series", (("numpy", np.zeros(3, ">M8[ns]")), ROWS, None)),
        ("Series", (("numpy", np.zeros(3, "m8")), ROWS, None)),
        ("Series", (("object", "abc"), ROWS, None)),
        ("Series", (("object", range(10**12)), ROWS, None)),
        ("Series", (("object", [1, 2, 3]), ROWS, None)),
        ("Series", (("object", (1, 2)), ROWS, None)),
        ("Series", (("string", "python", True, ("a", 1, "c")), ROWS, None)),
        ("Series", (("string", "python", True, "abc"), ROWS, None)),
        ("Series", (("string", "disk", True, ("a", "b", "c")), ROWS, None)),
        ("Series", (("string", "python", None, ("a", "b", "c")), ROWS, None)),
        ("Series", (("zoned", np.arange(3), dt.datetime(2000, 1, 1, tzinfo=dt.UTC)), ROWS, None)),
        ("Series", (("zoned", np.zeros(3, "M8[ns]"), dt.datetime(2000, 1, 1)), ROWS, None)),
        ("Series", (("zoned", np.zeros(3, "M8[ns]"), "UTC"), ROWS, None)),
        ("Series", (("masked", np.arange(3), np.zeros(2, bool)), ROWS, None)),
        ("Series", (("masked", np.arange(3), np.zeros(3, "i1")), ROWS, None)),
        ("Series", (("masked", np.arange(3), np.zeros((3, 1), bool)), ROWS, None)),
        ("Series", (("masked", np.zeros(3, "c8"), np.zeros(3, bool)), ROWS, None)),
        ("Series", (("masked", np.zeros(3, "f2"), np.zeros(3, bool)), ROWS, None)),
        ("Series", (("masked", np.zeros(3, ">i4"), np.zeros(3, bool)), ROWS, None)),
        # categories
        ("Series", (("category", codes(0, 1, 2), HEADS, False), ROWS, None)),
        ("Series", (("category", codes(0, 1, -2), HEADS, False), ROWS, None)),
        ("Series", (("category", codes(0, 1, 2**62, dtype="i8"), HEADS, False), ROWS, None)),
        ("Series", (("category", codes(0, 1, 1, dtype="u1"), HEADS, False), ROWS, None)),
        ("Series", (("category", codes(0, 1, 1, dtype="f8"), HEADS, False), ROWS, None)),
        ("Series", (("category", codes(0, 1, 1, dtype=">i4"), HEADS, False), ROWS, None)),
        ("Series", (("category", np.zeros((3, 1), "i1"), HEADS, False), ROWS, None)),
        ("Series", (("category", codes(0, 1, 1), HEADS, "yes"), ROWS, None)),
        ("Series", (("category", codes(0, 1, 1), TEXTS, False), ROWS, None)),
        (
            "Series",
            (("category", codes(0, 1, 1), ("Index", ("numpy", np.zeros(2)), None, None), False), ROWS, None),
        ),
        (
            "Series",
            (("category", codes(0, 0, 0), ("Index", ("object", ([], [])), None, None), False), ROWS, None),
        ),
        ("CategoricalIndex", (("category", codes(0, 9), HEADS, False), None, None)),
        # indexes
        ("RangeIndex", (0, 3, 0, None)),
        ("RangeIndex", (0, 3.0, 1, None)),
        ("RangeIndex", (False, 3, 1, None)),
        ("RangeIndex", (0, 2**64, 1, None)),
        ("RangeIndex", (-(2**63) + 1, 2**63 - 1, 1, None)),
        ("RangeIndex", (0, 3, 1, [])),
        ("Index", (("numpy", np.zeros(2, "f2")), None, None)),
        ("Index", (("numpy", np.zeros(2, "M8[ns]")), None, None)),
        ("Index", (INTS, None, "D")),
        ("Index", (INTS, {}, None)),
        ("DatetimeIndex", (INTS, None, None)),
        ("DatetimeIndex", (("numpy", np.zeros(2, "M8[ns]")), None, "D")),
        ("DatetimeIndex", (("numpy", np.zeros(2, "M8[ns]")), None, "no frequency")),
        ("DatetimeIndex", (("numpy", np.zeros(2, "M8[ns]")), None, "9" * 30 + "D")),
        ("DatetimeIndex", (("numpy", np.zeros(2, "M8[ns]")), None, "9" * 300 + "D")),
        ("DatetimeIndex", (("numpy", np.zeros(2, "M8[ns]")), None, 5)),
        ("MultiIndex", ((), (), ())),
        ("MultiIndex", ((HEADS,), (codes(0),), ())),
        ("MultiIndex", ((HEADS,), (), ("x",))),
        ("MultiIndex", ((HEADS,), (codes(2),), ("x",))),
        ("MultiIndex", ((HEADS,), (codes(-2),), ("x",))),
        ("MultiIndex", ((HEADS,), (codes(0, dtype="u1"),), ("x",))),
        ("MultiIndex", ((HEADS,), ((0,),), ("x",))),
        ("MultiIndex", ([HEADS], [codes(0)], ["x"])),
        ("MultiIndex", ((HEADS,), (codes(0),), ([],))),
        ("MultiIndex", ((HEADS, HEADS), (codes(0), codes(0, 1)), ("x", "y"))),
        ("MultiIndex", ((("Index", ("numpy", np.zeros(2)), None, None),), (codes(0),), ("x",))),
        ("MultiIndex", ((("MultiIndex", (HEADS,), (codes(0),), ("x",)),), (codes(0),), ("x",))),
        # frames
        ("DataFrame", ((BLOCK,), ROWS, ROWS)),
        ("DataFrame", ((BLOCK,), HEADS, HEADS)),
        ("DataFrame", ((), ROWS, HEADS)),
        ("DataFrame", ((BLOCK, BLOCK), ROWS, HEADS)),
        ("DataFrame", (5, ROWS, HEADS)),
        ("DataFrame", ((5,), ROWS, HEADS)),
        ("DataFrame", (range(10**12), ROWS, HEADS)),
        ("DataFrame", ((range(10**12),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), range(10**12)),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), ("numpy",)),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), (*BLOCK[1], 5)),), ROWS, HEADS)),
        ("DataFrame", ((BLOCK[:1],), ROWS, HEADS)),
        ("DataFrame", (((*BLOCK, 3),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 0), BLOCK[1]),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 2), BLOCK[1]),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, -1), BLOCK[1]),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1, dtype="f8"), BLOCK[1]),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), ("numpy", np.ones((3, 2)))),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), INTS),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), ("object", (1, 2, 3))),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), ("masked", np.arange(3), np.zeros(3, bool))),), ROWS, HEADS)),
        ("DataFrame", (((codes(0, 1), ("numpy", np.full((2, 3), "a"))),), ROWS, HEADS)),
        ("DataFrame", ((), ROWS, ("RangeIndex", 0, 2**62, 1, None))),
        # scalars
        ("Timestamp", (5, None)),
        ("Timestamp", ("now", None)),
        ("Timestamp", (np.int64(5), None)),
        ("Timestamp", (np.timedelta64(5, "ns"), None)),
        ("Timestamp", (np.datetime64(5, "Y"), None)),
        ("Timestamp", (np.datetime64(5, "ns"), "UTC")),
        ("Timestamp", (np.datetime64(5, "ns"), dt.datetime(2000, 1, 1))),
        ("Timedelta", (np.datetime64(5, "ns"),)),
        ("Timedelta", ("5 days",)),
        ("Timedelta", (np.array([5], "m8[ns]"),)),
        ("Timedelta", (np.zeros((), [("a", "i4")])[()],)),
    ],
)
def test_parts_that_do_not_fit_are_refused(kind, parts):
    with pytest.raises((ValueError, TypeError)):
        foreign.unwrap_table(frames.Table(kind, parts), lambda part: part)


def test_the_refusal_is_short_however_long_the_kind():
    with pytest.raises(ValueError, match="does not belong") as caught:
        foreign.unwrap_table(frames.Table("x" * 10_000, ()), lambda part: part)
    assert len(str(caught.value)) < 200


def test_every_kind_of_part_that_fits_is_taken():
    back = foreign.unwrap_table(frames.Table("DataFrame", ((BLOCK,), ROWS, HEADS)), lambda part: part)
    assert back.shape == (3, 2)


def test_strings_of_pyarrow_come_as_python_strings_where_there_is_no_pyarrow(monkeypatch):
    made = pd.StringDtype

    def without(storage, na_value):
        if storage == "pyarrow":
            raise ImportError(storage)
        return made(storage, na_value=na_value)

    monkeypatch.setattr(pd, "StringDtype", without)
    parts = (("string", "pyarrow", True, ("a", None)), ("RangeIndex", 0, 2, 1, None), None)
    back = foreign.unwrap_table(frames.Table("Series", parts), lambda part: part)
    assert back.dtype == made("python", na_value=np.nan)
    assert back.isna().tolist() == [False, True]
