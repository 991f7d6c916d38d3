"""asyncio across the border: tasks between cells, awaited proxies, async callbacks, `companion.aio`."""

from __future__ import annotations

import asyncio
import collections.abc as abc
import contextlib
import gc
import inspect
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
import pytest
from kernels import Kernel
from there import There, there_with
from waiting import until

from isolate_magic import (
    CellTimeout,
    Companion,
    ProcessTerminationError,
    StaleProxyError,
    TransferError,
    byvalue,
    isproxy,
)

SOURCE = """
import asyncio, contextlib, os, time
seen = []

async def double(x, seconds=0.0):
    await asyncio.sleep(seconds)
    return 2 * x

class Refused(Exception):
    pass

async def refuse():
    await asyncio.sleep(0)
    raise Refused("no", 3)

async def numbers(n):
    try:
        for i in range(n):
            got = yield i
            if got is not None:
                seen.append(got)
    finally:
        seen.append("closed")

class Steps:
    def __init__(self, n): self.left = n
    def __aiter__(self): return self
    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left

class Room:
    async def __aenter__(self):
        await asyncio.sleep(0)
        return "inside"
    async def __aexit__(self, kind, error, trace):
        seen.append((kind, error))
        return isinstance(error, ValueError)

@contextlib.asynccontextmanager
async def borrowed(x):
    try:
        yield [x]
    except KeyError:
        seen.append("swallowed")

async def sleeper(note="cancelled"):
    seen.append("begun")
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        seen.append(note)
        raise

async def stubborn():
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        return "stayed"

async def busy():
    seen.append("busy")
    while True: pass

async def die():
    await asyncio.sleep(0.01)
    os._exit(3)
"""


@pytest.fixture
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    with there_with(f"aio-{abs(hash(request.node.nodeid)) % 10**8}", SOURCE) as found:
        yield found


def seen(there: There) -> list[Any]:
    found: list[Any] = byvalue(there.companion.pull("seen"))
    return found


async def eventually(condition: Any, seconds: float = 10.0) -> None:
    """Wait for a condition without blocking the loop."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Count in this loop, and remember the moments: a blocked loop leaves a gap."""
    moments: list[float] = []

    async def tick() -> None:
        while True:
            moments.append(time.monotonic())
            await asyncio.sleep(0.005)

    task = asyncio.create_task(tick())
    try:
        yield moments
    finally:
        task.cancel()


def widest(moments: list[float]) -> float:
    return max(b - a for a, b in zip(moments, moments[1:], strict=False))


# ---------------------------------------------------------------- tasks between cells


def test_a_task_that_a_cell_leaves_behind_runs_between_cells(companion: Companion) -> None:
    companion.run(
        "import asyncio\nticks = []\nasync def tick():\n    while True:\n        ticks.append(1)\n"
        "        await asyncio.sleep(0.002)\ntask = asyncio.create_task(tick())"
    )
    until(lambda: companion.run("len(ticks)") > 5)
    before = companion.run("len(ticks)")
    until(lambda: companion.run("len(ticks)") > before + 5)
    companion.run("task.cancel()")
    until(lambda: companion.run("task.done()"))


def test_a_task_goes_on_without_any_request(companion: Companion) -> None:
    told = threading.Event()
    companion.run(
        "import asyncio\nasync def later():\n    for _ in range(20): await asyncio.sleep(0.005)\n    tell()\n"
        "task = asyncio.create_task(later())",
        push={"tell": lambda: told.set()},
    )
    assert told.wait(10)


def test_what_a_task_prints_and_raises_is_shown_although_no_cell_runs(
    companion: Companion, capfd: pytest.CaptureFixture[str]
) -> None:
    companion.run(
        "import asyncio\nasync def fail():\n    await asyncio.sleep(0.02)\n    print('from the task')\n"
        "    1 / 0\ntask = asyncio.create_task(fail())\ndel task"
    )
    until(lambda: "from the task" in companion.logs())
    until(
        lambda: (
            companion.run("import gc; gc.collect()") is not None and "ZeroDivisionError" in companion.logs()
        )
    )
    assert "never retrieved" in companion.logs()


