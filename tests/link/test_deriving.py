"""Classes of the main session that derive from a class of a companion."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from there import There, there_with

from isolate_magic import NotSupported, StaleProxyError, TransferError, isproxy

SOURCE = """
import enum, os
class Shape:
    kind = "shape"
    registry = []
    def __init_subclass__(cls, /, register=False, **rest):
        super().__init_subclass__(**rest)
        if register: cls.registry.append(cls.__name__)
    def __init__(self, size): self.size = size
    def area(self): return 0
    def describe(self): return f"{self.kind} of {self.area()}"
class Meta(type):
    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        made.counted = True
        return made
class Counted(metaclass=Meta): pass
class Problem(Exception): pass
def raise_it(error): raise error
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("deriving", SOURCE) as made:
        yield made


def helper(x: Any) -> Any:
    return x * x


def test_the_methods_run_in_the_companion_and_are_called_from_there(there: There) -> None:
    class Square(there.Shape):
        kind = "square"

        def __init__(self, size: int) -> None:
            super().__init__(size)
            self.calls = 0

        def area(self) -> int:
            import os

            self.calls += 1
            self.pid = os.getpid()
            return helper(self.size)

    square = Square(3)
    assert isproxy(square)
    assert square.describe() == "square of 9"
    assert (square.calls, square.pid) == (1, there.companion.pid)
    assert isinstance(square, Square)
    assert isinstance(square, there.Shape)
    assert issubclass(Square, there.Shape)
    assert type(square) is Square


def test_special_methods_properties_and_class_methods_work(there: There) -> None:
    class Pair(there.Shape):
        def __len__(self) -> int:
            return 2

        def __add__(self, other: Any) -> Any:
            return type(self)(self.size + other.size)

        @property
        def double(self) -> int:
            return self.size * 2

        @classmethod
        def unit(cls) -> Any:
            return cls(1)

        @staticmethod
        def twice(x: int) -> int:
            return x * 2

    pair = Pair(2) + Pair.unit()
    assert (len(pair), pair.double, Pair.twice(4), pair.size) == (2, 6, 8, 3)


def test_a_derived_class_can_be_derived_from_again(there: There) -> None:
    class One(there.Shape):
        def area(self) -> int:
            return 1

    class Two(One):
        def area(self) -> int:
            return super().area() + 1

    assert Two(0).describe() == "shape of 2"
    assert Two.__mro__[:3] == (Two, One, there.Shape)


def test_hooks_metaclasses_and_keyword_arguments_are_the_companions(there: There) -> None:
    class Listed(there.Shape, register=True):
        pass

    class Thing(there.Counted):
        pass

    assert list(Listed.registry) == ["Listed"]
    assert Thing().counted is True


def test_an_enum_can_be_derived(there: There) -> None:
    class Colour(there.companion.load_module("enum").Enum):
        RED = 1
        BLUE = 2

    assert [colour.name for colour in Colour] == ["RED", "BLUE"]
    assert Colour.RED is Colour(1)


def test_an_exception_class_can_be_derived_raised_there_and_caught_here(there: There) -> None:
    class Mine(there.Problem):
        pass

    with pytest.raises(Mine, match="text") as caught:
        there.raise_it(Mine("text"))
    assert isinstance(caught.value, there.Problem)


def test_a_mixin_of_this_session_comes_along(there: There) -> None:
    class Named:
        def name(self) -> str:
            return type(self).__name__.lower()

    class Both(Named, there.Shape):
        pass

    assert Both(1).name() == "both"


def test_a_method_that_uses_something_of_this_session_is_called_back(there: There) -> None:
    seen: list[Any] = []

    class Noting(there.Shape):
        def area(self) -> int:
            seen.append(self.size)
            return 7

    assert Noting(5).describe() == "shape of 7"
    assert seen == [5]


def test_super_works_in_a_method_that_is_called_back(there: There) -> None:
    sizes, log = {"default": 4}, []

    class Noting(there.Shape):
        def __init__(self, name: str) -> None:
            super().__init__(sizes[name])
            log.append("made")

        def describe(self) -> str:
            log.append(super().area())
            return super().describe() + "!"

        def area(self) -> int:
            return len(log)

        def __repr__(self) -> str:
            log.append("repr")
            return "<" + super().__repr__()[:5]

    class Further(Noting):
        def describe(self) -> str:
            log.append("further")
            return super().describe() + "?"

    noting = Noting("default")
    assert (noting.size, noting.describe(), repr(noting)[:2]) == (4, "shape of 2!", "<<")
    assert log == ["made", 0, "repr"]
    sizes["default"] = 5
    further = Further("default")
    assert (further.size, further.describe()) == (5, "shape of 6!?")
    plain = there.Shape(7)
    assert (plain.size, plain.describe(), plain.area()) == (7, "shape of 0", 0)
    plain.__init__(8)
    noting.__init__("default")
    assert (plain.size, noting.size) == (8, 5)


def test_super_in_an_exceptions_method_that_must_stay_is_refused(there: There) -> None:
    seen: list[Any] = []
    with pytest.raises(NotSupported, match=r"method '__init__' of class Mine uses super\(\).*isolated"):

        class Mine(there.Problem):
            def __init__(self) -> None:
                seen.append(1)
                super().__init__("x")


def test_bases_of_two_companions_are_refused(there: There) -> None:
    with (
        there_with("deriving-second", SOURCE) as other,
        pytest.raises(TransferError, match="deriving-second"),
    ):

        class Both(there.Shape, other.Shape):
            pass


def test_deriving_from_a_class_of_a_dead_companion_is_refused() -> None:
    with there_with("deriving-dead", SOURCE) as there:
        shape = there.Shape
        there.companion.restart()
        with pytest.raises(StaleProxyError, match="Shape is gone"):

            class Late(shape):
                pass


def test_what_a_decorator_adds_to_a_class_is_there_afterwards(there: There) -> None:
    remote = there.companion.load_module("dataclasses")

    @remote.dataclass(order=True)
    class Point(there.Shape):
        x: int
        y: int = 2

        def area(self) -> int:
            return self.x * self.y

    assert Point(5) == Point(5, 2)
    assert Point(1) < Point(2)
    assert Point(3).describe() == "shape of 6"
    assert repr(Point(1)).endswith("Point(x=1, y=2)")
    with pytest.raises(TypeError):
        hash(Point(1))


def test_a_special_method_set_from_here_works_at_once(there: There) -> None:
    class Sized(there.Shape):
        pass

    sized = Sized(3)
    with pytest.raises(TypeError):
        len(sized)
    Sized.__len__ = lambda self: self.size
    assert len(sized) == 3


def test_the_dataclass_of_this_session_is_refused_with_the_name_of_the_right_one(there: There) -> None:
    with pytest.raises(NotSupported, match="import_isolated.'dataclasses'"):

        @dataclasses.dataclass
        class Point(there.Shape):
            x: int
