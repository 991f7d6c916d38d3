"""What is dropped on one side is freed on the other; counts stay exact; nothing grows."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with
from waiting import until

from isolate_magic import Companion

SOURCE = """
import gc
class Thing: pass
def make(n=1): return tuple(Thing() for _ in range(n))
def count():
    gc.collect()
    return sum(type(o) is Thing for o in gc.get_objects())
def identity(x): return x
def call(f): return f()
def boom(): raise Failed("x")
class Failed(Exception): pass
one = Thing()
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("releases", SOURCE) as made:
        yield made


def lent() -> int:
    from isolate_magic.link import packing

    return len(packing.here.lent)


def talk(there: There) -> Any:
    return there.companion._process.talk  # type: ignore[union-attr]


def test_a_dropped_proxy_frees_its_object(there: There) -> None:
    before = there.count()
    kept = there.make(5)
    assert there.count() == before + 5
    del kept
    until(lambda: there.count() == before, 1.0)


def test_a_dropped_proxy_frees_its_object_without_another_call(there: There) -> None:
    rung = threading.Event()
    there("class Bell:\n    def __init__(self, f): self.f = f\n    def __del__(self): self.f()")
    ring = [rung.set]
    bell = there.Bell(lambda: ring[0]())
    assert not rung.is_set()
    del bell
    gc.collect()
    assert rung.wait(1.0)


def test_an_object_sent_many_times_lives_as_long_as_its_proxy(there: There) -> None:
    assert there.identity(there.one) is not None  # the classes, which stay lent, are known from here on
    before = there.companion.call(lent)
    thing = there.one
    for _ in range(50):
        assert there.identity(thing) is thing
        assert there.one is thing
    (same, again) = there("(one, one)")
    assert same is again is thing
    del same, again
    assert there.companion.call(lent) <= before + 2
    del thing
    until(lambda: there.companion.call(lent) <= before, 1.0)


def test_an_object_sent_again_while_its_release_is_under_way_is_kept(there: There) -> None:
    for _ in range(300):
        assert type(there.identity(there.one)) is there.Thing


def test_a_hundred_thousand_proxies_live_and_die(there: There) -> None:
    before = there.companion.call(lent)
    proxies = [proxy for _ in range(100) for proxy in there.make(1000)]
    assert len({id(proxy) for proxy in proxies}) == 100_000
    assert there.companion.call(lent) >= 100_000
    assert there.identity(proxies[77_777]) is proxies[77_777]
    proxies.clear()
    until(lambda: there.companion.call(lent) <= before + 5, 10.0)


def test_a_great_many_proxies_are_freed_without_another_call(there: There) -> None:
    proxies = [proxy for _ in range(20) for proxy in there.make(1000)]
    drops = talk(there).drops
    proxies.clear()
    until(lambda: not drops, 2.0)


def test_making_and_dropping_does_not_grow_either_side(there: There) -> None:
    def round_trip() -> None:
        there_identity([1])
        there_make()
        there_call(results.copy)
        with pytest.raises(failed):
            there_boom()

    there_identity, there_make, there_call, there_boom, failed = (
        there.identity, there.make, there.call, there.boom, there.Failed,
    )  # fmt: skip
    results: list[Any] = []
    for _ in range(200):
        round_trip()
    gc.collect()
    there.count()
    host, remote, mine = len(gc.get_objects()), there("len(gc.get_objects())"), len(talk(there).lent)
    for _ in range(5_000):
        round_trip()
    gc.collect()
    there.count()
    assert there("len(gc.get_objects())") < remote + 500
    assert len(gc.get_objects()) < host + 500
    assert len(talk(there).lent) <= mine + 2
    assert len(talk(there).revival.proxies) < 100


def test_a_failed_transfer_lends_nothing(there: There) -> None:
    results: list[Any] = []
    before = len(talk(there).lent)
    for _ in range(20):
        with pytest.raises(TypeError):
            there.identity([results.append, ValueError("x"), threading.Lock()])
    assert len(talk(there).lent) <= before


def test_a_finalizer_here_may_use_the_companion_when_the_companion_lets_go(there: There) -> None:
    there("kept, told = [], []")
    told = there.told

    class Last:
        def hit(self) -> None:
            pass

        def __del__(self) -> None:
            told.append("gone")

    there.kept.append(Last().hit)
    there.kept.clear()
    there("gc.collect()")
    until(lambda: list(told) == ["gone"], 5.0)


def test_the_value_of_run_does_not_depend_on_semicolons(companion: Companion) -> None:
    companion.run_cell("5;")
    assert companion.run("7") == 7
    assert companion.run("8;") == 8
    with pytest.raises(SyntaxError):
        companion.run_cell("def f(:")
    assert companion.run("9") == 9


def test_the_value_of_run_is_held_by_nobody_but_its_caller(companion: Companion) -> None:
    companion.run("class Big: pass\nimport gc, weakref")
    watched = companion.run("big = Big(); seen = weakref.ref(big); seen")
    value = companion.run("_big = big; del big; _big")
    companion.run("del _big")
    assert watched() is not None
    del value
    until(lambda: companion.run("gc.collect(); seen() is None"))
    assert companion.run("len(Out)") == 0