def test_a_call_can_leave_a_task_behind_and_needs_no_running_loop_of_its_own(there: There) -> None:
    start = there("def start():\n    return asyncio.create_task(double(4, 0.01))\nstart")
    task = start()
    until(task.done)
    assert task.result() == 8


def test_awaiting_at_the_top_of_a_cell_runs_in_the_same_loop_as_the_tasks(there: There) -> None:
    assert there("task = asyncio.create_task(double(5, 0.01))\nawait task") == 10
    assert there("asyncio.get_running_loop() is asyncio.get_event_loop()") is True


def test_asyncio_run_works_in_cells_and_calls_and_leaves_the_loop_in_place(there: There) -> None:
    assert there("asyncio.run(double(3, 0.001))") == 6
    nested = there("def nested(): return asyncio.run(double(4))\nnested")
    assert nested() == 8
    there("other = asyncio.create_task(double(1, 0.001))")
    until(lambda: there("other.done()"))


def test_a_loop_that_user_code_has_closed_is_replaced(there: There) -> None:
    assert there("loop = asyncio.get_event_loop(); loop.run_until_complete(double(2))") == 4
    there("loop.close()")
    there("1")
    assert there("await double(3)") == 6


def test_a_thread_of_the_companion_reaches_the_loop_while_nothing_else_happens(there: There) -> None:
    told = threading.Event()
    there.companion.run(
        "import threading\nasync def say(): tell()\nloop = asyncio.get_running_loop()\n"
        "threading.Timer(0.05, lambda: asyncio.run_coroutine_threadsafe(say(), loop)).start()",
        push={"tell": lambda: told.set()},
    )
    assert told.wait(10)


def test_to_thread_and_subprocesses_finish_between_requests(there: There) -> None:
    there("task = asyncio.create_task(asyncio.to_thread(lambda: 5))")
    until(lambda: there("task.done()"))
    there(
        "async def echo():\n    p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1)\n"
        "    return (await p.communicate())[0]\nother = asyncio.create_task(echo())"
    )
    until(lambda: there("other.done()"))
    assert there("other.result()") == b"hi\n"


def test_an_idle_companion_uses_no_processor_time_with_or_without_a_sleeping_task(there: There) -> None:
    meter = psutil.Process(there.companion.pid)
    there("task = asyncio.create_task(asyncio.sleep(100))")

    def spent() -> float:
        times = meter.cpu_times()
        return times.user + times.system

    before = spent()
    threading.Event().wait(0.5)
    assert spent() - before <= 0.05
    there("task.cancel()")


def test_an_interrupt_of_an_awaiting_cell_is_a_keyboardinterrupt_there_and_spares_the_tasks(
    there: There,
) -> None:
    there("other = asyncio.create_task(sleeper())")

    def strike() -> None:
        until(lambda: "waiting" in there.companion.logs())
        there.companion.interrupt()

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        there("try:\n    print('waiting')\n    await asyncio.sleep(100)\nfinally:\n    after = 1")
    thread.join()
    assert there("after, other.done()") == (1, False)
    assert there("await double(2)") == 4


def test_a_cell_that_awaits_too_long_is_stopped_at_its_limit_for_good(there: There) -> None:
    with pytest.raises(CellTimeout):
        there.companion.run("await asyncio.sleep(0.3)\nseen.append('went on')", timeout=0.1)
    there("await asyncio.sleep(0.4)")
    assert seen(there) == []


def test_calls_of_other_threads_are_served_while_a_cell_awaits(there: There) -> None:
    release = there("gate = asyncio.Event()\ndef release(): gate.set()\nrelease")

    def later() -> None:
        until(lambda: "waiting" in there.companion.logs())
        release()

    thread = threading.Thread(target=later)
    thread.start()
    assert there("print('waiting')\nawait gate.wait()") is True
    thread.join()


def test_cells_of_other_threads_wait_for_a_cell_that_awaits(there: There) -> None:
    def second() -> None:
        until(lambda: "waiting" in there.companion.logs())
        there("seen.append('second')")

    thread = threading.Thread(target=second)
    thread.start()
    there("print('waiting')\nawait asyncio.sleep(0.2)\nseen.append('first')")
    thread.join()
    assert seen(there) == ["first", "second"]


