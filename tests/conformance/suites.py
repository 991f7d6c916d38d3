"""CPython's own test classes for its container types, with a proxy in the place of the type."""

from __future__ import annotations

import importlib
import unittest
from typing import Any, NamedTuple

import pytest

from isolate_magic import Companion


class Suite(NamedTuple):
    """One test class of the standard library and what to put into it.

    Attributes:
        module: the module in the installed `test` package.
        case: its test class.
        subject: the module and name of the type, imported in the companion.
        attribute: the class attribute that holds the type, or "".
        patched: the globals of the test module that hold the type, or its module.
    """

    module: str
    case: str
    subject: str
    attribute: str = ""
    patched: tuple[str, ...] = ()


_BIG = 3000  # elements where test_deque takes 100,000: up to a million calls of one test prove no more

SUITES = (
    Suite("test_dict", "GeneralMappingTests", "builtins.dict", "type2test"),
    Suite("test_ordered_dict", "CPythonGeneralMappingTests", "collections.OrderedDict", "type2test"),
    Suite("test_userdict", "UserDictTest", "collections.UserDict", "type2test", ("collections",)),
    Suite("test_list", "ListTest", "builtins.list", "type2test", ("list",)),
    Suite("test_userlist", "UserListTest", "collections.UserList", "type2test", ("UserList",)),
    Suite("test_deque", "TestSequence", "collections.deque", "type2test", ("deque",)),
    Suite("test_deque", "TestBasic", "collections.deque", "", ("deque",)),
    Suite("test_set", "TestSet", "builtins.set", "thetype", ("set",)),
    # A frozenset itself travels by value, so that its own tests would prove nothing here.
    Suite("test_set", "TestFrozenSetSubclass", "test.test_set.FrozenSetSubclass", "thetype"),
    Suite("test_ordered_dict", "CPythonOrderedDictTests", "collections.OrderedDict", "OrderedDict"),
    Suite("test_userstring", "UserStringTest", "collections.UserString", "type2test", ("UserString",)),
    Suite("test_collections", "TestCounter", "collections.Counter", "", ("Counter",)),
    Suite("test_collections", "TestChainMap", "collections.ChainMap", "", ("ChainMap",)),
)


def names(suite: Suite) -> list[str]:
    """Return the names of a suite's tests."""
    found = getattr(importlib.import_module(f"test.{suite.module}"), suite.case)
    return list(unittest.TestLoader().getTestCaseNames(found))


def case(suite: Suite, name: str, companion: Companion, patch: pytest.MonkeyPatch) -> unittest.TestCase:
    """Return one test of a suite, whose type lives in the companion.

    Args:
        suite: the suite.
        name: the test's name.
        companion: where the type lives.
        patch: puts the type into the test module.
    """
    module = importlib.import_module(f"test.{suite.module}")
    home, _, leaf = suite.subject.rpartition(".")
    there = companion.load_module(home)
    subject = getattr(there, leaf)
    for patched in suite.patched:
        patch.setitem(vars(module), patched, there if patched == home else subject)
    if "BIG" in vars(module):
        patch.setitem(vars(module), "BIG", _BIG)
    space = {suite.attribute: subject} if suite.attribute else {}
    if suite.attribute == "thetype":
        space["basetype"] = frozenset if suite.case == "TestFrozenSetSubclass" else subject
    kind: Any = type(suite.case, (getattr(module, suite.case),), space)
    made: unittest.TestCase = kind(name)
    return made
