"""A day-long loop: a million calls that make and drop objects leave both processes as large as before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from there import There, there_with

SOURCE = """
import gc
class Thing:
    def __init__(self, n): self.n, self.data = n, [n]
    def __eq__(self, other): return self.n == other
def make(n): return Thing(n)
def call(f, x): return f(x)
def fail(n): raise ValueError([n])
"""
ROOM = 1 << 20  # bytes: a byte lost in every call would be as much


@pytest.fixture
def there() -> Iterator[There]:
    with there_with("soak", SOURCE) as made:
        yield made


class Mine:
    def __init__(self) -> None:
        self.x = [1]


def size(pid: int | None) -> int:
    assert pid is not None
    return int(psutil.Process(pid).memory_full_info().uss)


def measured(there: There) -> tuple[int, int]:
    gc.collect()
    there("gc.collect()")
    return size(os.getpid()), size(there.companion.pid)


@pytest.mark.timeout(600)
def test_a_million_calls_that_make_and_drop_objects_leave_memory_flat(there: There) -> None:
    make = there.make
    for n in range(20_000):
        make(n)
    before = measured(there)
    for n in range(1_000_000):
        make(n)
    after = measured(there)
    assert after[0] - before[0] < ROOM
    assert after[1] - before[1] < ROOM
    assert there.companion.stats["proxies"] < 10


@pytest.mark.timeout(300)
def test_every_other_kind_of_call_leaves_memory_flat_too(there: There) -> None:
    make, call, fail = there.make, there.call, there.fail
    last = there("lambda v: v[-1]")

    def step(n: int) -> None:
        thing, out, rows = make(n), list[Any](), [Mine(), Mine()]
        call(out.append, thing)
        call((lambda k: lambda x: x == k)(n), thing)
        call(last, rows)
        call(list, iter([thing]))
        for item in thing.data:
            assert item == n
        try:
            fail(n)
        except ValueError as error:
            assert error.args == ([n],)

    for n in range(1000):
        step(n)
    before = measured(there)
    for n in range(10_000):
        step(n)
    after = measured(there)
    assert after[0] - before[0] < ROOM
    assert after[1] - before[1] < ROOM
    assert len(there.companion._process.talk.lent) < 20  # type: ignore[union-attr]