# ---------------------------------------------------------------- proxies that are awaited


def test_awaiting_a_remote_coroutine_gives_its_result(there: There) -> None:
    async def use() -> None:
        assert await there.double(21) == 42
        assert await there.double("ab", 0.01) == "abab"
        made = await there.double(there.companion.run("[1]"))
        assert isproxy(made)
        assert made == [1, 1]

    asyncio.run(use())


def test_a_remote_exception_arrives_as_its_own_class(there: There) -> None:
    async def use() -> None:
        with pytest.raises(there.Refused) as caught:
            await there.refuse()
        assert caught.value.args == ("no", 3)
        assert "refuse" in caught.value.__notes__[0]

    asyncio.run(use())


def test_gather_runs_all_at_the_same_time_and_this_loop_goes_on(there: There) -> None:
    async def use() -> None:
        async with ticking() as moments:
            began = time.monotonic()
            results = await asyncio.gather(*(there.double(i, 0.3) for i in range(10)))
            took = time.monotonic() - began
        assert results == [2 * i for i in range(10)]
        assert took < 1.5  # one after the other: 3 s
        assert widest(moments) < 0.25

    asyncio.run(use())


def test_five_hundred_that_end_at_once_are_all_heard_of(there: There) -> None:
    gate = there(
        "gate = asyncio.Event()\nasync def wait_for_gate(i):\n    await gate.wait()\n    return i\ngate"
    )

    async def use() -> None:
        tasks = [asyncio.create_task(there.wait_for_gate(i)) for i in range(500)]
        await asyncio.sleep(0.05)
        gate.set()
        assert await asyncio.wait_for(asyncio.gather(*tasks), 20) == list(range(500))

    asyncio.run(use())


def test_proxies_are_what_inspect_and_asyncio_take_them_for(there: There) -> None:
    coroutine = there.double(1)
    assert inspect.isawaitable(coroutine)
    assert inspect.iscoroutine(coroutine)
    assert asyncio.iscoroutine(coroutine)
    assert isinstance(coroutine, abc.Coroutine)
    assert isinstance(coroutine, abc.Awaitable)
    assert inspect.iscoroutinefunction(there.double)
    assert inspect.isasyncgenfunction(there.numbers)
    stream = there.numbers(2)
    assert inspect.isasyncgen(stream)
    assert isinstance(stream, abc.AsyncGenerator)
    assert isinstance(there.Steps(1), abc.AsyncIterator)
    assert isinstance(there.Room(), contextlib.AbstractAsyncContextManager)
    assert not inspect.isawaitable(there.companion.run("[1]"))
    assert not isinstance(there.companion.run("[1]"), abc.AsyncIterable)
    there("future = asyncio.get_event_loop().create_future()")
    future = there.future
    assert inspect.isawaitable(future)
    assert not asyncio.isfuture(future)
    coroutine.close()


def test_a_remote_coroutine_is_driven_by_run_tasks_and_task_groups(there: There) -> None:
    assert asyncio.run(there.double(4)) == 8

    async def use() -> None:
        assert await asyncio.create_task(there.double(5)) == 10
        assert await asyncio.ensure_future(there.double(6)) == 12
        assert await asyncio.shield(there.double(7)) == 14
        async with asyncio.timeout(10):
            assert await there.double(8) == 16

    asyncio.run(use())


def test_a_remote_coroutine_without_any_loop_goes_step_by_step(there: There) -> None:
    there("async def at_once(): return 7")
    with (
        pytest.raises(RuntimeError, match="StopIteration") if False else pytest.raises(StopIteration) as done
    ):
        there.at_once().send(None)
    assert done.value.value == 7


def test_a_second_await_is_refused_as_python_refuses_it(there: There) -> None:
    async def use() -> None:
        coroutine = there.double(1)
        await coroutine
        with pytest.raises(RuntimeError, match="already awaited"):
            await coroutine

    asyncio.run(use())


def test_remote_futures_and_tasks_are_awaited(there: There) -> None:
    async def use() -> None:
        task = there("asyncio.create_task(double(3, 0.01))")
        assert await task == 6
        assert await task == 6
        there("future = asyncio.get_running_loop().create_future()\ndef fill(x): future.set_result(x)")
        waiting = asyncio.ensure_future(there.future)
        await asyncio.sleep(0.01)
        there.fill("here")
        assert await waiting == "here"

    asyncio.run(use())


