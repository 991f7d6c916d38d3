"""Memory before death: looked at only while somebody waits, told in the report."""

from __future__ import annotations

import pytest
from waiting import until

from isolate_magic import Companion, Policy, ProcessTerminationError
from isolate_magic.curve import Curve

GROW = """
import time, os
kept = []
for _ in range(12):
    kept.append(bytearray(20 << 20))
    time.sleep(0.06)
os.abort()
"""


@pytest.mark.parametrize("policy", [None, Policy(memory="1GiB")], ids=["unwatched", "supervised"])
def test_the_report_has_the_memory_before_death(policy: Policy | None) -> None:
    with Companion("curve", policy=policy) as companion, pytest.raises(ProcessTerminationError) as caught:
        companion.run(GROW)
    report = caught.value.report
    times = [when for when, _ in report.curve]
    assert times == sorted(times)
    assert 0 < times[-1] <= report.lifetime
    assert report.curve[-1][1] > report.curve[0][1] + (100 << 20)
    assert "memory before death: " in str(report)
    assert "<svg" in report._repr_html_()
    assert ("limit 1.0 GiB" in str(report)) == (policy is not None)


def test_calls_are_watched_like_cells(companion: Companion) -> None:
    companion.call(__import__("time").sleep, 0.5)
    process = companion._process
    assert process is not None
    assert 2 <= len(process.curve.samples) <= 6


def test_an_idle_companion_is_not_looked_at(companion: Companion) -> None:
    companion.run("import time; time.sleep(0.3)")
    process = companion._process
    assert process is not None
    curve = process.curve
    until(lambda: not curve._turn.locked(), 2)  # two looks that find nothing new, and then none
    seen = len(curve.samples)
    companion.run("1")
    until(lambda: not curve._turn.locked(), 2)
    assert len(curve.samples) <= seen + 2


def test_a_long_life_keeps_two_hundred_samples_and_the_peaks(companion: Companion) -> None:
    companion.start()
    curve = Curve(companion._process)
    sizes = iter([1 << 20, 9 << 20, *[2 << 20] * 1000])
    curve._resident = lambda: next(sizes)  # type: ignore[method-assign]
    for _ in range(700):
        curve._turn.acquire(False)
        curve._look()
    assert len(curve.samples) < 200
    assert max(size for _, size in curve.samples) == 9 << 20


def test_a_short_life_draws_nothing() -> None:
    with Companion("curve-short") as companion, pytest.raises(ProcessTerminationError) as caught:
        companion.run("import os; os.abort()")
    assert caught.value.report.curve == ()
    assert "memory before" not in str(caught.value.report)
