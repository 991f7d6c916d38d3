"""Objects of a companion, used from here: operators, iteration, attributes, copies, staleness."""

from __future__ import annotations

import copy
import itertools
import json
import os
import pickle
import pydoc
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from there import There, there_with

from isolate_magic import Companion, StaleProxyError, TransferError, isproxy

SOURCE = """
import pathlib
class Number:
    def __init__(self, n): self.n = n
    def __add__(self, other): return Number(self.n + getattr(other, "n", other))
    def __radd__(self, other): return ("radd", other, self.n)
    def __iadd__(self, other): self.n += other; return self
    def __sub__(self, other): return NotImplemented
    def __pow__(self, other, modulus=None): return (self.n, other, modulus)
    def __matmul__(self, other): return "matmul"
    def __neg__(self): return -self.n
    def __round__(self, digits=None): return ("round", digits)
    def __index__(self): return self.n
    def __float__(self): return self.n / 2
    def __bool__(self): return self.n != 0
    def __eq__(self, other): return isinstance(other, Number) and other.n == self.n
    def __hash__(self): return self.n
    def __divmod__(self, other): return divmod(self.n, other)
    def __rlshift__(self, other): return "rlshift"
class Plain:
    "Plain docs."
    kind = "plain"
    def method(self, a, b=2): "Method docs."; return a, b
    @property
    def costly(self): touched.append(1); return 1
touched = []
class Old:
    def __getitem__(self, i):
        if i > 2: raise IndexError(i)
        return i * 10
class Hollow:
    def __len__(self): return 0
class Shy:
    def __getattr__(self, name): return "made up " + name
def identity(x): return x
def call(f, *args, **kwargs): return f(*args, **kwargs)
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("proxies", SOURCE) as made:
        yield made


def test_binary_operators_both_ways(there: There) -> None:
    three, four = there.Number(3), there.Number(4)
    assert (three + four).n == 7
    assert (three + 10).n == 13
    assert tuple(10 + three) == ("radd", 10, 3)
    assert three @ 1 == "matmul"
    assert pow(three, 2, 5) == (3, 2, 5)
    assert divmod(three, 2) == (1, 1)
    assert 1 << three == "rlshift"


def test_an_operation_that_neither_side_knows_is_a_type_error(there: There) -> None:
    with pytest.raises(TypeError):
        there.Number(3) - 1
    with pytest.raises(TypeError):
        1 * there.Number(3)


def test_an_object_here_answers_where_the_remote_one_declines(there: There) -> None:
    class Mine:
        def __rsub__(self, other: Any) -> str:
            return f"mine {other.n}"

    assert there.Number(3) - Mine() == "mine 3"


def test_in_place_operators_change_the_object_there(there: There) -> None:
    number = same = there.Number(1)
    number += 5
    assert number is same
    assert same.n == 6
    items = alias = there("[1]")
    items += [2]
    items *= 2
    assert items is alias
    assert list(alias) == [1, 2, 1, 2]


def test_unary_operators_and_conversions(there: There) -> None:
    number = there.Number(7)
    assert (-number, float(number), int(there("2.5")), round(number, 2)) == (-7, 3.5, 2, ("round", 2))
    assert [*range(number)][-1] == 6
    assert "abcdefgh"[number] == "h"


def test_lists_here_and_there_are_joined_and_compared(there: There) -> None:
    items = there("[1, 2]")
    assert [0] + items == [0, 1, 2]
    assert items + [3] == [1, 2, 3]
    assert 2 * items == items * 2 == [1, 2, 1, 2]
    assert [1, 2] == items
    assert items < [3]
    local = [0]
    local += items
    assert local == [0, 1, 2]


def test_sets_and_dicts_here_and_there_are_joined(there: There) -> None:
    assert {1} | there("{2}") == {1, 2}
    assert there("{1, 2}") - {1} == {2}
    assert {"a": 1} | there("{'b': 2}") == {"a": 1, "b": 2}
    assert {**there("{'b': 2}"), "c": 3} == {"b": 2, "c": 3}
    assert there("dict")(a=1) == {"a": 1}


def test_equality_with_what_cannot_travel_is_no(there: There) -> None:
    items = there("[1]")
    assert items != threading.Lock()
    assert threading.Lock() not in [items]
    with there_with("proxies-other") as other:
        assert items != other("[1]")


def test_truth_and_length_only_where_the_object_has_them(there: There) -> None:
    assert not there.Number(0)
    assert not there.Hollow()
    assert there.Plain()
    assert hasattr(there("[]"), "__len__")
    assert not hasattr(there.Plain(), "__len__")
    with pytest.raises(TypeError, match="has no len"):
        len(there.Plain())
    with pytest.raises(TypeError, match="not iterable"):
        iter(there.Plain())


def test_hash_is_the_objects_own(there: There) -> None:
    assert hash(there.Number(5)) == 5
    assert {there.Number(5): "five"}[there.Number(5)] == "five"
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(there("[]"))
    plain = there.Plain()
    assert {plain: 1}[there.identity(plain)] == 1


def test_iteration_of_every_kind(there: There) -> None:
    assert list(there.Old()) == [0, 10, 20]
    assert list(reversed(there("[1, 2, 3]"))) == [3, 2, 1]
    assert dict(there("{'a': 1}")) == {"a": 1}
    assert there.call(lambda *a, **k: (a, sorted(k)), *there("[1]"), **there("{'x': 2}")) == ((1,), ["x"])
    first, *rest = there("range(3).__iter__()")
    assert (first, rest) == (0, [1, 2])
    iterator = iter(there("[1]"))
    assert iter(iterator) is iterator


def test_attributes_are_set_read_and_deleted(there: There) -> None:
    plain = there.Plain()
    plain.x = [1]
    assert isproxy(plain.x)
    assert plain.x == [1]
    plain.x.append(2)
    assert list(plain.x) == [1, 2]
    assert set(vars(plain)) == {"x"}
    del plain.x
    with pytest.raises(AttributeError, match="'Plain' object has no attribute 'x'"):
        plain.x  # noqa: B018


def test_identity_holds_through_containers(there: There) -> None:
    plain = there.Plain()
    assert there.identity(plain) is plain
    assert there.identity((plain, 1))[0] is plain
    assert there.identity([plain])[0] is plain
    assert there.identity({"k": {"deep": plain}})["k"]["deep"] is plain


def test_a_method_is_called_in_one_trip_and_known_by_its_name(there: There) -> None:
    plain = there.Plain()
    method = plain.method
    assert (method(1), method.__name__, method.__self__) == ((1, 2), "method", plain)
    assert method == plain.method
    assert there.call(method, 3) == (3, 2)
    assert "Plain.method" in repr(method)


def test_help_shows_the_documentation_of_the_companion(there: There) -> None:
    def shown(thing: Any) -> str:
        return pydoc.plain(pydoc.render_doc(thing))

    assert "Method docs." in shown(there.Plain().method)
    assert "method(a, b=2)" in shown(there.Plain().method)
    assert "identity(x)" in shown(there.identity)
    assert "Plain docs." in shown(there.Plain)
    assert "Plain docs." in shown(there.Plain())


def test_a_function_tells_its_name_module_and_text(there: There) -> None:
    assert (there.identity.__name__, there.identity.__module__) == ("identity", "__main__")
    dumps = there.companion.load_module("json").dumps
    assert (dumps.__module__, dumps.__qualname__) == ("json", "dumps")
    assert dumps.__doc__ == json.dumps.__doc__


def test_dir_runs_no_property_and_shows_nothing_of_ours(there: There) -> None:
    plain = there.Plain()
    names = dir(plain)
    assert {"method", "kind", "costly"} <= set(names)
    assert list(there.touched) == []
    assert not [name for name in names if "isolate" in name]


def test_rich_display_is_not_fooled_by_objects_that_answer_everything(there: There) -> None:
    shy = there.Shy()
    assert shy.anything == "made up anything"
    for name in (
        "_ipython_canary_method_should_not_exist_",
        "_repr_html_",
        "__wrapped__",
        "_ipython_display_",
    ):
        assert not hasattr(shy, name)
        assert not hasattr(type(shy), name)


def test_bytes_takes_the_memory_of_a_buffer(there: There) -> None:
    assert bytes(there("import array; array.array('h', [1, 2])")) == b"\1\0\2\0"
    assert bytes(there("bytearray(b'ab')")) == bytes(there("memoryview(b'ab')")) == b"ab"
    assert bytes(there("[1, 2]")) == b"\1\2"


def test_a_generator_tees(there: There) -> None:
    first, second = itertools.tee(there("(n for n in range(3))"))
    assert [*first, *second] == [0, 1, 2, 0, 1, 2]
    assert not hasattr(there("[1]"), "__copy__")


def test_copies_are_made_there(there: There) -> None:
    items = there("[[1]]")
    shallow, deep = copy.copy(items), copy.deepcopy(items)
    items[0].append(2)
    assert isproxy(shallow)
    assert isproxy(deep)
    assert (list(shallow[0]), list(deep[0])) == ([1, 2], [1])


def test_a_proxy_pickles_as_a_copy_of_its_object(there: There) -> None:
    back = pickle.loads(pickle.dumps([there("[1, {2}]"), there("__import__('fractions').Fraction(1, 2)")]))
    assert back == [[1, {2}], Fraction(1, 2)]
    assert type(back[0]) is list
    knot = there("(lambda d: (d.append(d), d)[1])([])")
    loop = pickle.loads(pickle.dumps(knot))
    assert loop[0] is loop


@pytest.mark.parametrize("source", ["__import__('json')", "__import__('threading').Lock()"])
def test_a_proxy_of_what_cannot_be_copied_refuses_to_be_pickled(there: There, source: str) -> None:
    with pytest.raises(TypeError, match=r"a proxy is pickled as a copy.*(main session|proxy)"):
        pickle.dumps(there(source))


def test_the_size_of_a_proxy_is_that_of_its_object(there: There) -> None:
    assert sys.getsizeof(there("[0] * 1000")) == sys.getsizeof([0] * 1000)


def test_init_can_be_called_again(there: There) -> None:
    items = there("[1, 2]")
    items.__init__([3])
    assert items == [3]


def test_proxies_can_be_referred_to_weakly(there: There) -> None:
    plain = there.Plain()
    reference = weakref.ref(plain)
    assert reference() is plain
    del plain
    assert reference() is None


def test_a_remote_path_is_a_path_here(there: There, tmp_path: Any) -> None:
    path = there.pathlib.Path(str(tmp_path)) / "a.txt"
    path.write_text("hello")
    assert os.fspath(path) == str(tmp_path / "a.txt")
    with open(path) as file:
        assert file.read() == "hello"


def test_format_and_bytes_are_the_objects_own(there: There) -> None:
    assert f"{there('bytearray(1)')!r}" == "bytearray(b'\\x00')"
    assert bytes(there("bytearray(b'ab')")) == b"ab"
    assert format(there("__import__('fractions').Fraction(1, 2)"), "") == "1/2"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (threading.Lock, "_thread.lock"),
        (socket.socket, "socket"),
    ],
)
def test_an_argument_that_cannot_travel_is_named(there: There, make: Any, says: str) -> None:
    thing = make()
    with pytest.raises(
        TransferError, match=rf"argument 2, of type \S*{says}.*'proxies'.*Make the object there"
    ):
        there.call(there.identity, thing)
    with pytest.raises(TransferError, match=r"argument 'name'"):
        there.call(there.identity, name=[thing])
    with pytest.raises(TransferError, match="argument 1"):
        there.companion.call(len, thing)
    assert there("1") == 1
    getattr(thing, "close", lambda: None)()


def test_what_the_companion_cannot_import_is_a_transfer_error(there: There) -> None:
    class Foreign:
        def __reduce__(self) -> Any:
            return (pickle.loads, (b"cno_such_module\nthing\n.",))

    with pytest.raises(TransferError, match="no_such_module"):
        there.identity(Foreign())
    assert there("1") == 1


def test_a_proxy_of_another_companion_is_refused_and_says_what_to_do(there: There) -> None:
    with there_with("proxies-second") as other:
        for argument in (other("[1]"), [other("[1]")]):
            with pytest.raises(TransferError, match=r"'proxies-second', not in 'proxies'; byvalue"):
                there.identity(argument)
    assert there("1") == 1


def test_stale_proxies_say_what_they_were_and_how_it_ended() -> None:
    with Companion("proxies-stale") as companion:
        items, function, kind = (
            companion.run("[1]"),
            companion.run("lambda: 0"),
            companion.run("class A: pass\nA"),
        )
        thing = kind()
        companion.stop()
        assert (
            repr(items)
            == str(items)
            == "<stale proxy of builtins.list object: " + items._isolate_.owner.death + ">"
        )
        for use in (
            lambda: len(items), lambda: items[0], lambda: items == [1], lambda: thing.x,
            function, kind, lambda: setattr(thing, "x", 1), lambda: companion.call(len, items),
            lambda: kind.x, lambda: items.append(1),
        ):  # fmt: skip
            with pytest.raises(StaleProxyError, match="is gone: companion 'proxies-stale' died"):
                use()
        with pytest.raises(StaleProxyError):
            companion.load_module("json").dumps(items)


def test_adding_a_remote_sequence_in_place_extends_the_list_here(there: There) -> None:
    here = alias = [0]
    here += there("[1, 2]")
    assert here is alias
    assert alias == [0, 1, 2]
    here += there("__import__('collections').deque([3])")
    assert alias == [0, 1, 2, 3]
    assert [0] + there("[1]") == [0, 1]


def test_operators_are_looked_up_on_the_type(there: There) -> None:
    assert there("list[int]") == there("list[int]")
    assert there("list[int]") != there("list[str]")


def test_an_instance_of_a_remote_metaclass_is_one(there: There) -> None:
    meta = there("class Meta(type): pass\nMeta")
    assert isinstance(there("Meta('C', (), {})"), meta)
    assert not isinstance(there.Plain, meta)
