"""Many threads and nested calls, on both sides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from waiting import until

from isolate_magic import Companion


def side_by_side(count: int, work: Callable[[int], object]) -> list[Any]:
    """Run work in so many threads at once and return the results."""
    gate = threading.Barrier(count)

    def start(index: int) -> object:
        gate.wait(10)
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def test_two_companions_at_once_do_not_mix() -> None:
    with Companion("left") as left, Companion("right") as right:
        left.run("who = 'left'")
        right.run("who = 'right'")
        pairs = side_by_side(8, lambda i: [(left, right)[i % 2].run("who") for _ in range(20)])
        assert pairs == [["left", "right"][i % 2 :: 2] * 20 for i in range(8)]


def test_a_callback_into_another_companion_works() -> None:
    with Companion("left") as left, Companion("right") as right:
        assert left.run("f(4)", push={"f": lambda x: right.run(f"{x} + 1")}) == 5


def test_eight_threads_get_their_own_results(companion: Companion) -> None:
    double = companion.run("def double(x): return 2 * x\ndouble")

    def work(index: int) -> bool:
        return all(double(index * 1000 + i) == 2 * (index * 1000 + i) for i in range(300))

    assert side_by_side(8, work) == [True] * 8


def test_a_callback_runs_in_the_thread_whose_call_led_to_it(companion: Companion) -> None:
    through = companion.run("def through(f, *args): return f(*args)\nthrough")

    def work(index: int) -> bool:
        def inner(depth: int) -> int:
            ran_in.append(threading.get_ident())
            return through(inner, depth - 1) if depth else index

        ran_in: list[int] = []
        right = all(through(inner, 2) == index for _ in range(20))
        return right and set(ran_in) == {threading.get_ident()}

    assert side_by_side(8, work) == [True] * 8


def test_calls_and_callbacks_nest_twenty_deep(companion: Companion) -> None:
    through = companion.run("def through(f, n): return f(n)\nthrough")

    def down(n: int) -> int:
        return 1 + through(down, n - 1) if n else 0

    assert down(20) == 20


def test_an_exception_keeps_its_identity_through_twenty_levels(companion: Companion) -> None:
    through = companion.run("def through(f, n): return f(n)\nthrough")
    error = KeyError("at the bottom")

    def down(n: int) -> int:
        if not n:
            raise error
        return through(down, n - 1)  # type: ignore[no-any-return]

    with pytest.raises(KeyError) as caught:
        down(20)
    assert caught.value is error


def test_a_thread_of_the_companion_calls_back_while_the_host_is_idle(companion: Companion) -> None:
    heard: list[Any] = []
    companion.run(
        "import threading\nstarted = threading.Timer(0.05, lambda: hear('idle', helper(5)))\nstarted.start()",
        push={"hear": lambda *args: heard.append(args), "helper": lambda x: x + len(heard)},
    )
    until(lambda: heard == [("idle", 5)], 5)
    assert companion.run("1 + 1") == 2


def test_threads_of_the_companion_call_back_nested_while_its_main_thread_waits_for_them(
    companion: Companion,
) -> None:
    companion.run("import threading\nlock = threading.RLock()\ndef inside(x):\n    with lock: return x + 1")
    inside = companion.pull("inside")
    code = """
results = []
def work(i):
    with lock:  # only this thread may enter `inside` meanwhile
        results.append(f(i))
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
sorted(results) == [1, 2, 3, 4]
"""
    assert companion.run(code, push={"f": lambda x: inside(x)}) is True


def test_requests_are_served_in_the_main_thread_also_while_another_one_reads(companion: Companion) -> None:
    hold = threading.Event()
    companion.run(
        "import threading\nthread = threading.Thread(target=wait)\nthread.start()",
        push={"wait": lambda: hold.wait(10)},
    )
    where = companion.run("where = lambda: threading.current_thread() is threading.main_thread()\nwhere")
    for _ in range(50):
        assert where() is True
        assert companion.run("threading.current_thread() is threading.main_thread()") is True
    hold.set()
    companion.run("thread.join()")


def test_many_threads_of_the_companion_call_back_at_once(companion: Companion) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(16) as pool:
    found = list(pool.map(f, range(200)))
found == [2 * x for x in range(200)]
"""
    seen: list[int] = []

    def f(x: int) -> int:
        seen.append(x)
        return 2 * x

    assert companion.run(code, push={"f": f}) is True
    assert sorted(seen) == list(range(200))


