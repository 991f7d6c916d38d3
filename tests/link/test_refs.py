"""The counts of lent objects."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from types import SimpleNamespace

import pytest

from isolate_magic.link.refs import Claim, Lent, take


class Thing:
    pass


def test_an_object_has_one_number_and_a_count() -> None:
    lent, thing = Lent(object()), Thing()
    number = lent.lend(thing)
    assert lent.lend(thing) == number
    assert lent[number] is thing
    assert len(lent) == 1
    lent.drop((number, 1))
    assert lent[number] is thing
    lent.drop((number, 1))
    assert len(lent) == 0
    with pytest.raises(KeyError):
        lent[number]


def test_a_dropped_object_is_freed_and_its_number_never_used_again() -> None:
    lent, thing = Lent(object()), Thing()
    gone, number = weakref.ref(thing), lent.lend(thing)
    del thing
    gc.collect()
    assert gone() is not None
    lent.drop((number, 1))
    assert gone() is None
    assert lent.lend(Thing()) != number


@pytest.mark.parametrize("drops", [(99, 1), (2, 2), (2, 0), (2, -1), (1, 1 << 63)])
def test_a_count_that_was_never_given_is_refused(drops: tuple[int, ...]) -> None:
    lent = Lent(object())
    lent.lend(Thing())
    with pytest.raises(KeyError):
        lent.drop(drops)
    assert len(lent) == 1


def test_a_pinned_object_stays() -> None:
    lent = Lent(object())
    number = lent.pin(Thing)
    assert lent.pin(Thing) == lent.lend(Thing) == number
    lent.drop((number, 1))
    assert lent[number] is Thing


def test_a_finalizer_may_lend_and_drop_again() -> None:
    lent = Lent(object())

    class Nested:
        def __del__(self) -> None:
            lent.drop((lent.lend(Thing()), 1))

    number = lent.lend(Nested())
    lent.drop((number, 1))
    assert len(lent) == 0


def test_a_claim_gives_back_as_often_as_it_was_received() -> None:
    owner = SimpleNamespace(drops=deque())
    claim = Claim(owner, 7, "thing")
    claim.times += 2
    Claim(owner, 8, "a class", 0)
    del claim
    assert take(owner.drops) == (7, 3)
    assert take(owner.drops) == ()
