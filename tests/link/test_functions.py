"""Which functions may travel as code."""

from __future__ import annotations

import functools
import json
import math
import re
import threading
from decimal import Decimal
from typing import Any

import pytest

from isolate_magic.link.functions import may_stay, travels

LIMIT = 5
NAMES = ("a", "b")
PATTERN = re.compile("x")
TABLE: dict[str, int] = {}
LOCK = threading.Lock()
COUNT = 0


class Config:
    hits = 0

    def method(self) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x


class Stateless:
    def __call__(self, x: int) -> int:
        return x + 1


def uses_constant(x: int) -> Any:
    return x + LIMIT + len(NAMES) + bool(PATTERN.match("x"))


def uses_module(x: float) -> Any:
    return math.sqrt(x) + len(json.dumps(x))


def uses_function(x: int) -> Any:
    return uses_constant(x)


def recursive(n: int) -> int:
    return n and recursive(n - 1)


def uses_class() -> Any:
    return Config.twice(3)


def changes_argument(x: Any) -> None:
    x.attribute = 1
    x[0] = 2


def local_state() -> int:
    total = 0

    def add() -> None:
        nonlocal total
        total += 1

    add()
    return total


def uses_dict() -> None:
    TABLE["a"] = 1


def uses_lock() -> None:
    with LOCK:
        pass


def writes_global() -> None:
    global COUNT
    COUNT += 1


def uses_impure() -> None:
    writes_global()


def nested_impure() -> Any:
    return [(lambda: TABLE.get(x)) for x in "ab"]


def counts_class() -> None:
    Config.hits += 1


def counts_itself() -> None:
    counts_itself.calls += 1  # type: ignore[attr-defined]


def unknown_name() -> Any:
    return not_defined_anywhere  # type: ignore[name-defined] # noqa: F821


def closure_over(thing: Any) -> Any:
    return lambda: thing


def default(thing: Any) -> Any:
    def inner(x: Any = thing) -> Any:
        return x

    return inner


def not_importable(function: Any) -> Any:
    """Make a function unfindable by name, as one from a notebook is."""
    function.__module__ = "__main__"
    return function


for _name, _thing in list(globals().items()):
    if (
        callable(_thing)
        and getattr(_thing, "__module__", "") == __name__
        and _name not in ("not_importable",)
    ):
        not_importable(_thing)


@pytest.mark.parametrize(
    "function",
    [
        uses_constant, uses_module, uses_function, recursive, uses_class, changes_argument, local_state, len, math.sqrt,
        json.dumps, str.upper, "abc".upper, (1, 2).count, Config.make, functools.partial(pow, 2),
        functools.partial(uses_constant, (1, "a")), closure_over(5), closure_over((1, "a", None)), default(Decimal(1)),
        closure_over(math), default(LIMIT),
    ],
    ids=lambda function: getattr(function, "__qualname__", repr(function)),
)  # fmt: skip
def test_functions_that_only_compute_travel(function: Any) -> None:
    assert travels(function)


@pytest.mark.parametrize(
    "function",
    [
        uses_dict, uses_lock, writes_global, uses_impure, nested_impure, counts_class, counts_itself, unknown_name,
        [].append, {}.get, TABLE.__getitem__, Config().method, closure_over([]), closure_over(Config()), default({}),
        functools.partial([].append, 1), functools.partial(pow, []), closure_over(closure_over([])),
        functools.lru_cache(uses_constant),
    ],
    ids=lambda function: getattr(function, "__qualname__", repr(function)),
)  # fmt: skip
def test_functions_that_touch_something_here_stay(function: Any) -> None:
    assert may_stay(function)
    assert not travels(function)


def test_callable_objects_of_a_notebook_are_functions_and_those_of_modules_are_data() -> None:
    class Tally:
        def __init__(self) -> None:
            self.n = 0

        def __call__(self) -> None:
            self.n += 1

    assert may_stay(Tally())
    assert not travels(Tally())
    assert travels(not_importable(Stateless)())
    assert not may_stay(json.JSONDecoder())
    assert not may_stay(json.JSONDecoder)


def test_a_callable_of_any_class_that_its_module_offers_by_name_travels() -> None:
    import numpy as np

    assert type(np.mean).__name__ == "_ArrayFunctionDispatcher"
    assert travels(np.mean)
    assert travels(lambda values, f=np.mean: f(values))