def test_threads_that_call_while_the_companion_restarts_meet_only_honest_errors(companion: Companion) -> None:
    from isolate_magic import ProcessTerminationError

    stop = threading.Event()
    strange: list[BaseException] = []

    def use(index: int) -> None:
        while not stop.is_set():
            try:
                assert companion.run(f"{index} + 1") == index + 1
            except ProcessTerminationError:
                continue
            except BaseException as error:
                strange.append(error)
                return

    threads = [threading.Thread(target=use, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        companion.restart()
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not strange


@pytest.mark.parametrize("copies", ["direct", "memfd"])
def test_eight_threads_with_large_arguments_and_results_get_their_own(
    monkeypatch: pytest.MonkeyPatch, copies: str
) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_COPIES", copies)
    with Companion(f"large-{copies}", env={"COPIES": copies}) as companion:
        turn = companion.run("def turn(b, f): return f(b[::-1])\nturn")

        def work(index: int) -> bool:
            body = bytes([index, *range(200)]) * 1000

            def callback(given: bytes) -> bytes:
                return given + body[:1]

            return all(turn(body, callback)[:-1] == body[::-1] for _ in range(5))

        assert side_by_side(8, work) == [True] * 8


def test_eight_threads_nest_five_deep_each_in_its_own_thread_with_exceptions(companion: Companion) -> None:
    through = companion.run("def through(f, *args): return f(*args)\nthrough")

    def work(index: int) -> bool:
        def down(depth: int) -> int:
            ran_in.add(threading.get_ident())
            if not depth:
                raise errors[-1]
            return through(down, depth - 1)  # type: ignore[no-any-return]

        ran_in: set[int] = set()
        errors: list[KeyError] = []
        for round_ in range(5):
            errors.append(KeyError(index, round_))
            with pytest.raises(KeyError) as caught:
                down(5)
            if caught.value is not errors[-1]:
                return False
        return ran_in == {threading.get_ident()}

    assert side_by_side(8, work) == [True] * 8


def test_calls_of_several_threads_take_turns_in_the_one_thread_of_the_companion(companion: Companion) -> None:
    enter = companion.run(
        "import threading, time\nspans = []\ndef enter():\n    began = time.monotonic()\n    time.sleep(0.02)\n"
        "    spans.append((began, time.monotonic()))\n    return threading.get_ident()\nenter"
    )
    assert len(set(side_by_side(6, lambda _: enter()))) == 1
    spans = sorted(companion.run("tuple(spans)"))
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert companion.run("threading.active_count()") == 1


def test_an_interrupt_of_one_threads_call_leaves_the_others_alone(companion: Companion) -> None:
    nap = companion.run(
        "import time\ndef nap(i):\n    print('go', i)\n    time.sleep(0.1)\n    return i\n"
        "def hang():\n    print('hanging')\n    while True: time.sleep(0.01)\nnap"
    )
    hang = companion.pull("hang")
    outcome: list[BaseException] = []

    def stuck() -> None:
        try:
            hang()
        except KeyboardInterrupt as error:
            outcome.append(error)

    thread = threading.Thread(target=stuck)
    thread.start()
    until(lambda: "hanging" in companion.logs())
    results: list[int] = []
    others = [threading.Thread(target=lambda i=i: results.append(nap(i))) for i in range(4)]  # type: ignore[misc]
    for other in others:
        other.start()
    until(lambda: len(companion._process.talk.slots) == 5)  # type: ignore[union-attr]
    assert companion.interrupt() is True
    for waiting in (thread, *others):
        waiting.join(10)
    assert len(outcome) == 1
    assert sorted(results) == [0, 1, 2, 3]


def test_a_callback_that_is_interrupted_in_one_thread_leaves_the_callbacks_of_others_alone(
    companion: Companion,
) -> None:
    through = companion.run("def through(f, *args): return f(*args)\nthrough")
    inside = threading.Event()

    def raising() -> None:
        inside.set()
        raise KeyboardInterrupt

    def quiet(x: int) -> int:
        assert inside.wait(10)
        return x + 1

    def work(index: int) -> object:
        if index:
            return through(quiet, index)
        with pytest.raises(KeyboardInterrupt):
            through(raising)
        return "interrupted"

    assert side_by_side(5, work) == ["interrupted", 2, 3, 4, 5]
