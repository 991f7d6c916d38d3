"""Fixtures that many tests share: companions and real kernels that are closed afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from isolate_magic import Companion, companions


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
