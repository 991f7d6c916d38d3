"""A companion tells lies about its classes, items and tasks: the host believes none, and is not held up."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from waiting import until

from isolate_magic import Companion, ProtocolError, TransferError, desk, share

np = pytest.importorskip("numpy")

PRELUDE = """
import asyncio, os, threading, time
import numpy as np
from isolate_magic.child.service import Service, Raw
from isolate_magic.link import packing, frames as f
talk = packing.here
def say(frame): talk.sock.send(f.encode(frame))
def n(): return talk.active[-1]
def answer(name, value): setattr(Service, name, lambda *given, **more: value() if callable(value) else value)
class Endless:
    def __iter__(self): return self
    def __next__(self): return 1
"""


@pytest.fixture
def liar() -> Iterator[Companion]:
    with Companion("liar", preload=["numpy"]) as companion:
        companion.run(PRELUDE)
        yield companion


def lost(companion: Companion) -> bool:
    return companion.crash is not None and companion.crash.kind == "protocol"


@pytest.mark.parametrize(
    "answer", ["()", "[1, 2]", "Endless()", "5", "tuple(range(10**6))", "Raw(f.List((1,)))", "None", "'abc'"]
)
def test_items_ahead_that_nobody_asked_for_end_the_companion(liar: Companion, answer: str) -> None:
    items = iter(liar.run("[1, 2, 3]"))
    liar.run(f"answer('ahead', {answer})")
    with pytest.raises(ProtocolError):
        next(items)
    assert lost(liar)


def test_a_class_that_calls_itself_an_iterator_sends_its_own_items_at_most(liar: Companion) -> None:
    code = "type('list_iterator', (), {'__module__': 'builtins', '__iter__': lambda s: s, '__next__': len})()"
    items = liar.run(code)
    with pytest.raises(TypeError):
        next(items)
    assert liar.run("5") == 5


# A true description, by which the lies below are lies in one point only.
TOLD = "dict(module='m', name='C', text=None, bases=(), special=(), methods=(), fields=None, own=False, checks=False, origin=None, descriptors=())"  # noqa: E501
LIES = [
    "bases=(f.Ref(0, 0, 4, 'builtins.int'), 5)", "bases=Endless()", "bases=(cls,)", "bases=(A, A)",
    "bases=tuple(type(f'B{i}', (), {}) for i in range(200))", "bases=(ValueError, OSError, ImportError)",
    "name='a\\0b'", "name='\\ud800'", "name=5", "module=Endless()", "text=5", "methods=Endless()", "methods=(1,)",
    "special=('__add__', 5)", "special=Endless()", "descriptors='abc'", "fields=('__class__',)", "fields=('_isolate_class_',)",
    "fields=('_repr_html_',)", "fields=(1,)", "origin=5", "origin=len", "extra=1",
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_makes_no_sense_ends_the_companion(liar: Companion, lie: str) -> None:
    liar.run(
        "class A: pass\nclass C: pass\ndef lie(self, cls):\n"
        f"    if cls.__name__[0] != 'C': return old(self, cls)\n    return tuple(({TOLD} | dict({lie})).values())\n"
        "old, Service.describe = Service.describe, lie"
    )
    with pytest.raises(ProtocolError):
        liar.run("C()", timeout=10)
    assert lost(liar)


def test_classes_below_one_another_without_end_end_the_companion(liar: Companion) -> None:
    liar.run(
        "def lie(self, cls): return tuple((" + TOLD + " | dict(bases=(type('C', (), {}),))).values())\n"
        "Service.describe = lie\nclass C: pass"
    )
    with pytest.raises(ProtocolError):
        liar.run("C()", timeout=20)
    assert lost(liar)


@pytest.mark.parametrize("answer", ["int", "mine", "5", "ValueError", "print", "Endless()", "None"])
def test_a_class_statement_answered_by_another_class_changes_none_here(liar: Companion, answer: str) -> None:
    class Mine:
        pass

    liar.run("class Base:\n    def hello(self): return 'hello'")
    base, seen = liar.pull("Base"), list[Any]()
    liar.push({"mine": Mine})
    liar.run(f"answer('derive', lambda: {answer})")
    before = dict(vars(Mine))
    with pytest.raises(ProtocolError):

        class Derived(base):
            def hello(self) -> Any:
                seen.append(1)
                return super().hello()

    assert dict(vars(Mine)) == before
    assert lost(liar)


@pytest.mark.parametrize("use", ["asarray", "share", "out", "copyto"])
def test_arrays_that_are_fetched_unasked_come_by_no_pickle(liar: Companion, use: str, tmp_path: Any) -> None:
    mark = tmp_path / "mark"
    remote, here = liar.run("np.ones(3)"), np.zeros(3)
    pickled = f"f.Pickled(f.Inline(b'cos\\nsystem\\n(S\"touch {mark}\"\\ntR.'))"
    liar.run(f"answer('copy', lambda: Raw({pickled}))")
    uses: dict[str, Any] = {
        "asarray": lambda: np.asarray(remote), "share": lambda: share(remote),
        "out": lambda: np.add(here, remote, out=here), "copyto": lambda: np.copyto(here, remote),
    }  # fmt: skip
    with pytest.raises(ProtocolError):
        uses[use]()
    assert lost(liar)
    assert not mark.exists()
    assert not here.any()


def test_an_array_of_objects_is_fetched_without_a_pickle(liar: Companion) -> None:
    fetched = np.asarray(liar.run("np.array([[None, 'a'], [1.5, {2}]], object)"))
    assert fetched.shape == (2, 2)
    assert fetched[:, 0].tolist() == [None, 1.5]
    assert fetched[1, 1] == {2}
    remote = liar.run("np.array([{1}], object)")
    for answer in ("(5, (1,))", "((2,), (1,))", "((-1, 7), (1,))", "((1,), (1,) * 3)"):
        liar.run(f"answer('array_items', {answer})")
        with pytest.raises(ProtocolError):
            np.asarray(remote)
        liar.run(PRELUDE)
        remote = liar.run("np.array([{1}], object)")


@pytest.mark.parametrize(
    "answer", ["np.ones(7)", "'x'", "(1, 2)", "None", "np.array(['a'] * 3)", "Endless()"]
)
def test_a_result_that_does_not_fit_into_out_changes_nothing(liar: Companion, answer: str) -> None:
    remote, here = liar.run("np.ones(3)"), np.zeros(3)
    liar.run(f"answer('ufunc', lambda: {answer})")
    with pytest.raises((TypeError, ValueError, ProtocolError)):
        np.add(here, remote, out=here)
    assert not here.any()
    assert here.shape == (3,)


def test_a_position_far_behind_the_end_of_a_buffer_does_not_fill_this_memory(liar: Companion) -> None:
    for buffer in (io.BytesIO(), io.StringIO()):
        text = "'x'" if isinstance(buffer, io.StringIO) else "b'x'"
        with pytest.raises(TransferError, match="do not fit here"):
            liar.run(f"lambda file: (file.seek(1 << 45), file.write({text}))")(buffer)
        assert not buffer.getvalue()


def test_a_door_that_nobody_empties_blocks_nothing(liar: Companion) -> None:
    before = len(os.listdir("/proc/self/fd"))
    code = """