def test_async_for_over_remote_generators_and_iterators(there: There) -> None:
    async def use() -> None:
        assert [x async for x in there.numbers(3)] == [0, 1, 2]
        assert [x async for x in there.Steps(3)] == [2, 1, 0]
        stream = there.numbers(3)
        assert aiter(stream) is stream
        assert await anext(stream) == 0
        assert await stream.asend("sent") == 1
        await stream.aclose()
        assert seen(there)[-2:] == ["sent", "closed"]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        other = there.numbers(3)
        await anext(other)
        error = KeyError("thrown")
        with pytest.raises(KeyError) as caught:
            await other.athrow(error)
        assert caught.value is error

    asyncio.run(use())


def test_async_with_enters_leaves_and_tells_the_exact_exception(there: There) -> None:
    async def use() -> None:
        async with there.Room() as inside:
            assert inside == "inside"
        async with there.Room():
            raise ValueError("suppressed")
        error = LookupError("mine")
        with pytest.raises(LookupError) as caught:
            async with there.Room():
                raise error
        assert caught.value is error
        kinds = there("[(kind, repr(error)) for kind, error in seen]")
        assert byvalue(kinds) == [
            (None, "None"), (ValueError, "ValueError('suppressed')"), (LookupError, "LookupError('mine')"),
        ]  # fmt: skip
        async with there.borrowed(5) as made:
            assert made == [5]
        async with there.borrowed(5):
            raise KeyError
        async with contextlib.AsyncExitStack() as stack:
            assert await stack.enter_async_context(there.Room()) == "inside"

    asyncio.run(use())


