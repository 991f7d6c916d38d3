"""Code in the companion gets at the channel and sends what no companion sends: the host is unharmed."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import pytest
from waiting import until

from isolate_magic import (
    Companion,
    IsolateError,
    ProcessTerminationError,
    ProtocolError,
    TransferError,
    byvalue,
    output,
)

# `say` sends a frame instead of the reply; `n` is the number of the request that is being served.
PRELUDE = """
import os, time, json, socket
from isolate_magic.link import packing, frames as f, bulk
talk = packing.here
def raw(packet): talk.sock.send(packet)
def say(frame): raw(f.encode(frame))
def n(): return talk.active[-1]
"""
FRAMES = {
    "garbage": "raw(b'\\xff\\x00garbage' * 10)",
    "no msgpack": "raw(bytes(range(256)))",
    "a frame of an unknown tag": "raw(b'\\x92\\x63\\x01')",
    "too many fields": "raw(b'\\x94\\x03\\x01\\x02\\x03')",
    "a reply to an unknown request": "say(f.Reply(10**6, 1))",
    "a failure of an unknown request": "say(f.Failure(10**6, f.Fault('ValueError', (), '', (), {})))",
    "an attribute of the host": "say(f.Get(1, n(), 1, '__dict__'))",
    "a method of the host's object": "say(f.Call(1, n(), 1, '__repr__', (), {}))",
    "a call of an object never lent": "say(f.Call(1, n(), 77, '', (), {}))",
    "a call of a host service that is none": "say(f.Call(1, n(), 0, 'system', ('id',), {}))",
    "a release of what was never lent": "say(f.Release((55, 1)))",
    "a release of the service": "say(f.Release((1, 1 << 62)))",
    "a release with half a pair": "say(f.Release((55,)))",
    "a release of a negative count": "say(f.Release((1, -5)))",
    "an Own never lent": "say(f.Reply(n(), f.Own(99)))",
    "a Ref of a class that is none": "say(f.Reply(n(), f.Ref(5, 10**9)))",
    "a Ref of a kind that is none": "say(f.Reply(n(), f.Ref(0, 0, 4, 'os.system')))",
    "a twin that is no class": "say(f.Reply(n(), f.Ref(0, 0, 4, 'builtins.eval')))",
    "a record of no record class": "say(f.Reply(n(), f.Record(1, (1, 2))))",
    "a pickle nobody asked for": "say(f.Reply(n(), f.Pickled(f.Inline(b'cos\\nsystem\\n(S\"id\"\\ntR.'))))",  # noqa: E501
    "a Remote at a bad address": "say(f.Reply(n(), f.ByteArray(f.Remote(0x10, 100_000, 3))))",
    "a Remote of a negative length": "say(f.Reply(n(), f.ByteArray(f.Remote(0x10, -5, 3))))",
    "a Remote beyond all addresses": "say(f.Reply(n(), f.ByteArray(f.Remote(1 << 63, 100_000, 3))))",
    "a Poured never given": "say(f.Reply(n(), f.ByteArray(f.Poured(5, 100))))",
    "an array longer than its bytes": "say(f.Reply(n(), f.Array('<f8', (100,), 'C', f.Inline(b'12345678'))))",
    "an array of objects": "say(f.Reply(n(), f.Array('|O', (1,), 'C', f.Inline(b'12345678'))))",
    "an array of a huge shape": "say(f.Reply(n(), f.Array('<f8', (1 << 40, 1 << 40), 'C', f.Inline(b''))))",
    "a spilled frame of a bad address": "say(f.Spilled(f.Remote(0x10, 200_000, 3)))",
    "a spilled frame of a huge length": "say(f.Spilled(f.Remote(0x10, 1 << 45, 3)))",
    "a spilled frame of garbage": "b = b'x' * 200_000; say(f.Spilled(f.Remote(bulk.address(b), len(b), 3)))",
    "an int of no digits": "say(f.Reply(n(), f.Big('zz')))",
    "a decimal of no digits": "say(f.Reply(n(), f.Number('one')))",
    "a moment of no time": "say(f.Reply(n(), f.Moment('datetime', (1, 2), None)))",
    "a zone that is a path": "say(f.Reply(n(), f.Moment('time', (1, 2, 3, 4, 0), '../../etc/passwd')))",
    "a constant of another name": "say(f.Reply(n(), f.Constant('__import__')))",
    "a display that is no JSON": "say(f.Event(0, 'display_data', b'{\"data\": '))",
    "a display that is a list": "say(f.Event(0, 'display_data', b'[1]'))",
    "a display nested very deep": "say(f.Event(0, 'display_data', b'[' * 100_000))",
    "a value nested very deep": "raw(b'\\x93\\x03' + bytes([n()]) + b'\\x92\\x18\\x91' * 20_000 + b'\\x92\\x18\\x90')",  # noqa: E501
    "a closed channel": "talk.sock.shutdown(socket.SHUT_RDWR)",
    "a channel that is closed for writing": "talk.sock.shutdown(socket.SHUT_WR)",
    "a memfd larger than any": "say(f.Call(1, n(), 0, 'memfd', (1 << 50,), {})); raw(b'x')",
    "an exception that is none": "say(f.Failure(n(), f.Fault('print', (), '', (), {})))",
    "an exception of a wrong number": "say(f.Failure(n(), f.Fault(10**9, (), '', (), {})))",
    "a flood of calls": "hear\nfor i in range(5000): say(f.Call(1000 + i, 0, hear._isolate_.number, '', (), {}))",  # noqa: E501
}

ANSWERED = [FRAMES[name] for name in (
    "a Ref of a class that is none", "a record of no record class", "an exception of a wrong number",
)]  # fmt: skip


@pytest.fixture
def hostile(companion: Companion) -> Companion:
    companion.run(PRELUDE)
    return companion


def spinning() -> bool:
    """Return whether this process burns CPU while it does nothing."""
    me = psutil.Process()
    before = sum(me.cpu_times()[:2])
    time.sleep(0.2)  # what is measured is the idle time itself
    return sum(me.cpu_times()[:2]) - before > 0.1


@pytest.mark.parametrize("code", FRAMES.values(), ids=FRAMES)
def test_a_frame_that_no_companion_sends_ends_it_and_nothing_else(hostile: Companion, code: str) -> None:
    pid = hostile.pid
    heard: list[int] = []
    push = {"hear": lambda: heard.append(1)} if "hear" in code else None
    # Where the host asks back it meets the true reply, which is then one too many.
    code += "\ntime.sleep(0.05)" if code in ANSWERED else "\ntime.sleep(30)"
    with pytest.raises(ProtocolError, match="protocol error") as caught:
        hostile.run(code, push=push, timeout=10)
    assert caught.value.report.kind == "protocol"
    assert hostile.crash is caught.value.report
    assert hostile.run("6 * 7", timeout=10) == 42
    assert hostile.pid != pid


def test_a_body_that_fits_nowhere_is_refused_and_harms_nobody(hostile: Companion) -> None:
    with pytest.raises(TransferError, match="do not fit here"):
        hostile.run("say(f.Reply(n(), f.ByteArray(f.Remote(0x10, 1 << 45, 3)))); time.sleep(0.05)")
    # The true reply came as well, and number 3 was never lent: it may be ended for either.
    until(lambda: answer(hostile) == 42)


def answer(companion: Companion) -> Any:
    try:
        return companion.run("6 * 7")
    except (ProtocolError, KeyError):
        return None


def test_a_second_reply_is_noticed_with_the_next_use(hostile: Companion) -> None:
    assert hostile.run("say(f.Reply(n(), 1)); say(f.Reply(n(), 2))") == 1
    until(lambda: answer(hostile) == 42 and hostile.crash is not None)
    assert hostile.crash is not None
    assert "never made" in hostile.crash.reason
    assert hostile.crash.kind == "protocol"
    assert hostile.run("6 * 7") == 42


@pytest.mark.parametrize(
    "code",
    [
        "raw(b'garbage')",
        "say(f.Reply(5, 5))",
        "say(f.Event(0, 'display_data', b'no JSON'))",
        "say(f.Release((9, 9)))",
    ],
)
def test_a_hostile_frame_while_idle_is_noticed_with_the_next_output(hostile: Companion, code: str) -> None:
    hostile.run(
        f"import threading\ndef late():\n    {code}\n    talk.ring()\nthreading.Timer(0.02, late).start()"
    )
    until(lambda: hostile.state == "dead", 5)
    assert hostile.crash is not None
    assert hostile.crash.kind == "protocol"
    assert hostile.run("1 + 1") == 2


@pytest.mark.parametrize(
    "code",
    [
        "talk.sock.shutdown(socket.SHUT_RDWR)",
        "[os.close(fd) for fd in (1, 2, *talk.ring.__self__.pipes)]",
        "os.close(talk.sock.fileno())",
    ],
    ids=["channel", "output", "descriptor"],
)
def test_closing_what_it_has_without_dying_makes_the_host_neither_hang_nor_spin(
    hostile: Companion, code: str
) -> None:
    rest = "; time.sleep(0.05)" if "pipes" in code else ""
    try:
        hostile.run(f"import threading; threading.Timer(0.02, lambda: {code}).start(){rest}", timeout=5)
    except ProcessTerminationError:  # on a busy machine the answer comes later than that
        pass
    assert not spinning()
    try:
        hostile.run("1", timeout=10)
    except ProcessTerminationError:
        pass
    assert hostile.run("1 + 1", timeout=10) == 2
    assert not spinning()


def test_a_truncated_memfd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_COPIES", "memfd")
    for trick in ("os.ftruncate(fd, 10)", "import mmap; kept = mmap.mmap(fd, size)"):
        with Companion("cutter", env={"COPIES": "cut"}) as companion:
            companion.run(PRELUDE)
            code = f"""
