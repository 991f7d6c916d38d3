"""Classes of a companion, seen from here: identity, isinstance, records, enums, class attributes."""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import functools
import inspect
import numbers
import pickle
import types
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with

from isolate_magic import isproxy
from isolate_magic.link import mirror
from isolate_magic.link.refs import Claim

SOURCE = """
import abc, collections, dataclasses, enum, fractions, functools, typing
class A:
    "The class A."
    shared = 1
    def method(self, a, b=2): "Do it."; return a + b
    @classmethod
    def make(cls): return cls()
    @staticmethod
    def twice(x): return 2 * x
class B(A): pass
class Mixed(A, Exception): pass
class Color(enum.Enum):
    RED = 1
    GREEN = 2
class Level(enum.IntEnum):
    LOW = 1
@dataclasses.dataclass
class Data:
    a: int
    b: list
class Point(typing.NamedTuple):
    "A point."
    x: int
    y: int = 2
    @property
    def sum(self): return self.x + self.y
    def moved(self, by): return Point(self.x + by, self.y)
    def __matmul__(self, other): return self.x * other.x + self.y * other.y
class Named(collections.namedtuple("Named", "a b")):
    def total(self): return self.a + self.b
class Shape(abc.ABC):
    @classmethod
    def __subclasshook__(cls, other): return True if "area" in dir(other) else NotImplemented
class Square:
    area = 4
class Loose: pass
Shape.register(Loose)
Shape.register(int)
class Own(collections.abc.Mapping):
    def __getitem__(self, key): return {"k": 1}[key]
    def __iter__(self): return iter("k")
    def __len__(self): return 1
class MyList(list): pass
class MyInt(int): pass
class MyStr(str): pass
class Callable:
    def __call__(self, first, *, second=3): return first
class Plain: pass
@functools.lru_cache
def cached(x):
    "Remember."
    return x
def annotated(a: int, b: "list[str]" = None) -> tuple[int, ...]: return (a,)
def identity(x): return x
def kinds(x): return type(x).__name__
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("mirrors", SOURCE) as made:
        yield made


def test_a_class_is_the_type_of_its_instances(there: There) -> None:
    a = there.A()
    assert type(a) is there.A
    assert a.__class__ is there.A
    assert (there.A.__name__, there.A.__module__, there.A.__doc__) == ("A", "__main__", "The class A.")


def test_isinstance_follows_inheritance_there(there: There) -> None:
    assert isinstance(there.B(), there.A)
    assert not isinstance(there.A(), there.B)
    assert issubclass(there.B, there.A)
    assert there.B.__mro__[:2] == (there.B, there.A)


def test_isinstance_needs_no_round_trip(there: There) -> None:
    b, kind = there.B(), there.A
    there.companion.stop()
    assert isinstance(b, kind)
    there.companion.run(SOURCE)


def test_a_class_that_python_could_not_combine_here_still_counts(there: There) -> None:
    assert issubclass(there.Mixed, there.A)
    assert issubclass(there.Mixed, Exception)
    with pytest.raises(there.Mixed) as caught:
        there("raise Mixed('m')")
    assert isinstance(caught.value, there.A)


def test_an_abstract_class_there_is_asked(there: There) -> None:
    assert isinstance(there.Square(), there.Shape)
    assert isinstance(there.Loose(), there.Shape)
    assert isinstance(5, there.Shape)
    assert not isinstance("text", there.Shape)
    assert not isinstance(there.A(), there.Shape)


def test_abstract_classes_of_the_library_hold_on_both_sides(there: There) -> None:
    own = there.Own()
    assert isinstance(own, collections.abc.Mapping)
    assert isinstance(own, there.collections.abc.Mapping)
    assert isinstance(there("[1]"), there.collections.abc.Sequence)
    assert isinstance(there("fractions.Fraction(1, 2)"), numbers.Rational)
    assert isinstance(5, there.collections.abc.Hashable)
    assert not isinstance(there.A(), collections.abc.Mapping)


def test_classes_from_here_are_judged_without_a_call_to_any_companion(there: There) -> None:
    class Local:
        pass

    with there_with("mirrors-dead", SOURCE) as other:
        assert isinstance(other.Own(), collections.abc.Mapping)
    assert not isinstance(Local(), collections.abc.Mapping)
    assert not isinstance(5, collections.abc.Sequence)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("[1]", list), ("{1: 2}", dict), ("{1}", set), ("bytearray(b'x')", bytearray),
        ("collections.deque()", collections.deque), ("collections.OrderedDict()", collections.OrderedDict),
        ("collections.Counter()", collections.Counter), ("collections.defaultdict(list)", collections.defaultdict),
        ("(i for i in ())", types.GeneratorType), ("lambda: 0", types.FunctionType), ("{}.keys()", type({}.keys())),
        ("MyList()", list), ("MyInt(3)", int), ("MyStr('s')", str), ("Named(1, 2)", tuple), ("Level.LOW", int),
    ],
)  # fmt: skip
def test_a_proxy_of_a_builtin_or_of_its_subclass_passes_for_it(there: There, source: str, kind: type) -> None:
    assert isproxy(there(source))
    assert isinstance(there(source), kind)


def test_a_proxy_of_a_builtin_passes_for_its_abstract_classes(there: There) -> None:
    assert isinstance(there("[]"), collections.abc.MutableSequence)
    assert isinstance(there("MyList()"), collections.abc.MutableSequence)
    assert isinstance(there("{}"), collections.abc.MutableMapping)
    assert isinstance(there("(i for i in ())"), collections.abc.Generator)
    assert isinstance(there("{}.keys()"), collections.abc.KeysView)
    assert not isinstance(there("[]"), collections.abc.Hashable)


def test_a_namedtuple_comes_by_value_with_its_own_class(there: There) -> None:
    point = there.Point(1)
    assert point == (1, 2)
    assert (point.x, point[1], point._fields) == (1, 2, ("x", "y"))
    assert isinstance(point, tuple)
    assert isinstance(point, there.Point)
    assert repr(point) == "Point(x=1, y=2)"
    x, y = point
    assert (x, y) == (1, 2)


def test_a_namedtuples_methods_and_properties_are_its_own(there: There) -> None:
    point = there.Point(1)
    assert point.sum == 3
    assert point.moved(4) == (5, 2)
    assert point._replace(y=9) == there.Point(1, 9)
    assert dict(point._asdict()) == {"x": 1, "y": 2}
    assert point @ point == 5
    assert there.kinds(point) == "Point"
    with pytest.raises(AttributeError):
        point.nothing  # noqa: B018


def test_a_namedtuple_is_copied_here(there: There) -> None:
    point = there.Point(1)
    assert copy.copy(point) == copy.deepcopy(point) == point
    assert type(copy.copy(point)) is there.Point


def test_a_subclass_of_a_namedtuple_stays_there_and_is_a_tuple_here(there: There) -> None:
    named = there.Named(1, 2)
    assert isproxy(named)
    assert isinstance(named, tuple)
    assert (named.total(), named.a, named[1], tuple(named)) == (3, 1, 2, (1, 2))


def test_an_enum_class_is_iterated_indexed_and_called(there: There) -> None:
    color = there.Color
    assert [member.name for member in color] == ["RED", "GREEN"]
    assert color["RED"] is color(1) is color.RED
    assert (len(color), color.RED.value, color.RED in color) == (2, 1, True)
    assert isinstance(color.RED, color)
    assert color.RED == color.RED != color.GREEN
    assert there.Level.LOW == 1
    assert there.Level.LOW + 1 == 2


def test_a_dataclass_is_made_compared_and_shown(there: There) -> None:
    data = there.Data(1, [2])
    assert data == there.Data(1, [2])
    assert data != there.Data(2, [2])
    assert repr(data) == "Data(a=1, b=[2])"
    data.a = 5
    assert data.a == 5


def test_class_attributes_are_read_set_and_deleted_there(there: There) -> None:
    there.A.mark = 7
    assert there("A.mark") == there.A.mark == there.B().mark == 7
    del there.A.mark
    assert not hasattr(there.A, "mark")


def test_class_and_static_methods_are_called_on_the_class(there: There) -> None:
    assert type(there.B.make()) is there.B
    assert there.A.twice(4) == there.A().twice(4) == 8
    assert there.A.method(there.A(), 1) == 3


def test_signatures_are_the_companions(there: There) -> None:
    assert str(inspect.signature(there.A().method)) == "(a, b=2)"
    assert str(inspect.signature(there.identity)) == "(x)"
    assert list(inspect.signature(there.Data).parameters) == ["a", "b"]
    assert str(inspect.signature(there.Callable())) == "(first, *, second=3)"
    assert str(inspect.signature(there.annotated)) == "(a: int, b: 'list[str]' = None) -> tuple[int, ...]"
    with pytest.raises(ValueError):
        inspect.signature(
            there("__builtins__.min if hasattr(__builtins__, 'min') else __import__('builtins').min")
        )


def test_functions_of_other_classes_than_functions_tell_their_own_text(there: There) -> None:
    assert there.cached.__doc__ == "Remember."
    assert str(inspect.signature(there.cached)) == "(x)"


def test_a_class_takes_keyword_arguments_of_any_name(there: There) -> None:
    made = there("class Bag(dict): pass\nBag")(cls=1, self=2, args=3, name=4)
    assert made == {"cls": 1, "self": 2, "args": 3, "name": 4}


def test_match_takes_sequences_and_mappings_whatever_was_seen_before() -> None:
    def kind(thing: Any) -> str:
        match thing:
            case {"k": _}:
                return "mapping"
            case [_, *_]:
                return "sequence"
        return "neither"

    with there_with("mirrors-match", "import collections") as there:
        assert kind(there("collections.UserList('a')")) == kind(there("['a']")) == "sequence"
        assert kind(there("collections.UserDict(k=1)")) == kind(there("{'k': 1}")) == "mapping"
        assert kind(there("{1}")) == "neither"


def test_annotations_are_the_companions(there: There) -> None:
    assert str(there.annotated.__annotations__["return"]) == "tuple[int, ...]"
    assert functools.wraps(there.annotated)(lambda: None).__annotations__["a"] is int
    assert list(there.Data.__annotations__) == ["a", "b"]
    assert type(there.annotated).__mro__[1].__annotations__ is not None  # makes them, if there are none
    assert list(there.annotated.__annotations__) == ["a", "b", "return"]
    assert not hasattr(there("object()"), "__annotations__")


def test_dataclasses_here_knows_the_fields_of_an_instance_there(there: There) -> None:
    data = there("Data(3, [4])")
    assert dataclasses.is_dataclass(data)
    assert [field.name for field in dataclasses.fields(data)] == ["a", "b"]
    assert dataclasses.asdict(data) == {"a": 3, "b": [4]}
    assert there("dataclasses.MISSING") is dataclasses.MISSING


def test_only_what_can_be_called_there_can_be_called_here(there: There) -> None:
    assert callable(there.Callable())
    assert callable(there.identity)
    assert callable(there.A().method)
    assert callable(there.A)
    assert not callable(there.A())


def test_a_class_of_a_companion_does_not_pickle(there: There) -> None:
    with pytest.raises(TypeError, match="byvalue"):
        pickle.dumps(there.A)


def test_a_class_travels_back_as_itself(there: There) -> None:
    assert there.identity(there.A) is there.A
    assert there("lambda c: c is A")(there.A)
    assert there("lambda o, c: isinstance(o, c)")(there.B(), there.A)


class Local:
    """A class of this module, which the companion gets as a copy when it is not importable there."""


def test_a_class_defined_here_comes_back_as_itself(there: There) -> None:
    class Here:
        def __init__(self, n: int = 0) -> None:
            self.n = n

    assert there.identity(Here) is Here
    made: Any = there.companion.call(lambda: Here(4))
    assert isproxy(made)
    assert isinstance(made, Here)
    assert made.n == 4
    assert type(made) is type(there.identity(Here(5)))


def test_a_type_both_sides_have_is_the_one_here(there: There) -> None:
    assert there("int") is int
    assert there("ValueError") is ValueError
    assert there("type(None)") is type(None)


@pytest.mark.parametrize("field", ["__class__", "__eq__", "__reduce__"])
def test_a_namedtuple_with_a_field_that_python_acts_on_is_refused(field: str) -> None:
    told = mirror.Description("m", "Point", None, (tuple,), (), (), (field,), False, False, None)
    with pytest.raises(ValueError, match="with a field"):
        mirror.build(told, Claim(None, 5, "m.Point", 0))