def test_cancelling_here_cancels_there_and_waits_for_the_end(there: There) -> None:
    async def use() -> None:
        task = asyncio.create_task(there.sleeper())
        await eventually(lambda: seen(there) == ["begun"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen(there) == ["begun", "cancelled"]

    asyncio.run(use())


def test_wait_for_and_timeout_cancel_there(there: There) -> None:
    async def use() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(there.sleeper("first"), 0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await there.sleeper("second")
        assert seen(there) == ["begun", "first", "begun", "second"]
        assert await there.double(2) == 4

    asyncio.run(use())


def test_a_task_there_may_refuse_to_be_cancelled(there: There) -> None:
    async def use() -> None:
        task = asyncio.create_task(there.stubborn())
        await asyncio.sleep(0.1)
        task.cancel()
        assert await task == "stayed"

    asyncio.run(use())


def test_cancelling_a_task_there_that_never_waits_interrupts_it(there: There) -> None:
    pid = there.companion.pid

    async def use() -> None:
        task = asyncio.create_task(there.busy())
        await eventually(lambda: there.companion.stats["cpu"] > 0.3)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 5
        assert await there.double(2) == 4

    asyncio.run(use())
    assert there.companion.pid == pid


def test_a_cancellederror_of_the_companion_is_the_one_here(there: There) -> None:
    async def use() -> None:
        task = there("task = asyncio.create_task(sleeper())\ntask")
        there("task.cancel()")
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(use())
    remote = there("import asyncio as module\nmodule")
    assert remote.CancelledError is asyncio.CancelledError
    assert remote.QueueEmpty is asyncio.QueueEmpty
    with pytest.raises(asyncio.QueueEmpty):
        there("asyncio.Queue().get_nowait()")


def test_a_companion_that_dies_midway_ends_every_await(there: There) -> None:
    async def use() -> None:
        waiting = asyncio.create_task(there.sleeper())
        await eventually(lambda: seen(there) == ["begun"])
        with pytest.raises(ProcessTerminationError):
            await there.die()
        with pytest.raises(ProcessTerminationError) as caught:
            await waiting
        assert caught.value.report.exit_code == 3

    asyncio.run(use())


def test_a_stale_coroutine_says_so(there: There) -> None:
    coroutine = there.double(1)
    there.companion.restart()

    async def use() -> None:
        with pytest.raises(StaleProxyError):
            await coroutine

    asyncio.run(use())


def test_two_companions_are_awaited_at_once() -> None:
    with there_with("left", SOURCE) as left, there_with("right", SOURCE) as right:

        async def use() -> list[Any]:
            return await asyncio.gather(*((left, right)[i % 2].double(i, 0.05) for i in range(8)))

        assert asyncio.run(use()) == [2 * i for i in range(8)]


def test_a_coroutine_that_nobody_awaits_is_freed_there(there: There) -> None:
    there(
        "import gc, types\ndef coroutines(): return sum(type(x) is types.CoroutineType for x in gc.get_objects())"
    )
    before = there.coroutines()
    made = [there.double(i) for i in range(5)]
    assert there.coroutines() == before + 5
    made.clear()
    gc.collect()
    until(lambda: there.coroutines() == before)


def test_what_is_awaited_is_forgotten_afterwards(there: There) -> None:
    async def use() -> None:
        await asyncio.gather(*(there.double(i) for i in range(50)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(there.sleeper(), 0.05)

    asyncio.run(use())
    talk = there.companion._process.talk  # type: ignore[union-attr]
    until(lambda: not talk.slots)
    assert there("len(__import__('isolate_magic.link.packing').link.packing.here.tasks.running)") == 0


def test_several_threads_with_loops_of_their_own_await_at_once(there: There) -> None:
    results: list[Any] = []

    def work(index: int) -> None:
        results.append(asyncio.run(there.double(index, 0.02)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [0, 2, 4, 6, 8, 10]


def test_a_notebook_awaits_remote_coroutines_at_the_top_of_a_cell() -> None:
    kernel = Kernel()
    try:
        kernel.run("%load_ext isolate_magic")
        kernel.run("%%isolated -o double,numbers\nimport asyncio\nasync def double(x):\n    await asyncio.sleep(0.01)\n"
                   "    return 2 * x\nasync def numbers(n):\n    for i in range(n): yield i")  # fmt: skip
        assert kernel.run("await double(21)").result["text/plain"] == "42"
        assert kernel.run("[x async for x in numbers(3)]").result["text/plain"] == "[0, 1, 2]"
        assert (
            kernel.run("import asyncio; await asyncio.gather(double(1), double(2))").result["text/plain"]
            == "[2, 4]"
        )
        kernel.run("%%isolated\nticks = []\nasync def tick():\n    while True:\n        ticks.append(1)\n"
                   "        await asyncio.sleep(0.01)\ntask = asyncio.create_task(tick())")  # fmt: skip
        kernel.run("import time\ndeadline = time.monotonic() + 10")
        cell = kernel.run(
            "from isolate_magic import default_companion\n"
            "while default_companion().run('len(ticks)') < 5: assert time.monotonic() < deadline"
        )
        assert cell.status == "ok", cell.error
        cell = kernel.run("print(await default_companion().aio.run('print(\"here\"); 6 * 7'))")
        assert "here" in cell.stream()
        assert "42" in cell.stream()
    finally:
        kernel.close()


# ---------------------------------------------------------------- functions of ours that are awaited


def test_the_companion_awaits_an_async_function_of_ours_in_the_loop_that_awaits_it(there: There) -> None:
    via = there("async def via(f, *args): return await f(*args)\nvia")

    async def use() -> None:
        here = asyncio.get_running_loop()
        loops: list[Any] = []

        async def add_one(x: int) -> int:
            loops.append(asyncio.get_running_loop())
            await asyncio.sleep(0.01)
            return x + 1

        assert await via(add_one, 4) == 5
        assert loops == [here]
        assert await asyncio.gather(*(via(add_one, i) for i in range(20))) == list(range(1, 21))

    asyncio.run(use())


def test_exceptions_and_nested_awaits_go_through_in_both_directions(there: There) -> None:
    via = there("async def via(f, *args): return await f(*args)\nvia")
    error = KeyError("ours")

    async def use() -> None:
        async def down(n: int) -> int:
            if not n:
                raise error
            return 1 + await via(down, n - 1)  # type: ignore[no-any-return]

        with pytest.raises(KeyError) as caught:
            await via(down, 5)
        assert caught.value is error

        async def deep(n: int) -> int:
            return 1 + await via(deep, n - 1) if n else 0

        assert await via(deep, 10) == 10

    asyncio.run(use())


def test_a_cancelled_await_there_cancels_our_function(there: There) -> None:
    via = there("async def via(f): return await asyncio.wait_for(f(), 0.05)\nvia")
    cancelled: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise

    async def use() -> None:
        with pytest.raises(TimeoutError):
            await via(slow)

    asyncio.run(use())
    assert cancelled == ["yes"]


@pytest.mark.parametrize(
    "cell", ["await f(4)", "asyncio.run(f(4))", "await asyncio.to_thread(lambda: asyncio.run(f(4)))"]
)
def test_a_cell_awaits_our_function_also_while_our_loop_waits_for_the_cell(there: There, cell: str) -> None:
    kept: list[int] = []

    async def f(x: int) -> int:
        await asyncio.sleep(0.01)
        kept.append(x)
        return x + 1

    there.companion.push({"f": f})
    assert there(cell) == 5  # no loop here at all

    async def use() -> None:
        there.companion.push({"f": f})
        assert there(cell) == 5  # this very loop waits
        assert await there.companion.aio.run(cell) == 5

    asyncio.run(use())
    assert kept == [4, 4, 4]


def test_a_task_between_cells_awaits_our_function_in_the_loop_that_gave_it(there: There) -> None:
    async def use() -> None:
        got: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def take(x: Any) -> None:
            got.set_result(x)

        await there.companion.aio.run("task = asyncio.create_task(take(5))", push={"take": take})
        assert await asyncio.wait_for(got, 10) == 5

    asyncio.run(use())


def test_a_plain_callback_of_an_awaited_coroutine_runs_in_the_thread_of_our_loop(there: There) -> None:
    via = there("async def via(f):\n    await asyncio.sleep(0)\n    return f()\nvia")
    ran_in: list[int] = []

    async def use() -> None:
        assert await via(lambda: ran_in.append(threading.get_ident()) or there.double.__name__) == "double"

    asyncio.run(use())
    assert ran_in == [threading.get_ident()]


def test_a_callback_of_a_plain_call_may_await_the_companion(there: There) -> None:
    through = there("def through(f): return f()\nthrough")
    kept: list[int] = []

    def callback() -> Any:
        kept.append(1)
        return asyncio.run(there.double(8, 0.01))

    assert through(callback) == 16


def test_a_plain_callback_that_the_loop_there_waits_for_cannot_await_it(there: There) -> None:
    there("async def via(f): return f()")
    kept: list[int] = []

    def callback() -> Any:
        kept.append(1)
        return asyncio.run(there.double(1))

    with pytest.raises(RuntimeError, match="make the callback an async function"):
        there.companion.run("await via(f)", push={"f": callback})


def test_a_function_that_only_returns_a_coroutine_is_refused_with_advice(there: There) -> None:
    async def inner() -> int:
        return 1

    kept: list[int] = []

    def outer() -> Any:
        kept.append(1)
        return inner()

    with pytest.raises(TransferError, match="async def"):
        there.companion.run("f()", push={"f": outer})


def test_our_async_functions_are_known_as_such_there(there: There) -> None:
    kept: list[int] = []

    async def f() -> None:
        kept.append(1)

    assert there.companion.run("asyncio.iscoroutinefunction(f)", push={"f": f}) is True


# ---------------------------------------------------------------- companion.aio


def test_aio_offers_what_the_companion_does(companion: Companion) -> None:
    async def use() -> None:
        aio = companion.aio
        assert await aio.run("x = 6\nx * y", push={"y": 7}) == 42
        assert await aio.run_cell("x + 1", silent=True) == 7
        assert await aio.call(divmod, 7, 2) == (3, 1)
        assert (await aio.load_module("math")).sqrt(16.0) == 4.0
        await aio.push({"z": 1})
        assert await aio.pull("z") == 1
        with pytest.raises(ZeroDivisionError):
            await aio.run("1 / 0")
        with pytest.raises(CellTimeout):
            await aio.run("import time; time.sleep(10)", timeout=0.1)
        pid = companion.pid
        assert (await aio.restart()) is companion
        assert companion.pid != pid
        await aio.stop()
        assert companion.state == "stopped"
        await aio.start()
        assert companion.state == "idle"

    asyncio.run(use())


def test_aio_call_awaits_what_an_async_function_returns(there: There) -> None:
    assert asyncio.run(there.companion.aio.call(there.double, 4)) == 8


def test_the_loop_is_free_while_a_cell_runs_and_several_take_turns(companion: Companion) -> None:
    async def use() -> None:
        companion.run("import time, threading\nran = []")
        async with ticking() as moments:
            await asyncio.gather(*(
                companion.aio.run(f"ran.append(('in', {i})); time.sleep(0.1); ran.append(('out', {i}))")
                for i in range(4)
            ))  # fmt: skip
        assert widest(moments) < 0.1
        assert byvalue(companion.pull("ran")) == [(way, i) for i in range(4) for way in ("in", "out")]

    asyncio.run(use())


def test_cancelling_interrupts_the_cell_and_keeps_the_names(companion: Companion) -> None:
    companion.run("kept = 5")
    pid = companion.pid

    async def use() -> None:
        task = asyncio.create_task(
            companion.aio.run(
                "import time\ntry:\n    print('go')\n    while True: time.sleep(0.01)\n"
                "except KeyboardInterrupt:\n    caught = True\n    raise"
            )  # fmt: skip
        )
        await eventually(lambda: "go" in companion.logs())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await companion.aio.run("kept, caught") == (5, True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await companion.aio.run("while True: pass")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                companion.aio.run("await asyncio.sleep(100)", push={"asyncio": asyncio}), 0.1
            )
        assert await companion.aio.run("kept") == 5

    asyncio.run(use())
    assert companion.pid == pid


def test_what_is_cancelled_before_it_begins_never_runs(companion: Companion) -> None:
    async def use() -> None:
        companion.run("import time\nran = []")
        first = asyncio.create_task(companion.aio.run("time.sleep(0.3); ran.append(1)"))
        others = [asyncio.create_task(companion.aio.run(f"ran.append({i})")) for i in (2, 3, 4)]
        await asyncio.sleep(0.1)
        for task in others[:2]:
            task.cancel()
        assert await asyncio.gather(first, *others, return_exceptions=True)
        assert byvalue(companion.pull("ran")) == [1, 4]

    asyncio.run(use())


def test_a_companion_that_dies_under_an_awaited_cell_says_so(companion: Companion) -> None:
    async def use() -> None:
        with pytest.raises(ProcessTerminationError):
            await companion.aio.run("import os; os.kill(os.getpid(), 9)")
        assert await companion.aio.run("1 + 1") == 2

    asyncio.run(use())


def test_restart_does_not_wait_for_the_cell_that_is_awaited(companion: Companion) -> None:
    async def use() -> None:
        task = asyncio.create_task(companion.aio.run("import time\nprint('go')\ntime.sleep(100)"))
        await eventually(lambda: "go" in companion.logs())
        await asyncio.wait_for(companion.aio.restart(), 20)
        with pytest.raises(ProcessTerminationError):
            await task

    asyncio.run(use())


def test_the_threads_of_aio_end_when_they_are_idle(companion: Companion) -> None:
    asyncio.run(companion.aio.run("1"))
    until(
        lambda: (
            not [t for t in threading.enumerate() if t.name in ("isolate_magic-aio", "isolate_magic-await")]
        )
    )


def test_a_keyboardinterrupt_of_the_main_session_interrupts_what_its_loop_awaits(
    companion: Companion,
) -> None:
    companion.run("kept = 1")

    async def use() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(
            companion.aio.run("import time\nprint('go')\nwhile True: time.sleep(0.01)")
        )
        await eventually(lambda: "go" in companion.logs())
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        await task

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(use())
    assert companion.run("kept") == 1


def test_a_call_of_a_task_that_comes_right_behind_the_reply_of_a_cell_is_not_overlooked(there: There) -> None:
    heard: list[int] = []
    there.companion.push({"hear": lambda i: heard.append(i)})
    there("async def tell(i): hear(i)")
    for i in range(200):
        there(f"print('x')\ntask = asyncio.create_task(tell({i}))")
        until(lambda i=i: heard == list(range(i + 1)), 5)  # type: ignore[misc]
