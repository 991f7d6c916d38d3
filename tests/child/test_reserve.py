"""What still works in a companion that has used up its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from isolate_magic import Companion, Policy

GREAT, SMALL = (replace(Policy.of("untrusted"), memory=size) for size in ("400MiB", "200MiB"))
FILL = "{0} = []\nwhile True: {0}.append(bytearray({1}))"


@pytest.fixture
def full() -> Iterator[Companion]:
    """Give a companion that has filled its memory to the brim, more than once."""
    with Companion("full", snapshots="off") as made:
        made.run(
            "import resource; resource.setrlimit(resource.RLIMIT_DATA, (300 << 20, resource.RLIM_INFINITY))"
        )
        for name, size in (("a", 10_000_000), ("b", 50_000), ("c", 100), ("d", 100), ("e", 100)):
            with pytest.raises(MemoryError):
                made.run(FILL.format(name, size))
        yield made


def test_an_error_is_shown_whole(full: Companion) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        full.run("def inner(): 1 / 0\ninner()")
    assert "in inner()" in "".join(caught.value.__notes__)


def test_memory_can_be_freed_and_used_again(full: Companion) -> None:
    assert full.run("len(a)") > 5
    full.run("del a, b, c, d, e")
    assert full.run("len(bytearray(50_000_000))") == 50_000_000


def test_a_call_fails_with_a_memory_error_and_nothing_else_does(full: Companion) -> None:
    more = full.run("more = lambda: bytearray(50_000_000)\nmore")
    with pytest.raises(MemoryError):
        more()
    assert full.run("1 + 1") == 2


def test_a_limit_that_a_cell_sets_stays(companion: Companion) -> None:
    both = "(400 << 20, 500 << 20)"
    companion.run(f"import resource as r; r.setrlimit(r.RLIMIT_DATA, {both})")
    companion.run("1")
    companion.run(f"r.setrlimit(r.RLIMIT_DATA, (r.getrlimit(r.RLIMIT_DATA)[0], {400 << 20}))")
    assert companion.run("r.getrlimit(r.RLIMIT_DATA)[1]") == 400 << 20
    with pytest.raises(MemoryError):
        companion.run("bytearray(450 << 20)")
    assert companion.run("1 + 1") == 2


def test_a_limit_that_is_changed_meanwhile_holds() -> None:
    with Companion("changing", policy=SMALL) as companion:
        companion.run("1")
        companion.change_policy(GREAT)
        assert companion.run("big = bytearray(250_000_000); len(big)") == 250_000_000
        companion.run("del big")
        companion.change_policy(SMALL)
        for _ in range(2):
            with pytest.raises(MemoryError):
                companion.run("bytearray(8_000_000_000)")
        assert companion.run("1 + 1") == 2
