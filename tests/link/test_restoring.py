"""Mutable arguments: what the companion changes in them is changed here."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from there import There, there_with

from isolate_magic import Companion, ProcessTerminationError, TransferError, isproxy

SOURCE = """
import bisect, heapq, random
class Box: pass
def append(items, item): items.append(item)
def run(f, *args, **kwargs): return f(*args, **kwargs)
def fail(items):
    items.clear()
    raise LookupError("after the change")
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("restoring", SOURCE) as made:
        yield made


@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)


CHANGES = [
    ([3, 1, 2], "lambda v: v.sort()", [1, 2, 3]),
    ([1], "lambda v: v.extend(['a', 2.5, None, (1, 2), b'x'])", [1, "a", 2.5, None, (1, 2), b"x"]),
    ([1, 2], "lambda v: v.clear()", []),
    ({"a": 1}, "lambda v: v.update(b=2)", {"a": 1, "b": 2}),
    ({"a": 1, "b": 2}, "lambda v: v.pop('a')", {"b": 2}),
    ({1, 2}, "lambda v: (v.add(3), v.discard(1))", {2, 3}),
    (bytearray(b"abc"), "lambda v: v.__setitem__(0, 122)", bytearray(b"zbc")),
    (bytearray(300_000), "lambda v: v.extend(b'x')", bytearray(300_000) + b"x"),
    ([[1], [2]], "lambda v: v[1].append(3)", [[1], [2, 3]]),
    ({"k": {"deep": [1]}}, "lambda v: v['k']['deep'].append(2)", {"k": {"deep": [1, 2]}}),
    ([0] * 100_000, "lambda v: v.append(1)", [0] * 100_000 + [1]),
    ((1, [2]), "lambda v: v[1].append(3)", (1, [2, 3])),
]


@pytest.mark.parametrize(("thing", "change", "after"), CHANGES, ids=[change for _, change, _ in CHANGES])
def test_what_is_changed_there_is_changed_here(there: There, thing: Any, change: str, after: Any) -> None:
    import copy

    mine = copy.deepcopy(thing)
    there.run(there(change), mine)
    assert mine == after
    assert not any(map(isproxy, mine))


def test_the_standard_librarys_functions_work_in_place(there: There) -> None:
    numbers = [5, 3, 8, 1]
    remote = there.companion.load_module("heapq")
    remote.heapify(numbers)
    assert remote.heappop(numbers) == 1
    remote.heappush(numbers, 4)
    assert sorted(numbers) == [3, 4, 5, 8]
    assert heapq.nsmallest(2, numbers) == [3, 4]
    rows = [object() for _ in range(20)]
    kept = list(rows)
    there.companion.load_module("random").shuffle(rows)
    assert set(map(id, rows)) == set(map(id, kept))
    random.shuffle(rows)


def test_objects_in_a_container_keep_their_identity(there: There) -> None:
    points = [Point(2), Point(1), Point(3)]
    before = list(points)
    there.run(there("lambda v: v.sort(key=lambda p: p.x)"), points)
    assert [before.index(point) for point in points] == [1, 0, 2]
    assert points[0] is before[1]
    inner: list[int] = []
    outer = [inner]
    there.run(there("lambda v: (v.append(v[0]), v[0].append(1))"), outer)
    assert outer[0] is inner
    assert outer[1] is inner
    assert inner == [1]


def test_a_container_in_itself_stays_so(there: There) -> None:
    knot: list[Any] = []
    knot.append(knot)
    there.append(knot, 1)
    assert knot[0] is knot
    assert knot[1] == 1


def test_attributes_of_a_plain_object_come_back(there: There) -> None:
    point = Point(1)
    there.run(there("def move(p):\n    p.x += 4; p.tags.append('moved'); p.extra = 'new'\nmove"), point)
    assert (point.x, point.tags, point.extra) == (5, ["moved"], "new")  # type: ignore[attr-defined]


def test_what_is_new_and_no_data_comes_as_a_proxy(there: There) -> None:
    items: list[Any] = []
    there.run(there("lambda v: v.append([1])"), items)
    assert isproxy(items[0])
    assert items == [[1]]


def test_changes_come_back_with_an_exception(there: There) -> None:
    items = [1, 2]
    with pytest.raises(LookupError):
        there.fail(items)
    assert items == []


def test_arguments_by_name_and_inside_others_are_watched(there: There) -> None:
    named, inner = [1], {"a": [1]}
    there.run(there("def f(x, *, y): x['a'].append(2); y.append(2)\nf"), inner, y=named)
    assert (named, inner) == ([1, 2], {"a": [1, 2]})
    there.companion.call(lambda v: v.append(9), named)
    assert named == [1, 2, 9]


def test_what_is_not_changed_is_not_touched(there: There) -> None:
    items = [1.5, "x", (1, 2)]
    before = list(map(id, items))
    there.run(there("len"), items)
    assert list(map(id, items)) == before


def test_an_own_list_of_the_companion_is_no_copy(there: There) -> None:
    remote = there("mine = [1]; mine")
    there.append([remote], 5)
    there.append(remote, 2)
    assert there("mine") == [1, 2]


def test_a_callback_that_changes_the_same_list_meanwhile_does_not_mix_up_objects(there: There) -> None:
    first, second = Point(1), Point(2)
    items = [first, second]

    def here() -> None:
        items.reverse()

    there.run(there("def f(v, g): g(); v.append(v[0])\nf"), items, here)
    assert items == [first, second, first]
    assert items[2] is first


