"""`byref`: objects of the main session that a companion uses in place."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with
from waiting import until

from isolate_magic import ProcessTerminationError, byref

SOURCE = """
kept = []
def keep(x): kept.append(x)
def run(f, *args): return f(*args)
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("reference", SOURCE) as made:
        yield made


class Account:
    def __init__(self) -> None:
        self.balance, self.log, self._secret = 0, [], "private"

    def pay(self, amount: int) -> Account:
        if amount < 0:
            raise ValueError("negative")
        self.balance += amount
        return self

    def __len__(self) -> int:
        return self.balance

    def __add__(self, other: Any) -> int:
        return self.balance + other

    def __getitem__(self, key: Any) -> Any:
        return (key, self.balance)

    def __enter__(self) -> Account:
        self.log.append("in")
        return self

    def __exit__(self, *exc: object) -> bool:
        self.log.append("out")
        return True


def test_the_object_here_is_used_and_stays_the_same_object(there: There) -> None:
    account = Account()
    there.run(there("def f(a): a.pay(5); a.balance += 1; a.note = 'x'\nf"), byref(account))
    assert (account.balance, account.note) == (6, "x")  # type: ignore[attr-defined]
    assert there.run(there("lambda a: a"), byref(account)) is account
    assert there.run(there("lambda a: a.pay(1)"), byref(account)).balance == 7
    assert there.run(there("lambda a, b: a is b"), byref(account), byref(account)) is True


def test_operators_and_with_blocks_reach_it(there: There) -> None:
    account = Account().pay(3)
    assert there.run(there("lambda a: (len(a), a + 4, a['k'])"), byref(account)) == (3, 7, ("k", 3))
    there.run(there("def f(a):\n    with a: raise KeyError\nf"), byref(account))
    assert account.log == ["in", "out"]


def test_what_it_leads_to_is_used_in_place_too(there: There) -> None:
    account, inner = Account(), Account()
    account.inner, account.table = inner, {"rows": [1]}  # type: ignore[attr-defined]
    there.run(
        there("def f(a): a.log.append(1); a.inner.pay(4); a.table['rows'].append(2)\nf"), byref(account)
    )
    assert (account.log, inner.balance, account.table) == ([1], 4, {"rows": [1, 2]})  # type: ignore[attr-defined]
    assert there.run(there("lambda a: a.inner"), byref(account)) is inner


def test_a_list_and_a_dict_by_reference(there: There) -> None:
    items, table = [1], {"a": 1}
    there.run(
        there("def f(i, t): i.append(len(i)); t['b'] = t['a'] + 1; del t['a']\nf"), byref(items), byref(table)
    )
    assert (items, table) == ([1, 1], {"b": 2})
    assert there.run(there("lambda i: [x for x in i]"), byref(items)) == [1, 1]


def test_exceptions_keep_their_identity(there: There) -> None:
    with pytest.raises(ValueError, match="negative"):
        there.run(there("lambda a: a.pay(-1)"), byref(Account()))


def test_it_is_used_for_as_long_as_it_is_kept_and_freed_then(there: There) -> None:
    account = Account()
    there.keep(byref(account))
    there("kept[0].pay(9)")
    assert account.balance == 9
    gone = weakref.ref(account)
    del account
    gc.collect()
    assert gone() is not None
    there("kept.clear()")
    until(lambda: (gc.collect(), gone())[1] is None)


def test_private_attributes_are_refused(there: There) -> None:
    forged = "a._isolate_.owner.call_host(a._isolate_.number, '__getattr__', ('_secret',), {})"
    for act in ("a._secret", "a.__dict__['x']", "setattr(a, '_secret', 1)", forged):
        with pytest.raises((AttributeError, KeyError)):
            there.run(there(f"lambda a: {act}"), byref(account := Account()))
        assert account._secret == "private"


def test_plain_values_and_proxies_are_what_they_are(there: There) -> None:
    assert byref(5) == 5
    remote = there("[1]")
    assert byref(remote) is remote


@pytest.mark.parametrize(
    "name", ["__class__", "__reduce_ex__", "__init__", "__subclasshook__", "pay", "__getattribute__"]
)
def test_only_what_is_on_offer_can_be_asked_for(name: str) -> None:
    with there_with("reference-attack", SOURCE) as there:
        attack = f"lambda a: a._isolate_.owner.call_host(a._isolate_.number, {name!r}, (), {{}})"
        with pytest.raises(ProcessTerminationError):
            there.run(there(attack), byref(Account()))
        assert there.companion.crash.kind == "protocol"


def test_a_container_there_finds_it_again(there: There) -> None:
    account, items, table = Account(), there("[]"), there("{}")
    items.append(byref(account))
    table[byref(account)] = 1
    assert byref(account) in items
    assert table[byref(account)] == 1
    items.remove(byref(account))
    assert len(items) == 0
