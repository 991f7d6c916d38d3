"""Fixtures that many tests share: companions and real kernels that are closed afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest

from isolate_magic import Companion, companions

_AGAIN, _TIDYING = 10.0, 30.0  # seconds


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let the alarm of pytest-timeout come again and again: what is tested may have caught the first."""
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    if left:
        signal.setitimer(signal.ITIMER_REAL, left, _AGAIN)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Set an alarm for fixtures after a test that has failed, since pytest-timeout has switched its own off."""
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        return (yield)

    def ring(*_: object) -> None:
        pytest.fail("the fixtures of a test that has failed hang")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _TIDYING, _AGAIN)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def companion(request: pytest.FixtureRequest) -> Iterator[Companion]:
    """Give a companion of this test's own."""
    with Companion(f"test-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**8}") as made:
        yield made


@pytest.fixture(autouse=True)
def _no_companion_left_behind() -> Iterator[None]:
    before = {companion.name for companion in companions()}
    yield
    for companion in companions():
        if companion.name not in before:
            companion.close()
