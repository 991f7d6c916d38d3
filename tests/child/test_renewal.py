"""A woken copy goes on with the tasks, timers and readers of the original, apart from it."""

from __future__ import annotations

import sys

import pytest
from child.copies import played
from waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="companions live on Linux")

TASKS = """
import asyncio, socket
from isolate_magic.child import renewal

loop = asyncio.SelectorEventLoop()
seen = []
ours, theirs = socket.socketpair()
ours.setblocking(False)

async def sleeper():
    await asyncio.sleep(0.2)
    seen.append("slept")

async def listener():
    seen.append((await loop.sock_recv(ours, 10)).decode())

tasks = [loop.create_task(sleeper()), loop.create_task(listener())]
loop.call_later(0.2, seen.append, "later")
loop.run_until_complete(asyncio.sleep(0))
"""


def test_tasks_timers_and_readers_go_on_in_the_original_and_in_the_copy() -> None:
    told = played(
        TASKS
        + """
copy = asleep()
if copy:
    renewal.renew(loop)
theirs.send(b"copy" if copy else b"original")
loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks), 10))
loop.run_until_complete(asyncio.sleep(0.05))
tell(copy=copy, seen=sorted(seen))
os._exit(0)
"""
    )
    assert told == [
        {"copy": False, "seen": ["later", "original", "slept"]},
        {"copy": True, "seen": ["copy", "later", "slept"]},
    ]


def test_the_copy_does_not_see_what_the_original_registers_and_the_other_way_round() -> None:
    told = played(
        """
import asyncio, socket
from isolate_magic.child import renewal

loop = asyncio.SelectorEventLoop()
loop.run_until_complete(asyncio.sleep(0))
back, forth = os.pipe()
reader, writer = os.pipe()
os.write(writer, b"x")
copy = os.fork()
if copy == 0:
    renewal.renew(loop)
    loop.add_reader(reader, lambda: None)
    os.write(forth, b"x")
    signal.pause()
os.read(back, 1)
mine = loop._selector.select(0)
loop.add_reader(reader, lambda: None)
registered = len(loop._selector.select(0))
os.kill(copy, signal.SIGKILL)
os.waitpid(copy, 0)
tell(of_the_copy=len(mine), own=registered)
os._exit(0)
"""
    )
    assert told == [{"of_the_copy": 0, "own": 1}]


def test_a_wake_up_of_the_original_does_not_wake_the_copy() -> None:
    told = played(
        TASKS
        + """
if asleep():
    renewal.renew(loop)
    loop.call_later(0.01, lambda: None)
    ready = [key.fd for key, _ in loop._selector.select(0)]
    loop.call_soon_threadsafe(seen.append, "own")
    woken = [key.fd for key, _ in loop._selector.select(0)]
    tell(foreign=len(ready), own=woken == [loop._ssock.fileno()])
    os._exit(0)
loop.call_soon_threadsafe(seen.append, "x")
die()
"""
    )
    assert told == [{"foreign": 0, "own": True}]


def test_a_loop_that_runs_can_be_renewed_from_within() -> None:
    told = played(
        TASKS
        + """
from asyncio import events

async def cell():
    copy = asleep()
    if copy:
        renewal.renew(loop)
        events._set_running_loop(loop)
    theirs.send(b"came")
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    tell(copy=copy, seen=sorted(seen), running=asyncio.get_running_loop() is loop)

loop.run_until_complete(cell())
os._exit(0)
"""
    )
    seen = ["came", "later", "slept"]
    assert [sorted(set(one["seen"]) | {"later"}) for one in told] == [seen, seen]
    assert [one["copy"] for one in told] == [False, True]
    assert all(one["running"] for one in told)


def test_signal_handlers_of_the_loop_work_in_the_copy() -> None:
    told = played(
        """
import asyncio
from isolate_magic.child import renewal

loop = asyncio.SelectorEventLoop()
came = asyncio.Event()
loop.add_signal_handler(signal.SIGUSR1, came.set)
if asleep():
    renewal.renew(loop)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_until_complete(asyncio.wait_for(came.wait(), 10))
    tell(came=came.is_set())
    os._exit(0)
die()
"""
    )
    assert told == [{"came": True}]


def test_interval_timers_go_on_in_the_copy_with_what_was_left() -> None:
    told = played(
        """
from isolate_magic.child import renewal

signal.setitimer(signal.ITIMER_REAL, 1000, 7)
running = renewal.timers()
if asleep():
    lost = signal.getitimer(signal.ITIMER_REAL)
    renewal.restart(running)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    tell(lost=lost, kept=990 < left <= 1000.01, interval=interval)
    os._exit(0)
die()
"""
    )
    assert told == [{"lost": [0.0, 0.0], "kept": True, "interval": 7.0}]


def test_the_loop_of_a_companion_goes_on_in_a_copy() -> None:
    from isolate_magic import Companion

    with Companion("renewed") as companion:
        companion.run(
            """
import asyncio, json, os
talk = get_ipython().gate
seen = []

async def sleeper():
    await asyncio.sleep(0.3)
    seen.append("slept")

task = asyncio.create_task(sleeper())
await asyncio.sleep(0)
"""
        )
        companion.run(
            """
reader, writer = os.pipe()
copy = os.fork()
if copy == 0:
    loop = talk.keeper.loop
    talk.keeper.resume()
    standing = asyncio.events._get_running_loop() is None and asyncio.get_event_loop() is loop
    loop.remove_reader(talk.sock.fileno())
    loop.run_until_complete(asyncio.wait_for(task, 10))
    told = [seen, standing]
    os.write(writer, json.dumps(told).encode())
    os._exit(0)
os.close(writer)
told = json.loads(os.read(reader, 1000))
os.waitpid(copy, 0)
"""
        )
        companion.run("await task")
        assert companion.pull("told") == [["slept"], True]
        assert companion.pull("seen") == ["slept"]


def test_a_woken_companion_goes_on_with_its_tasks_and_hears_the_main_session() -> None:
    from isolate_magic import Companion, ProcessTerminationError

    with Companion("taken-up", snapshots="auto") as companion:
        companion.run(
            """
import asyncio, os
ticks = []

async def ticker():
    while True:
        ticks.append(len(ticks))
        await asyncio.sleep(0.01)

task = asyncio.create_task(ticker())
"""
        )
        with pytest.raises(ProcessTerminationError):
            companion.run("os._exit(3)")
        before = companion.run("len(ticks)")
        companion.run("await asyncio.sleep(0.2)")
        assert companion.run("len(ticks)") > before
        until(lambda: companion.run("len(ticks)") > before + 20)