def test_an_object_taken_out_of_a_set_there_is_an_error_not_a_guess(there: There) -> None:
    class Key:
        pass

    keys = {Key()}
    with pytest.raises(TransferError, match="set given as an argument"):
        there.run(there("lambda v: v.clear()"), keys)
    assert len(keys) == 1


@pytest.mark.parametrize(
    "lie",
    [
        "f.Change(99, ())",
        "f.Change(-1, ())",
        "f.Change(1, (f.Place(7, 0),))",
        "f.Change(1, (f.Place(1, 10**6),))",
        "f.Change(1, (f.Place(1, -5),))",
        "f.Change(1, (f.Own(10**9),))",
        "f.Change(0, (1,))",
        "f.Change(2, (1, 2))",
    ],
)
def test_changes_that_make_no_sense_end_the_companion_and_change_nothing(lie: str) -> None:
    with Companion("restoring-attack") as companion:
        companion.run(
            "from isolate_magic.link import frames as f\n"
            "from isolate_magic.link.restoring import Watch, _shape\n"
            f"def lie(*_): Watch.changes = lambda self, wrap: f.Changes(_shape(self._containers), ({lie},))"
        )
        items, point = [1, 2], Point(1)
        with pytest.raises(ProcessTerminationError):
            companion.pull("lie")(items, point)
        assert (items, point) == ([1, 2], Point(1))
        assert companion.crash is not None
        assert companion.crash.kind == "protocol"


HALVES = {
    "a key that cannot be hashed": (lambda: {"k": 1}, "f.Change(2, (f.List(()), 2))"),
    "a member that cannot be hashed": (lambda: {1}, "f.Change(2, (f.Tuple((f.List(()),)), f.Tuple((1,))))"),
    "half a pair": (lambda: {"k": 1}, "f.Change(2, ('k', 1, 'l'))"),
    "numbers for bytes": (lambda: bytearray(b"ab"), "f.Change(2, (f.List((1, 2)),))"),
    "an attribute that is no text": (lambda: Point(1), "f.Change(2, (1, 2))"),
    "a place for a value": (lambda: [1], "f.Change(2, (f.Tuple((f.Place(1, 0),)),))"),
}


@pytest.mark.parametrize("name", HALVES)
def test_of_changes_that_make_no_sense_not_even_the_first_is_made(name: str) -> None:
    make, lie = HALVES[name]
    with Companion("restoring-attack") as companion:
        lying(companion, f"f.Change(1, (5,)), {lie}")
        first, second = [1, 2], make()
        with pytest.raises(ProcessTerminationError):
            companion.pull("lie")(first, second)
        assert (first, second) == ([1, 2], make())
        assert companion.crash is not None
        assert companion.crash.kind == "protocol"


def lying(companion: Companion, changes: str) -> None:
    """Let the companion tell these changes after every call."""
    companion.run(
        "from isolate_magic.link import frames as f\n"
        "from isolate_magic.link.restoring import Watch, _shape\n"
        f"def lie(*_): Watch.changes = lambda self, wrap: f.Changes(_shape(self._containers), ({changes},))"
    )


@dataclass(frozen=True)
class Fixed:
    x: int = 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Fixed, "'x', 2"),
        (Fixed, ""),
        (lambda: Point(1), "'x', 1, 'tags', None, '__reduce_ex__', f.Ref(0, 0, 4, 'builtins.int')"),
        (lambda: Point(1), "'x', 1, 'tags', None, '_repr_html_', f.Ref(0, 0, 4, 'builtins.str')"),
    ],
    ids=["frozen", "frozen and taken away", "how it is pickled", "how it is shown"],
)
def test_the_companion_changes_no_attribute_that_is_frozen_or_that_python_acts_on(
    make: Any, told: str
) -> None:
    with Companion("restoring-attack") as companion:
        lying(companion, f"f.Change(1, (5,)), f.Change(2, ({told + ',' if told else ''}))")
        first, second = [1], make()
        before = dict(vars(second))
        with pytest.raises(TransferError, match="frozen|acts on"):
            companion.pull("lie")(first, second)
        assert (first, vars(second)) == ([1], before)
        assert companion.run("6 * 7") == 42


def test_what_a_frozen_object_holds_can_change_and_private_attributes_too(there: There) -> None:
    holder = Holder([1], float("nan"))
    there.run(there("def f(h): h.items.append(2); h.__dict__['_cached'] = 3\nf"), holder)
    assert (holder.items, vars(holder)["_cached"]) == ([1, 2], 3)


@dataclass(frozen=True)
class Holder:
    items: list[int]
    number: float


def test_a_view_that_keeps_the_length_of_a_bytearray_is_an_error_and_nothing_changes(there: There) -> None:
    items, data = [1], bytearray(b"abc")
    with memoryview(data), pytest.raises(TransferError, match="view keeps it"):
        there.run(there("lambda v, b: (v.append(2), b.append(1))"), items, data)
    assert (items, data) == ([1], b"abc")


def test_changes_that_nobody_has_given_something_for_change_nothing() -> None:
    with Companion("restoring-attack") as companion:
        companion.run(
            "from isolate_magic.link import frames as f\n"
            "def lie(x): packet = f.Reply; f.Reply = lambda n, v, c=None: packet(n, v, "
            "f.Changes('xx', (f.Change(1, (9,)),)))"
        )
        assert companion.pull("lie")(1) is None
        assert companion.run("5") == 5
        items = [1]
        with pytest.raises(TransferError, match="cannot be told here"):
            companion.pull("lie")(items)
        assert items == [1]