size = 1_000_000
token = talk.ask_host("memfd", size)
fd = talk.door_fd(token)
{trick}
say(f.Reply(n(), f.ByteArray(f.Poured(token, size))))
time.sleep(30)
"""
            with pytest.raises(ProtocolError):
                companion.run(code, timeout=10)
            assert companion.run("1 + 1") == 2


def test_memfds_without_end_are_refused_and_leak_nothing(hostile: Companion) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IsolateError):
        hostile.run("while True: os.close(talk.door_fd(talk.ask_host('memfd', 10)))", timeout=10)
    hostile.restart()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_marks_that_are_forged_hold_no_output_back(hostile: Companion) -> None:
    class Record:
        def __init__(self) -> None:
            self.text = ""

        def stream(self, name: str, text: str) -> None:
            self.text += text

        def message(self, kind: str, content: dict[str, Any]) -> None:
            pass

    record = Record()
    code = """
order = talk.ring.__self__
for kind, number in ((b"e", 0xfffffff0), (b"s", 3), (b"x", 0), (b"e", 0xffffffff)):
    os.write(1, order.token + kind + b"%08x" % number)
os.write(1, order.token + b"e" + b"zzzzzzzz"); os.write(1, order.token)
for _ in range(300): print("x" * 9_999)
"""
    hostile.run(code, sink=record)
    hostile.run("for _ in range(300): print('y' * 9_999)", sink=record)
    hostile.stop()
    assert record.text.count("x") >= 300 * 9_999 - 9  # what it wrote behind half a mark was the other half
    assert record.text.count("y") == 300 * 9_999


def test_displays_whose_marks_never_come_take_bounded_memory(hostile: Companion) -> None:
    before = psutil.Process().memory_info().rss
    hostile.run(
        "body = json.dumps({'data': {'text/plain': 'x' * 100_000}}).encode()\n"
        "for i in range(3000): say(f.Event(10**6 + i, 'display_data', body))",
        sink=output.NullSink(),
        timeout=30,
    )
    assert psutil.Process().memory_info().rss - before < 150 << 20
    assert hostile.run("1 + 1") == 2


def test_last_words_of_any_content_are_only_text(hostile: Companion) -> None:
    with pytest.raises(ProcessTerminationError) as caught:
        hostile.run(
            "for fd in os.listdir('/proc/self/fd'):\n"
            "    if os.path.lexists(f'/proc/self/fd/{fd}') and 'isolate-words' in os.readlink(f'/proc/self/fd/{fd}'):\n"  # noqa: E501
            "        os.write(int(fd), b'Current thread 0x1 (most recent call first):\\n'"
            ' b\'  File "/etc/passwd", line 1 in <script>\\n  File "/dev/zero.py", line 1 in x\\n\' + bytes(range(256)))\n'  # noqa: E501
            "os._exit(1)"
        )
    report = caught.value.report
    assert "root:" not in str(report)
    assert "<script>" not in report._repr_html_()


def test_a_copy_of_something_else_than_was_asked_for_harms_nobody(hostile: Companion) -> None:
    thing = hostile.run("from isolate_magic.child.service import Service\nclass C: pass\nC()")
    hostile.run("Service.copy = lambda self, *args: say(f.Reply(n(), f.Remote(1, 2, 3))) or time.sleep(30)")
    with pytest.raises(ProtocolError):
        byvalue(thing)
    assert hostile.run("1 + 1") == 2
