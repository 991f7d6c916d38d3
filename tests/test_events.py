"""What happens to companions reaches whoever listens: in order, completely, and harming nobody."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest
from waiting import until

import isolate_magic
from isolate_magic import (
    Companion,
    CpuExceeded,
    Event,
    MemoryExceeded,
    Policy,
    ProcessTerminationError,
    bulletin,
)


def kill(companion: Companion) -> None:
    with pytest.raises(ProcessTerminationError):
        companion.call(os.abort)


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_callbacks_hear_a_whole_life_in_order() -> None:
    heard: list[Event] = []
    companion = Companion("lively", policy=Policy(extends="trusted", processes=8))
    companion.on("*", heard.append)
    companion.start()
    first = companion.pid
    kill(companion)
    companion.restart()
    companion.change_policy(Policy(extends="trusted", processes=9))
    companion.close()
    until(lambda: len(heard) == 5)
    assert kinds(heard) == ["start", "crash", "restart", "policy", "stop"]
    assert {event.companion for event in heard} == {"lively"}
    assert [event.time for event in heard] == sorted(event.time for event in heard)
    assert heard[0].pid == heard[1].pid == first != heard[2].pid
    assert heard[1].details.signal == "SIGABRT"
    assert heard[2].details is heard[1].details
    assert "processes" in str(heard[3].details)
    assert heard[4].details.kind == "stop"


def test_limits_have_kinds_of_their_own() -> None:
    heard: list[Event] = []
    policy = Policy(memory="200MiB", cpu="1s")
    with Companion("limited", policy=policy) as companion, companion.on("*", heard.append):
        with pytest.raises((MemoryExceeded, MemoryError)):
            companion.run("parts = []\nwhile True:\n    parts.append(bytearray(8 << 20))")
        with pytest.raises(MemoryExceeded):
            companion.run(
                "import os, mmap\nparts = []\nwhile True:\n"
                "    parts.append(mmap.mmap(-1, 32 << 20, mmap.MAP_SHARED))\n    parts[-1].write(bytes(32 << 20))"
            )
        with pytest.raises(CpuExceeded):
            companion.run("while True: pass")
        until(lambda: "cpu" in kinds(heard))
    assert "memory" in kinds(heard)
    ended = next(event for event in heard if event.kind == "memory")
    assert "memory limit of 200 MiB passed" in ended.details.reason


def test_a_death_while_nobody_waits_is_told() -> None:
    heard: list[Event] = []
    with Companion("lonely") as companion, companion.on("crash", heard.append):
        assert companion.pid
        os.kill(companion.pid, signal.SIGKILL)
        until(lambda: heard)
        assert heard[0].details.signal == "SIGKILL"


def test_a_kind_is_heard_alone_and_only_until_it_is_taken_back(companion: Companion) -> None:
    crashes: list[Event] = []
    every: list[Event] = []
    taken = companion.on("crash", crashes.append)
    companion.on("*", every.append)
    kill(companion)
    until(lambda: crashes)
    taken.cancel()
    taken.cancel()
    kill(companion)
    until(lambda: len(every) == 3)
    assert len(crashes) == 1


def test_all_companions_of_the_session_can_be_heard() -> None:
    heard: list[Event] = []
    with isolate_magic.on("*", heard.append):
        for name in ("one", "two"):
            Companion(name).start().close()
        until(lambda: len(heard) == 4)
    assert [event.companion for event in heard] == ["one", "one", "two", "two"]


def test_callbacks_run_in_one_thread_of_ours_and_may_use_companions(companion: Companion) -> None:
    answers: list[Any] = []

    def use(event: Event) -> None:
        answers.append((threading.current_thread().name, companion.run("6 * 7")))

    with companion.on("crash", use):
        kill(companion)
        until(lambda: answers)
    assert answers == [("isolate_magic-events", 42)]


def test_a_callback_that_fails_is_logged_and_harms_nobody(
    companion: Companion, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    companion.on("crash", lambda event: 1 / 0)
    companion.on("crash", heard.append)
    with caplog.at_level(logging.ERROR, logger="isolate_magic"):
        kill(companion)
        until(lambda: heard and caplog.records)
    assert "ZeroDivisionError" in caplog.text
    assert companion.run("1 + 1") == 2


def test_a_slow_callback_holds_up_no_companion(companion: Companion) -> None:
    go_on = threading.Event()
    with companion.on("crash", lambda event: go_on.wait(20)):
        kill(companion)
        begin = time.monotonic()
        assert companion.run("1 + 1") == 2
        assert time.monotonic() - begin < 10
        go_on.set()


@pytest.mark.parametrize(("kind", "function"), [("crashed", print), ("crash", None)])
def test_what_cannot_be_heard_is_said(companion: Companion, kind: str, function: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="crash"):
        companion.on(kind, function)


# ---------------------------------------------------------------- iterators


def test_an_iterator_gives_all_that_happens_and_ends_with_its_companion() -> None:
    async def life() -> list[Event]:
        companion = Companion("iterated")
        events = companion.events()
        heard: list[Event] = []

        async def listen() -> None:
            heard.extend([event async for event in events])

        task = asyncio.create_task(listen())
        await asyncio.to_thread(companion.start)
        await asyncio.to_thread(kill, companion)
        await asyncio.to_thread(companion.start)
        companion.close()
        await asyncio.wait_for(task, 20)
        return heard

    assert kinds(asyncio.run(life())) == ["start", "crash", "restart", "stop"]


def test_an_iterator_remembers_what_happens_before_it_is_read(companion: Companion) -> None:
    events = isolate_magic.events()
    kill(companion)

    async def first() -> Event:
        return await asyncio.wait_for(anext(events), 10)

    assert asyncio.run(first()).kind == "crash"


def test_closing_an_iterator_wakes_who_reads_it(companion: Companion) -> None:
    async def read() -> list[Event]:
        events = companion.events()
        asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(events.aclose()))
        return [event async for event in events]

    assert asyncio.run(asyncio.wait_for(read(), 10)) == []


def test_the_events_of_a_closed_companion_are_none() -> None:
    companion = Companion("closed")
    companion.close()

    async def read() -> list[Event]:
        return [event async for event in companion.events()]

    assert asyncio.run(asyncio.wait_for(read(), 10)) == []


def test_too_many_events_are_dropped_and_counted(companion: Companion) -> None:
    events = companion.events()
    for number in range(bulletin.MOST + 7):
        bulletin.tell(companion, "policy", number)

    async def read() -> list[Event]:
        return [await anext(events) for _ in range(1 + bulletin.MOST)]

    heard = asyncio.run(read())
    assert (heard[0].kind, heard[0].details) == ("lost", 7)
    assert [event.pid for event in heard[1:]] == list(range(7, bulletin.MOST + 7))


def test_a_callback_that_cannot_keep_up_is_said_to_have_missed_some(
    companion: Companion, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int | None] = []
    go_on = threading.Event()

    def slow(event: Event) -> None:
        go_on.wait(20)
        heard.append(event.pid)

    with companion.on("policy", slow), caplog.at_level(logging.WARNING, logger="isolate_magic"):
        bulletin.tell(companion, "policy", 0)
        for number in range(1, bulletin.MOST + 9):
            bulletin.tell(companion, "policy", number)
        go_on.set()
        until(lambda: heard and heard[-1] == bulletin.MOST + 8, 20)
    assert heard == sorted(set(heard))
    assert "events were dropped" in caplog.text


def test_an_iterator_that_nobody_reads_goes_away(companion: Companion) -> None:
    async def leave() -> weakref.ref[Any]:
        events = companion.events()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        waiting.cancel()
        return weakref.ref(events)

    left = asyncio.run(leave())
    gc.collect()
    assert left() is None
    assert not [one for one in bulletin._streams if one.source is companion]
    kill(companion)  # and nobody misses the loop that has gone


def test_many_threads_tell_and_everybody_hears_the_same_order() -> None:
    first: list[Event] = []
    second: list[Event] = []
    with isolate_magic.on("*", first.append), isolate_magic.on("*", second.append):

        def live(name: str) -> None:
            for _ in range(5):
                Companion(name).start().close()

        threads = [threading.Thread(target=live, args=(f"thread-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(first) == len(second) == 40)
    assert first == second
    for number in range(4):
        own = [event.kind for event in first if event.companion == f"thread-{number}"]
        assert own == ["start", "stop"] * 5


def test_a_fork_of_the_session_hears_nothing_and_does_not_hang() -> None:
    code = (
        "import os, isolate_magic\nfrom isolate_magic import Companion, bulletin\n"
        "isolate_magic.on('*', lambda event: None)\nCompanion('a').start()\n"
        "if not os.fork():\n    assert not bulletin._subscriptions\n    Companion('b').start().close()\n    os._exit(0)\n"
        "_, status = os.wait()\nassert status == 0"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
