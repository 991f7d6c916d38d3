"""The time for a cell or a call: what a policy's `wall` promises."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator

import pytest
from waiting import until

from isolate_magic import CellTimeout, Companion, Policy, ProcessTerminationError, TimeoutExceeded
from isolate_magic.process import Process

SLOW = """
import time
class Slow:
    def work(self, seconds):
        time.sleep(seconds)
        return seconds
slow = Slow()
"""


@pytest.fixture
def hurried() -> Iterator[Companion]:
    with Companion("hurried", policy=Policy(wall="0.2s", name="short")) as made:
        made.run(SLOW)
        yield made


def test_a_cell_is_interrupted_at_the_limit_and_the_companion_lives_on(hurried: Companion) -> None:
    pid = hurried.pid
    with pytest.raises(CellTimeout, match=r"after 0.2 s, the `wall` of policy 'short'"):
        hurried.run("time.sleep(30)")
    assert hurried.pid == pid


def test_a_call_through_a_proxy_is_interrupted_as_well(hurried: Companion) -> None:
    with pytest.raises(CellTimeout, match=r"Slow object\.work was interrupted"):
        hurried.pull("slow").work(30)


def test_a_function_that_was_sent_is_interrupted_as_well(hurried: Companion) -> None:
    with pytest.raises(CellTimeout):
        hurried.call(time.sleep, 30)


def test_a_longer_timeout_does_not_lengthen_it(hurried: Companion) -> None:
    with pytest.raises(CellTimeout, match="wall"):
        hurried.run("time.sleep(30)", timeout=20)


def test_a_shorter_timeout_counts_beside_a_wall() -> None:
    late = pytest.raises(CellTimeout, match=r"after 0.1 s; the companion")
    with Companion("patient", policy=Policy(wall="20s")) as companion, late:
        companion.run("import time; time.sleep(30)", timeout=0.1)


def test_whoever_does_not_let_himself_be_interrupted_is_killed(hurried: Companion) -> None:
    with pytest.raises(TimeoutExceeded, match=r"time limit of 0.2 s \(wall of policy 'short'\)"):
        hurried.run(
            "while True:\n    try:\n        time.sleep(9)\n    except KeyboardInterrupt:\n        pass"
        )
    assert [crash.kind for crash in hurried.crashes] == ["timeout"]


def test_each_request_has_the_whole_time(hurried: Companion) -> None:
    slow = hurried.pull("slow")
    assert [slow.work(0.08) for _ in range(4)] == [0.08] * 4


def test_waiting_for_others_is_not_held_against_a_request(hurried: Companion) -> None:
    slow, done = hurried.pull("slow"), []
    threads = [threading.Thread(target=lambda: done.append(slow.work(0.1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0.1] * 4


def test_a_callback_counts_towards_the_cell_that_led_to_it(hurried: Companion) -> None:
    hurried.push({"back": lambda: hurried.pull("slow").work(0.15)})
    with pytest.raises(CellTimeout):
        hurried.run("back(); back(); back()")


def test_a_new_limit_holds_at_once() -> None:
    with Companion("changing", policy=Policy(wall="60s")) as companion:
        companion.run(SLOW)
        companion.change_policy(Policy(wall="0.1s"))
        with pytest.raises(CellTimeout):
            companion.run("time.sleep(30)")
        companion.change_policy(Policy())
        companion.run("time.sleep(0.3)")


def test_a_new_limit_holds_for_what_is_under_way() -> None:
    with Companion("changing-2", policy=Policy(wall="60s")) as companion:
        companion.run(SLOW)
        companion.push({"hurry": lambda: companion.change_policy(Policy(wall="0.2s")).took})
        with pytest.raises(CellTimeout):
            companion.run("hurry(); time.sleep(30)")


@pytest.mark.parametrize("code", ["await asyncio.sleep(60)", "while True: pass"])
def test_what_is_awaited_has_the_same_limit_and_the_companion_lives_on(code: str) -> None:
    async def wait(companion: Companion) -> None:
        with pytest.raises(CellTimeout, match="wall"):
            await companion.pull("late")()
        assert await companion.pull("early")() == 3

    with Companion("awaited", policy=Policy(wall=0.3)) as companion:
        companion.run(f"import asyncio\nasync def late():\n    {code}\nasync def early(): return 3")
        asyncio.run(wait(companion))


def test_processes_that_have_ended_are_not_kept_until_their_time_would_be_over() -> None:
    with Companion("short-lived", policy=Policy(name="patient", wall=1000), snapshots="auto") as companion:
        for _ in range(10):
            with pytest.raises(ProcessTerminationError):
                companion.run("import os; os.abort()")

        def kept() -> int:
            gc.collect()
            return sum(type(one) is Process and one.name == "short-lived" for one in gc.get_objects())

        until(lambda: kept() <= 3)
