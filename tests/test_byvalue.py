"""`byvalue`: copies of what lives in a companion, with exact types."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from there import There, there_with
from waiting import until

from isolate_magic import Companion, TransferError, byvalue, isproxy

SOURCE = """
import collections, dataclasses, datetime, decimal, fractions, pathlib, socket, sys, threading, typing
import numpy as np
@dataclasses.dataclass
class Unknown:
    a: int
    b: object
class Point(typing.NamedTuple):
    x: object
    y: int = 2
class Plain:
    def __init__(self): self.x = [1]
def deep(n):
    x = []
    for _ in range(n): x = [x]
    return x
def cycle():
    x = [1]; x.append(x); return x
def shared():
    inner = [1]; return [inner, inner]
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("byvalue", SOURCE) as made:
        yield made


VALUES: list[Any] = [
    [], [1, "a", None, 2.5, (3, [4])], {}, {"a": 1, 2: [3], (4, 5): {6: 7}, None: 8}, set(), {1, "a", (2,)},
    frozenset({1, frozenset({2})}), bytearray(b"abc"), b"x" * 300_000, bytearray(200_000),
    collections.OrderedDict(a=1, b=[2]), collections.Counter("abca"), collections.deque([1, 2], maxlen=5),
    collections.deque([[1]]), collections.defaultdict(list, {"a": [1]}), collections.defaultdict(None, {1: 2}),
    collections.ChainMap({"a": 1}, {"b": [2]}), [dt.datetime(2020, 1, 2, 3, 4, 5, 6), dt.timedelta(1)],
    [decimal.Decimal("1.50")], [float("inf"), -0.0, 2**100, -(2**64)], ["\ud800", "é", "\0"], [range(3), slice(1, [2])],
    [True, 1, 1.0], [...], [complex(1, -2)], [[[[[[]]]]]],
]  # fmt: skip


@pytest.mark.parametrize(
    "value", VALUES, ids=lambda value: f"{type(value).__name__}-{str(value)[:20]!r}"[:40]
)
def test_builtin_values_come_with_their_exact_types(there: There, value: Any) -> None:
    there.companion.push({"value": value})
    copy = byvalue(there("[value][0]"))
    assert _shown(copy) == _shown(value)
    assert type(copy) is type(value)
    assert not isproxy(copy)