for i in range(2000):
    token = talk.ask_host('memfd', 1)
    hear(Raw(f.ByteArray(f.Poured(token, 1))))
"""
    with pytest.raises((OSError, TransferError)):
        liar.run(code, push={"hear": lambda data: STAYS.append(1)}, timeout=20)
    liar.stop()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_companion_holds_so_many_objects_of_this_session_and_no_more(
    liar: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_HELD", 500)
    with pytest.raises(ProtocolError, match="holds more than 500"):
        liar.run(
            "kept = []\nwhile True:\n    try: next(items)\n    except StopIteration as error: kept.append(error)",
            push={"items": iter([])},
            timeout=20,
        )


# ---------------------------------------------------------------- what is awaited


STAYS: list[Any] = []
"""What a function uses that shall not travel."""


def test_calls_of_an_async_function_without_end_make_few_threads_here(liar: Companion) -> None:
    async def nap() -> None:
        STAYS.append(1)
        await asyncio.sleep(30)

    before = threading.active_count()
    liar.push({"nap": nap})
    liar.run(
        "for i in range(900): say(f.Call(10**6 + i, n(), nap._isolate_.number, '', (), {}))\ntime.sleep(0.5)"
    )
    assert threading.active_count() - before < 600
    liar.stop()
    assert liar.run("5") == 5


def awaiting(companion: Companion, code: str, function: Any) -> Any:
    """Return an awaitable of a coroutine there with this code, which knows `hear`, a function of ours."""
    companion.push({"hear": function})
    companion.run("async def work():\n" + "".join(f"    {line}\n" for line in code.splitlines()))
    return companion.pull("work")


async def ticks(companion: Companion, code: str, function: Any, seconds: float = 0.5) -> int:
    """Return how often this loop turned while a coroutine there was awaited."""
    task = asyncio.ensure_future(_wait(awaiting(companion, code, function)))
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0.01)
        count += 1
    task.cancel()
    companion._process.kill("stop", "enough")  # type: ignore[union-attr]
    await asyncio.gather(task, return_exceptions=True)
    return count


async def _wait(work: Any) -> Any:
    return await work()


def test_a_class_that_is_never_told_does_not_hold_the_event_loop_up(liar: Companion) -> None:
    heard: list[Any] = []
    code = """
