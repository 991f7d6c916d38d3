"""Iteration over containers of a companion: many items a trip, and nobody can tell."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with

from isolate_magic import StaleProxyError

SOURCE = """
import collections, gc, threading, time
class Loud(list):
    def __getitem__(self, n): log.append(n); return super().__getitem__(n)
class Sequence:
    def __getitem__(self, n):
        log.append(n)
        if n > 5: raise IndexError
        return n
log = []
"""

CONTAINERS = [
    "[n for n in range(1000)]",
    "{n: str(n) for n in range(1000)}",
    "{n: str(n) for n in range(1000)}.values()",
    "{n: str(n) for n in range(1000)}.items()",
    "set(range(1000))",
    "collections.deque(range(1000))",
    "collections.OrderedDict((n, n) for n in range(1000))",
    "collections.Counter('abracadabra')",
    "[[n] for n in range(100)]",
    "__import__('numpy').arange(1000.0)",
    "__import__('numpy').arange(12).reshape(4, 3)",
    "Sequence()",
    "Loud([1, 2, 3])",
    "(n for n in [1, 2, 3])",
    "[]",
]


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("prefetch", SOURCE) as made:
        yield made


def requests_of(there: There, act: Any) -> int:
    """Return how many requests an act makes."""
    talk = there.companion._process.talk  # type: ignore[union-attr]
    before = next(talk.numbers)
    act()
    return next(talk.numbers) - before - 1


def plain(items: Any) -> list[str]:
    return [repr(item) for item in items]


@pytest.mark.parametrize("source", CONTAINERS)
def test_a_loop_sees_what_a_loop_there_sees(there: There, source: str) -> None:
    expected = there(f"[repr(x) for x in {source}]")
    assert plain(there(source)) == list(expected)


@pytest.mark.parametrize("source", [source for source in CONTAINERS if "1000" in source])
def test_a_long_loop_makes_few_requests(there: There, source: str) -> None:
    container = there(source)
    assert requests_of(there, lambda: sum(1 for _ in container)) < 40


def test_an_item_more_or_less_in_the_loop_is_seen_at_once(there: There) -> None:
    items, seen = there("list(range(50))"), []
    for item in items:
        seen.append(item)
        if item == 20:
            items.insert(21, "new")
        if item == 30:
            items.pop()
    mine, here = list(range(50)), []
    for item in mine:
        here.append(item)
        if item == 20:
            mine.insert(21, "new")
        if item == 30:
            mine.pop()
    assert seen == here


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("{n: n for n in range(50)}", lambda c: operator.setitem(c, "new", 1)),
        ("set(range(50))", lambda c: c.add("new")),
        ("collections.deque(range(50))", lambda c: c.append("new")),
    ],
)
def test_a_change_of_size_in_the_loop_is_the_error_it_always_is(
    there: There, source: str, change: Any
) -> None:
    container, steps = there(source), 0
    with pytest.raises(RuntimeError, match="(changed size|mutated) during iteration"):
        for _ in container:
            steps += 1
            if steps == 20:
                change(container)
    assert steps == 20


def test_new_values_of_a_dict_are_seen_in_the_loop(there: There) -> None:
    table, seen = there("{n: 0 for n in range(20)}"), []
    for key, value in table.items():
        seen.append(value)
        if key == 10:
            table[15] = "new"
    assert seen[15] == "new"


def test_an_iterator_used_in_between_stands_where_it_should(there: There) -> None:
    steps = iter(there("list(range(100))"))
    first = [next(steps) for _ in range(30)]
    assert first == list(range(30))
    assert there("lambda it: next(it)")(steps) == 30
    assert operator.length_hint(steps) == 69
    assert [next(steps), next(steps)] == [31, 32]
    assert list(steps) == list(range(33, 100))
    assert list(steps) == []


def test_two_iterators_at_once_do_not_disturb_each_other(there: There) -> None:
    items = there("list(range(60))")
    assert list(zip(items, iter(items), strict=True)) == [(n, n) for n in range(60)]


def test_another_thread_of_the_companion_stops_looking_ahead(there: There) -> None:
    there("stop = threading.Event(); t = threading.Thread(target=stop.wait); t.start()")
    items = there("list(range(64))")
    try:
        assert requests_of(there, lambda: list(iter(items))) > 64
    finally:
        there("stop.set(); t.join()")
    assert requests_of(there, lambda: list(iter(items))) < 20


def test_large_items_are_not_piled_up(there: There) -> None:
    items = there("['x' * 1_000_000 for _ in range(50)]")
    first = iter(items)
    for _ in range(10):
        next(first)
    assert len(first._isolate_.ahead) <= 1


def test_objects_looked_at_are_freed_with_the_loop(there: There) -> None:
    there("class Thing: pass\nthings = [Thing() for _ in range(200)]")
    for number, thing in enumerate(there("things")):
        if number == 100:
            break
    del thing
    there("import weakref; refs = [weakref.ref(t) for t in things]; things.clear(); things = None")
    from waiting import until

    until(lambda: there("gc.collect(); sum(r() is not None for r in refs)") == 0)


def test_a_loop_over_a_dead_companions_list_says_so() -> None:
    with there_with("prefetch-dead") as there:
        steps = iter(there("list(range(100))"))
        for _ in range(20):
            next(steps)
        there.companion.restart()
        with pytest.raises(StaleProxyError):
            next(steps)