def _shown(value: Any) -> str:
    """Return the repr; that of a set depends on how it was filled, so its members are put in order."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(_shown, value))})"
    if type(value) in (list, tuple):
        return f"{type(value).__name__}({[_shown(item) for item in value]})"
    if type(value) is dict:
        return f"dict({[(_shown(key), _shown(item)) for key, item in value.items()]})"
    return repr(value)


def test_a_copy_is_independent(there: There) -> None:
    proxy = there("[[1]]")
    copy = byvalue(proxy)
    copy[0].append(2)
    assert proxy == [[1]]


def test_a_plain_object_is_returned_as_it_is() -> None:
    thing = [object()]
    assert byvalue(thing) is thing
    assert byvalue(5) == 5


def test_a_result_that_came_as_a_tuple_is_copied_member_by_member(there: There) -> None:
    values, vectors = byvalue(there("([1], {'a': 2})"))
    assert (type(values), type(vectors)) == (list, dict)
    point = byvalue(there("Point([1], 5)"))
    assert type(point.x) is list
    assert (point.y, type(point)) == (5, there.Point)
    plain = (1, (2, 3))
    assert byvalue(plain) is plain


def test_cyclic_and_shared_containers_keep_their_shape(there: There) -> None:
    cyclic = byvalue(there.cycle())
    assert cyclic[1] is cyclic
    one, other = byvalue(there.shared())
    assert one is other


def test_deep_containers_come_until_pickle_gives_up(there: There) -> None:
    copy = byvalue(there.deep(100))
    for _ in range(100):
        (copy,) = copy
    assert copy == []
    with pytest.raises(TransferError, match="cannot be copied out of the companion"):
        byvalue(there.deep(100_000))
    assert there("1") == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("threading.Lock()", "_thread.lock"),
        ("(i for i in ())", "generator"),
        ("socket.socket()", "socket"),
        ("[1, threading.Lock()]", "_thread.lock"),
        ("sys", "module"),
    ],
)
def test_what_cannot_be_copied_says_why(there: There, source: str, says: str) -> None:
    with pytest.raises(TransferError, match=says):
        byvalue(there(source))
    assert there("1") == 1


@dataclasses.dataclass
class Known:
    a: int
    b: list[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int


def test_a_dataclass_that_this_session_knows_is_an_instance_of_it(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("known_here")
    module.Known, module.Frozen = Known, Frozen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "known_here", module)
    there(
        "import dataclasses, sys, types\n"
        "known = sys.modules['known_here'] = types.ModuleType('known_here')\n"
        "exec('import dataclasses\\n@dataclasses.dataclass\\nclass Known:\\n    a: int\\n    b: list\\n'\n"
        "     '@dataclasses.dataclass(frozen=True, slots=True)\\nclass Frozen:\\n    a: int', vars(known))"
    )
    copy = byvalue(there("known.Known(1, [known.Frozen(2)])"))
    assert copy == Known(1, [Frozen(2)])
    assert (type(copy), type(copy.b[0])) == (Known, Frozen)


def test_a_dataclass_from_a_cell_comes_with_its_class(there: There) -> None:
    copy = byvalue(there("Unknown(1, np.arange(100_000))"))
    assert not isproxy(copy)
    assert (type(copy).__name__, copy.a, copy.b.sum()) == ("Unknown", 1, 4999950000)
    until(lambda: there.companion.call(_parked) == 0)


def _parked() -> int:
    from isolate_magic.link import packing

    return sum(type(entry[0]).__name__ == "_Parked" for entry in packing.here.lent._objects.values())


def test_other_objects_come_by_pickle(there: There) -> None:
    assert byvalue(there("Plain()")).x == [1]
    assert byvalue(there("fractions.Fraction(1, 3)")) == fractions.Fraction(1, 3)
    assert byvalue(there("pathlib.Path('/tmp')")) == pathlib.Path("/tmp")
    assert byvalue(there("lambda x: x + 1"))(2) == 3
    assert byvalue(there("[1].count"))(1) == 1


@pytest.mark.parametrize(
    "source",
    [
        "np.arange(6).reshape(2, 3)", "np.asfortranarray(np.ones((3, 4)))", "np.arange(20)[::3]", "np.array(5)",
        "np.empty((0, 3))", "np.array(['a', 'bcd'])", "np.array([b'a'])", "np.array([1+2j], dtype='c8')",
        "np.array(['2020-01-01', 'NaT'], dtype='M8[D]')", "np.array([1, 2], dtype='m8[ns]')", "np.array([True])",
        "np.zeros(2, dtype=[('a', 'i4'), ('b', 'f8', (2,)), ('c', [('d', 'U3')])])", "np.ones(3, '>i2')",
        "np.float16([1, 2])", "np.broadcast_to(np.arange(3), (4, 3))", "np.array([''], dtype='U0')",
        "np.array([b'ab'], dtype='V2')", "np.arange(300_000.)", "np.array([None, [1], 'a'], dtype=object)",
        "np.ma.array([1, 2], mask=[0, 1])", "np.array(['a', 'b'], dtype=np.dtypes.StringDType())",
    ],
)  # fmt: skip
def test_arrays_come_exactly(there: There, source: str) -> None:
    expected = eval(source, {"np": np})
    copy = byvalue(there(source))
    assert type(copy) is type(expected)
    assert (copy.dtype, copy.shape) == (expected.dtype, expected.shape)
    assert repr(copy) == repr(expected)
    assert copy.flags.writeable
    if "fortran" in source:
        assert copy.flags.f_contiguous


def test_arrays_inside_containers_come_too(there: There) -> None:
    copy = byvalue(there("{'a': np.arange(3), 'b': [np.float32(2), (np.ones(50_000),)]}"))
    assert copy["a"].tolist() == [0, 1, 2]
    assert (type(copy["b"][0]), copy["b"][1][0].sum()) == (np.float32, 50_000)


def test_byvalue_of_a_class_or_enum_member_is_the_one_here(there: There) -> None:
    assert byvalue(there("collections.OrderedDict")) is collections.OrderedDict
    assert byvalue(there("__import__('http').HTTPStatus.OK")) is __import__("http").HTTPStatus.OK
    assert isinstance(byvalue(there("__import__('http').HTTPStatus.OK")), enum.Enum)


def test_copies_leave_nothing_behind(there: There) -> None:
    proxy = there("{'a': np.arange(100_000), 'b': bytes(100_000)}")
    for _ in range(5):
        byvalue(proxy)
    until(lambda: there.companion.call(_parked) == 0)


def test_byvalue_of_a_stale_proxy_says_so() -> None:
    with Companion("byvalue-stale") as companion:
        items = companion.run("[1]")
        companion.stop()
        with pytest.raises(Exception, match="is gone"):
            byvalue(items)