class New: pass
Service.describe = lambda self, cls: time.sleep(30)
hear(New())
"""
    assert asyncio.run(ticks(liar, code, heard.append)) > 20
    assert not heard


def test_a_companion_that_reads_nothing_does_not_hold_the_event_loop_up(liar: Companion) -> None:
    code = """
number = hear._isolate_.number
within = next(iter(talk.tasks.running))
for i in range(900): say(f.Call(10**6 + i, within, number, '', (), {}))
time.sleep(30)
"""
    assert asyncio.run(ticks(liar, code, lambda: STAYS.append(1) or "x" * 5000, 1.0)) > 20


def test_a_companion_that_tells_no_class_does_not_keep_others_from_being_awaited(liar: Companion) -> None:
    code = "class New: pass\nService.describe = lambda self, cls: time.sleep(30)\nreturn New()"

    async def main() -> Any:
        work = awaiting(liar, code, len)
        begun = [work() for _ in range(12)]  # all of them, before the first keeps the companion busy
        stuck = [asyncio.ensure_future(_wait(lambda one=one: one)) for one in begun]
        await asyncio.sleep(0.3)
        with Companion("honest") as other:
            other.run("class New: pass\nasync def work(): return New()")
            found = await asyncio.wait_for(other.pull("work")(), 10)
        liar._process.kill("stop", "enough")  # type: ignore[union-attr]
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        return type(found).__name__

    assert asyncio.run(main()) == "New"


@pytest.mark.parametrize("fault", ["KeyboardInterrupt", "GeneratorExit", "SystemExit", "StopIteration"])
def test_an_exception_instead_of_a_class_reaches_neither_loop_nor_caller(liar: Companion, fault: str) -> None:
    def bad(*_: Any) -> None:
        STAYS.append(1)
        raise AssertionError

    code = f"""
class New: pass
def describe(self, cls): raise {fault}
Service.describe = describe
try: hear(New())
except BaseException as error: return type(error).__name__
"""

    async def main() -> Any:
        return await asyncio.wait_for(_wait(awaiting(liar, code, bad)), 10)

    try:
        assert asyncio.run(main()) != "AssertionError"
    except Exception as error:
        assert not isinstance(error, AssertionError)
    assert liar.run("5") == 5


@pytest.mark.parametrize(
    "lie",
    [
        "for i in range(100): say(f.Reply(10**7 + i, 1))",
        "say(f.Reply(next(iter(talk.tasks.running)), 1)); say(f.Reply(next(iter(talk.tasks.running)), 2))",
        "say(f.Failure(10**7, f.Fault('ValueError', (), '', (), {})))",
    ],
)
def test_replies_that_nobody_asked_for_end_the_companion(liar: Companion, lie: str) -> None:
    async def main() -> Any:
        return await _wait(awaiting(liar, lie + "\ntalk.ring(); time.sleep(1)", len))

    try:
        asyncio.run(main())
    except ProtocolError:
        pass
    until(lambda: lost(liar), 10)


def test_cancelling_what_is_not_under_way_harms_nobody(liar: Companion) -> None:
    code = "for n in (0, -1, 1 << 62, 5, 'x', None, 2.5): talk.ask_host('cancel', n)\n6 * 7"
    assert liar.run(code) == 42


# ---------------------------------------------------------------- endless frames


@pytest.mark.parametrize(
    "flood",
    [
        "while True: say(f.Release(()))",
        "while True: say(f.Event(0, 'clear_output', b'{}'))",
        "while True: os.write(1, b'x\\n')",
        "while True: say(f.Call(5, n(), hear._isolate_.number, '', (), {})); talk.sock.recv(9999)",
    ],
)
def test_a_stream_of_frames_without_end_is_ended_by_a_time_limit(liar: Companion, flood: str) -> None:
    before, start = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(Exception, match="interrupted after|died"):
        liar.run(flood, push={"hear": lambda: STAYS.append(1)}, timeout=0.5, sink=_Nowhere())
    assert time.monotonic() - start < 8
    assert psutil.Process().memory_info().rss - before < 200 << 20
    assert liar.run("5") == 5


class _Nowhere:
    def stream(self, name: str, text: str) -> None:
        pass

    def message(self, kind: str, content: dict[str, Any]) -> None:
        pass
