"""Functions given to a companion: which travel, which are called back, and what they may do."""

from __future__ import annotations

import functools
import gc
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with
from waiting import until

from isolate_magic import Companion

SOURCE = """
import os
def call(f, *args, **kwargs): return f(*args, **kwargs)
def identity(x): return x
def nest(f, n): return f(n)
kept = []
"""

counted: list[int] = []


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("callbacks", SOURCE) as made:
        yield made


def test_a_pure_function_runs_there(there: There) -> None:
    assert there.call(lambda: os.getpid()) == there.companion.pid  # noqa: PLW0108


def test_a_function_that_changes_a_list_here_runs_here(there: There) -> None:
    results: list[Any] = []
    there.call(results.append, 1)
    there.call(lambda x: results.append(x), 2)  # noqa: PLW0108
    there.call(lambda x: counted.append(x), 3)  # noqa: PLW0108
    assert (results, counted.pop()) == ([1, 2], 3)


def test_a_function_with_nonlocal_runs_here(there: There) -> None:
    total = 0

    def add(n: int) -> int:
        nonlocal total
        total += n
        return total

    assert [there.call(add, 2), there.call(add, 3), total] == [2, 5, 5]


def test_partials_and_bound_methods_run_where_their_state_is(there: There) -> None:
    class Tally:
        def __init__(self) -> None:
            self.n = 0

        def count(self, by: int) -> int:
            self.n += by
            return self.n

        def __call__(self) -> None:
            self.n += 100

    tally, items = Tally(), []
    assert there.call(tally.count, 2) == 2
    assert there.call(functools.partial(tally.count, 3)) == 5
    there.call(tally)
    assert tally.n == 105
    there.call(functools.partial(items.append, 7))
    assert items == [7]
    assert there.call(functools.partial(pow, 2), 5) == 32


def test_a_class_that_is_counted_up_is_counted_here(there: There) -> None:
    class Config:
        hits = 0

    def hit() -> None:
        Config.hits += 1

    there.call(hit)
    assert Config.hits == 1


def test_companion_call_always_runs_the_function_there(there: There) -> None:
    results: list[int] = []

    def work() -> int:
        results.append(1)
        return os.getpid()

    assert there.companion.call(work) == there.companion.pid
    assert results == []


def test_a_callback_gets_proxies_and_may_use_them(there: There) -> None:
    seen: list[Any] = []

    def look(items: Any) -> int:
        seen.append(items)
        items.append(4)
        return len(items)

    items = there("[1, 2, 3]")
    assert there.call(look, items) == 4
    assert seen[0] is items


def test_callbacks_nest_to_any_depth(there: There) -> None:
    trail: list[int] = []

    def down(n: int) -> int:
        trail.append(n)
        return 0 if n == 0 else there.nest(down, n - 1) + 1

    assert there.nest(down, 8) == 8
    assert trail == [*range(8, -1, -1)]


def test_a_function_from_here_is_the_same_when_it_returns(there: There) -> None:
    results: list[int] = []

    def mine() -> None:
        results.append(1)

    assert there.identity(mine) is mine
    assert there.identity([mine, mine])[1] is mine
    there.kept.append(mine)
    assert there.kept.pop() is mine


def test_results_of_callbacks_travel_like_arguments(there: There) -> None:
    made: list[Any] = []

    def give() -> Any:
        made.append(1)
        return {"list": [1, (2, None)], "proxy": there.kept, "f": give}

    result = there.call(give)
    assert result["list"] == [1, (2, None)]
    assert result["proxy"] is there.kept
    assert result["f"] is give


def test_a_callback_result_that_cannot_travel_is_an_error_there(there: There) -> None:
    made: list[int] = []

    def give() -> Any:
        made.append(1)
        return threading.Lock()

    with pytest.raises(TypeError, match="cannot travel"):
        there.call(give)
    assert there("1") == 1


def test_large_results_of_callbacks_arrive(there: There) -> None:
    made: list[int] = []

    def give() -> bytes:
        made.append(1)
        return bytes(300_000)

    assert there.call(there("lambda f: len(f())"), give) == 300_000


def test_a_callback_is_let_go_when_the_companion_forgets_it(there: There) -> None:
    class Target:
        def hit(self) -> None:
            pass

    target = Target()
    there.kept.append(target.hit)
    gone = weakref.ref(target)
    del target
    gc.collect()
    assert gone() is not None
    there.kept.clear()
    there("import gc; gc.collect()")
    until(lambda: there("0") == 0 and gc.collect() is not None and gone() is None)


def test_cached_functions_work(there: There) -> None:
    calls: list[int] = []

    @functools.lru_cache
    def slow(n: int) -> int:
        calls.append(n)
        return n * 2

    assert [there.call(slow, 4), there.call(slow, 4), calls] == [8, 8, [4]]


def test_a_sort_key_from_here(there: There) -> None:
    items = there("['bb', 'a', 'ccc']")
    order: list[str] = []

    def key(text: str) -> int:
        order.append(text)
        return -len(text)

    items.sort(key=key)
    assert list(items) == ["ccc", "bb", "a"]
    assert order == ["bb", "a", "ccc"]


@pytest.mark.parametrize(
    "argument", ["'y' * 500_000", "['a' * 300_000]", "'ä' * 200_000", "(1, 'z' * 400_000)"]
)
def test_large_arguments_of_a_callback_arrive(companion: Companion, argument: str) -> None:
    seen: list[Any] = []
    companion.push({"take": lambda value: seen.append(len(value))})
    companion.run(f"take({argument})")
    assert seen == [len(eval(argument))]


def test_a_function_that_has_travelled_is_one_function_on_both_sides(there: There) -> None:
    def square(x: int) -> int:
        return x * x

    there("handlers = []\ndef register(f): handlers.append(f)\ndef unregister(f): handlers.remove(f)")
    there.register(square)
    assert there("handlers[0]") is square
    assert there("handlers[0](3)") == 9
    there.unregister(square)
    assert there("len(handlers)") == 0
    gone = weakref.ref(square)
    del square
    until(lambda: (gc.collect(), gone())[1] is None)
