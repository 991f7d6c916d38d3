"""Fixtures that many tests share: companions and real kernels that are closed afterwards."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from isolate_magic import Companion, companions

_AGAIN, _TIDYING = 10.0, 30.0  # seconds
_WELL = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the file that says what has passed; `tests/run.py` hands it over."""
    parser.addoption(
        "--ledger", default="", help="a file: what it lists is left out, and what passes is added"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has passed before."""
    ledger = config.getoption("--ledger")
    if ledger and os.path.exists(ledger):
        passed = set(Path(ledger).read_text().splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
        items[:] = [item for item in items if item.nodeid not in passed]


def pytest_collection_finish() -> None:
    """Put the objects of thousands of tests by: collecting garbage would look at all of them each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what has passed, at once: a run that is ended from outside tells nothing at its end."""
    report = yield
    item.stash[_WELL] = item.stash.get(_WELL, True) and not report.failed
    ledger = item.config.getoption("--ledger")
    if ledger and report.when == "teardown" and item.stash[_WELL]:
        with open(ledger, "a") as file:
            file.write(f"{item.nodeid}\n")
    return report


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


# A shell ignores SIGINT for what it runs in the background, and every program inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
