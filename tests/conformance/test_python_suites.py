"""CPython's own tests of its containers, run on proxies: rpyc passes 290 of these, we 432 of 459."""

from __future__ import annotations

import os
import sys
import unittest
from collections.abc import Iterator

import pytest

from conformance.exceptions import EXCEPTIONS, LATER
from conformance.suites import SUITES, Suite, case, names
from isolate_magic import Companion

CASES = {f"{suite.module}.{suite.case}.{name}": (suite, name) for suite in SUITES for name in names(suite)}


@pytest.fixture(scope="module")
def companion() -> Iterator[Companion]:
    with Companion(f"suites-{os.getpid()}") as made:
        made.run(f"import sys; sys.setrecursionlimit({sys.getrecursionlimit()})")
        yield made


@pytest.mark.timeout(180)
@pytest.mark.parametrize("title", CASES)
def test_cpythons_own_case_holds_through_a_proxy(
    title: str, companion: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, name = CASES[title]
    wrong = _wrong(suite, name, companion, monkeypatch)
    if title not in EXCEPTIONS | LATER:
        assert not wrong
    else:
        assert wrong, f"{title} passes now: take it out of exceptions.py"


def _wrong(suite: Suite, name: str, companion: Companion, patch: pytest.MonkeyPatch) -> str:
    """Run one case and return what went wrong in it."""
    result = unittest.TestResult()
    case(suite, name, companion, patch).run(result)
    return "\n".join(text for _, text in result.errors + result.failures)


def test_at_least_411_of_453_hold() -> None:
    hold = [title for title in CASES if title not in EXCEPTIONS | LATER]
    assert len(hold) / len(CASES) >= 411 / 453
    if sys.version_info[:2] == (3, 11):
        assert len(hold) >= 411
        assert EXCEPTIONS.keys() <= CASES.keys()
        assert not LATER.keys() & CASES.keys()
