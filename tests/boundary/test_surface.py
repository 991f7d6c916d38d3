"""What a notebook shows of a companion that is not trusted and lies: nothing of it harms the session."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Cell, Kernel

# `say` sends a frame, `show` an output message, `answer` puts a lie in the place of a service.
PRELUDE = """%%isolated -c guest -o p
import json, os, sys, threading, time
from isolate_magic.child.service import Service, Raw
from isolate_magic.link import packing, frames as f, bulk
talk = packing.here
def say(frame): talk.sock.send(f.encode(frame))
def n(): return talk.active[-1]
def show(kind, _number=0, **content): say(f.Event(_number, kind, json.dumps(content).encode()))
def answer(name, value): setattr(Service, name, lambda *given, **more: value() if callable(value) else value)
def spill(frame):
    global kept
    kept = f.encode(frame)
    say(f.Spilled(f.Remote(bulk.address(kept), len(kept), 0)))
class P:
    def method(self): return 1
p = P()
"""
ACTED_ON = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel("%load_ext isolate_magic\nimport isolate_magic, os, threading, psutil, time")
    made.run("secret_of_session = 1")
    yield made
    made.close()


@pytest.fixture
def guest(kernel: Kernel) -> Iterator[Kernel]:
    assert kernel.run("%isolate start guest --policy untrusted").status == "ok"
    cell = kernel.run(PRELUDE)
    assert cell.status == "ok", cell.error
    yield kernel
    kernel.run("isolate_magic.get_companion('guest').close()")


def there(kernel: Kernel, code: str, **more: Any) -> Cell:
    return kernel.run(f"%%isolated -c guest\n{code}", **more)


def value(kernel: Kernel, expression: str) -> str:
    """Return the text of something in the session, of which the companion knows nothing."""
    cell = kernel.run(f"print({expression})")
    assert cell.status == "ok", cell.error
    return cell.stream().strip()


def offered(kernel: Kernel, code: str) -> dict[str, Any]:
    reply: dict[str, Any] = kernel.client.complete(code, len(code), reply=True, timeout=30)["content"]
    return reply


class Peak:
    """Tell by how many MiB a process has grown, at its largest (proc_pid_clear_refs(5))."""

    def __init__(self, kernel: Kernel) -> None:
        self._folder = Path(f"/proc/{value(kernel, 'os.getpid()')}")

    def __enter__(self) -> Peak:
        (self._folder / "clear_refs").write_text("5")
        self._before = self._now()
        return self

    def _now(self) -> int:
        found = re.search(r"VmHWM:\s*(\d+)", (self._folder / "status").read_text())
        assert found
        return int(found[1]) >> 10

    def __exit__(self, *_: object) -> None:
        self.most = self._now() - self._before


# ---------------------------------------------------------------- Tab and Shift-Tab

MATCHES = [
    "method()", "method;import os", "x\\nos.system('id')", "__import__('os')", "\\u001b]0;x\\u0007", "a\\u202eb", "a\\u200bb",
    "<img src=x onerror=alert(1)>", "method\\r", "x" * 501, "a b", "%run", "!id", "method[0]", "a.b", "lambda:0", "\\ud800",
]  # fmt: skip


@pytest.mark.parametrize("typed", ["p.", "p.m", "(p.", "p.method("])
def test_what_tab_inserts_into_a_cell_of_the_session_is_a_name(guest: Kernel, typed: str) -> None:
    lies = ", ".join(f'["{text}", "function", "{text}"]' for text in MATCHES)
    for start in (0, 1, 2, 3, 4, 5, -1, 10**6):
        told = f'{{"start": {start}, "end": {max(start, 4)}, "matches": [{lies}, ["method", "function"]]}}'
        there(guest, f"answer('complete', {told!r})")
        found = offered(guest, typed)
        lied = set(found["matches"]) & LIED - {"%run"} if "(" in typed else set(found["matches"]) & LIED
        assert all(re.fullmatch(r"[^\W\d]\w*=?", match) for match in lied), found
        for one in found["metadata"].get("_jupyter_types_experimental", []):
            assert not ACTED_ON.search(one["signature"])


LIED = set(json.loads("[" + ", ".join(f'"{text}"' for text in MATCHES) + "]"))

ANSWERS = {
    "no text": "7", "bytes": "b'x'", "nothing": "''", "garbage": "'{'", "a list": "'[]'", "null": "'null'",
    "a deep one": "'[' * 10**6", "numbers": "'{\"start\": 1e400, \"end\": 0, \"matches\": []}'",
    "an object": "object()", "a huge text": "'x' * (9 << 20)",
    "many": "'{\"start\": 2, \"end\": 2, \"matches\": [' + ','.join(['[\"a\"]'] * 1200000) + ']}'",
    "an error": "lambda: 1 / 0", "an exit": "lambda: sys.exit(3)", "an interrupt": "lambda: exec('raise KeyboardInterrupt')",
}  # fmt: skip


@pytest.mark.parametrize("lie", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_to_tab_that_is_none_does_no_harm(guest: Kernel, lie: str) -> None:
    there(guest, f"answer('complete', {lie}); answer('inspect', {lie})")
    with Peak(guest) as peak:
        begun = time.monotonic()
        offered(guest, "p.")
        assert time.monotonic() - begun < 5
        guest.client.inspect("p.method", 8, reply=True, timeout=30)
    assert peak.most < 300
    assert value(guest, "6 * 7") == "42"


def test_a_companion_that_never_answers_tab_holds_nobody_up(guest: Kernel) -> None:
    there(guest, "answer('complete', lambda: time.sleep(1000)); answer('inspect', lambda: time.sleep(1000))")
    before = int(value(guest, "threading.active_count()"))
    begun = time.monotonic()
    for number in range(20):
        offered(guest, f"p.m{number}")
        guest.client.inspect("p.method", 8, reply=True, timeout=30)
    assert time.monotonic() - begun < 8
    assert int(value(guest, "threading.active_count()")) <= before + 4
    guest.run("%isolate kill guest")


def test_what_shift_tab_shows_is_text_that_moves_no_cursor(guest: Kernel) -> None:
    lie = '{"found": true, "text": "\\u001b]52;c;eA==\\u0007 <script>x</script> \\u001b[2J\\u202e"}'
    there(guest, f"answer('inspect', {lie!r})")
    for code in ("p.method", "%%isolated -c guest\np"):
        data = guest.client.inspect(code, len(code), reply=True, timeout=30)["content"]["data"]
        assert set(data) == {"text/plain"}
        assert not ACTED_ON.search(data["text/plain"])
    cell = guest.run("p?")
    for payload in cell.reply["payload"]:
        assert set(payload["data"]) == {"text/plain"}
        assert not ACTED_ON.search(payload["data"]["text/plain"])


def test_tab_tells_nothing_of_the_session(guest: Kernel) -> None:
    there(
        guest,
        "told = []\ndef note(self, *given):\n told.append(repr(given)); return '{}'\nService.complete = Service.inspect = note",
    )
    offered(guest, "secret_of_session = 'typed here'; p.met")
    offered(guest, "secret_of_session.")
    offered(guest, "p.method(secret_of")
    guest.client.inspect("secret_of_session + p.method", 3, reply=True, timeout=30)
    shown = there(guest, "print(told)").stream()
    assert "met" in shown
    assert "secret_of_session" not in shown
    assert "typed here" not in shown


# ---------------------------------------------------------------- after each cell

ENDS = {
    "an exit": "sys.exit(3)", "a generator's exit": "exec('raise GeneratorExit')", "an error": "1 / 0",
    "a cancellation": "exec('import asyncio; raise asyncio.CancelledError')",
    "an interrupt": "exec('raise KeyboardInterrupt')", "nothing of the kind": "object()",
    "a long list": "'\\n'.join(f'n{i}' for i in range(10**6))", "odd names": "'a b\\n\\x1b[2J\\nx' + chr(0x202e)",
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_follows_a_cell_there_ends_nothing_here(guest: Kernel, end: str) -> None:
    guest.run("%%isolated -c other\nimport os")
    there(guest, f"answer('after_cell', lambda: {end})")
    for _ in range(2):
        cell = guest.run("p.method(); print('here')")
        assert cell.status == "ok", cell.error
        assert cell.stream() == "here\n"
        assert not cell.of("error")
        assert "Traceback" not in cell.stream("stderr")
    guest.run("%isolate stop other")


def test_what_follows_a_cell_there_may_last_no_longer_than_a_cell(kernel: Kernel) -> None:
    kernel.run(
        "import dataclasses; from isolate_magic import Companion; from isolate_magic.policy import PRESETS\n"
        "Companion('guest', policy=dataclasses.replace(PRESETS['untrusted'], wall=2))"
    )
    kernel.run(PRELUDE)
    begun = time.monotonic()
    there(kernel, "answer('after_cell', lambda: time.sleep(1000))")
    assert time.monotonic() - begun < 20
    assert value(kernel, "isolate_magic.get_companion('guest').crash.kind") == "protocol"
    kernel.run("isolate_magic.get_companion('guest').close()")


# ---------------------------------------------------------------- messages of its own choice


def test_no_message_of_its_choice_reaches_the_notebook(guest: Kernel) -> None:
    guest.run("import ipywidgets\nslider = ipywidgets.IntSlider()\nslider")
    name = value(guest, "slider.model_id")
    before = value(guest, "len(get_ipython().kernel.comm_manager.comms)")
    targets = value(guest, "sorted(get_ipython().kernel.comm_manager.targets)")
    cell = there(
        guest,
        f"""
data = dict(method='update', state=dict(value=99))
for kind in ('comm_close', 'comm_msg', 'comm_open', 'comm_target', 'comm_under', 'input_request', 'error', 'status',
             'execute_input', 'shutdown_reply', 'stream', 'debug_event', 'iopub_welcome', '', 'x' * 1000):
    show(kind, comm_id={name!r}, target_name='jupyter.widget', data=data, message=1, ename='E', evalue='v',
         traceback=['t'], prompt='Password:', password=True, execution_state='dead', name='stdout', text='raw')
show('display_data', data={{'application/vnd.jupyter.widget-view+json': {{'model_id': {name!r}}}}})
time.sleep(0.3)
""",
    )
    assert {kind for kind, _ in cell.messages} <= {"stream"}
    assert "raw" not in cell.stream()
    assert value(guest, "slider.value, slider.comm is not None") == "0 True"
    assert value(guest, "len(get_ipython().kernel.comm_manager.comms)") == before
    assert value(guest, "sorted(get_ipython().kernel.comm_manager.targets)") == targets


def test_displays_of_the_session_are_not_its_to_change(guest: Kernel) -> None:
    guest.run("from IPython.display import display\nown = display(1, display_id='isolate-progress-1')")
    lies = "for name in ('isolate-progress-1', 'isolate-top-1', '', 7, None, ['a'], {'a': 1}, 'x' * 10**6):\n"
    lies += " for kind in ('update_display_data', 'display_data'):\n"
    lies += "  show(kind, data={'text/plain': 'fake'}, transient={'display_id': name})\ntime.sleep(0.3)"
    for start in ("%%isolated -c guest\n", "%%isolated -c guest --bg\n", "%%isolated -c guest --group\n"):
        cell = guest.run(start + lies)
        guest.run("time.sleep(0.5)")
        shown = cell.of("display_data", "update_display_data")
        ids = [one.get("transient", {}).get("display_id", "") for one in shown]
        assert "isolate-progress-1" not in ids
        assert "isolate-top-1" not in ids


@pytest.mark.parametrize("way", ["input('Password:')", "talk.ask_host('ask', 'Password:', True)",
                                 "__import__('getpass').getpass()", "show('input_request', prompt='x', password=True)"])  # fmt: skip
def test_it_makes_no_box_appear(guest: Kernel, way: str) -> None:
    asked: list[Any] = []
    for start in ("%%isolated -c guest\n", "%%isolated -c guest --bg\n"):
        guest.run(start + way, stdin_hook=asked.append, allow_stdin=True)
        guest.run("time.sleep(0.3)", stdin_hook=asked.append, allow_stdin=True)
    assert not asked


def test_the_messages_of_the_notebook_are_not_told(guest: Kernel) -> None:
    cell = there(guest, "print(talk.ask_host('parent'))")
    assert "msg_id" not in cell.stream()
    assert cell.status == "error"


def test_pages_without_end_are_one_page(guest: Kernel) -> None:
    cell = there(
        guest,
        "for i in range(300): show('page', data={'text/html': '<script>x</script>b', 'text/plain': f'{i}'})",
    )
    pages = cell.reply["payload"]
    assert len(pages) == 1
    assert "<script" not in str(pages)


def test_a_value_of_a_cell_comes_only_from_a_cell(guest: Kernel) -> None:
    there(
        guest,
        "def later():\n time.sleep(0.5); show('execute_result', data={'text/plain': 'fake'}, execution_count=1)\n"
        "threading.Thread(target=later).start()",
    )
    cell = guest.run("time.sleep(1.2)\n'own'")
    assert [one["data"]["text/plain"] for one in cell.of("execute_result")] == ["'own'"]


# ---------------------------------------------------------------- much from little

BOMBS = {
    "one display of small lists": "spill(f.Event(10**6, 'display_data', b'{\"data\":[' + b'[],' * (9 << 20) + b'0]}'))",
    "one display of small maps": "spill(f.Event(10**6, 'display_data', b'{\"data\":[' + b'{},' * (9 << 20) + b'0]}'))",
    "one display of small texts": "spill(f.Event(10**6, 'display_data', b'{\"data\":[' + b'\"ab\",' * (5 << 20) + b'0]}'))",
    "displays that wait": "for i in range(60): spill(f.Event(10**6 + i, 'display_data', b'{\"data\":[' + b'{},' * 333000 + b'0]}')); time.sleep(0.02)",
    "a deep display": "spill(f.Event(10**6, 'display_data', b'[' * (1 << 20)))",
}


@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS)
def test_displays_of_small_parts_take_no_memory(guest: Kernel, code: str) -> None:
    with Peak(guest) as peak:
        there(guest, f"{code}\ntime.sleep(1)")
    assert peak.most < 250
    assert value(guest, "6 * 7") == "42"


# ---------------------------------------------------------------- texts


NAME = "type('A\\nB\\x1b[8mC\\u200b\\u202e<b>', (Exception,), {})"


def test_a_name_is_one_line_of_visible_characters(guest: Kernel) -> None:
    cell = there(guest, f"raise {NAME}('x')")
    (error,) = cell.of("error")
    assert not re.search(r"[\n\x1b\u200b\u202e]", error["ename"])
    guest.run(f"%%isolated -c guest -o thing\nthing = {NAME}('x')")
    assert not re.search(r"[\n\x1b\u200b\u202e]", value(guest, "type(thing).__name__"))


def test_names_that_are_listed_are_text(guest: Kernel) -> None:
    row = "('<script>x</script>\\n\\x1b[8m', '<b>', '\\x1b]0;x\\x07', '\\u202e' + 'x' * 10**6)"
    there(guest, f"answer('variables', lambda: ({row},) * 5)")
    cell = guest.run("%isolate vars guest")
    shown = cell.result
    assert "<script" not in shown["text/html"]
    assert not re.search(r"[\x1b\u202e\x07]", shown["text/plain"] + shown["text/html"])
    assert len(shown["text/plain"].splitlines()) == 7


@pytest.mark.parametrize(
    "lie", ["((('a',) * 4,) * 2000)", "(('a', 'b', 'c'),)", "7", "((1, 2, 3, 4),)", "object()"]
)
def test_a_list_of_names_that_is_none_ends_the_companion(guest: Kernel, lie: str) -> None:
    there(guest, f"answer('variables', lambda: {lie})")
    assert guest.run("%isolate vars guest").status == "error"
    assert value(guest, "6 * 7") == "42"


UNSPEAKABLE = (
    "say(f.Failure(n(), f.Fault('{}', (f.Big('0x' + 'f' * 100_000),), 'x', (), {{}}))); time.sleep(0.5)"
)


@pytest.mark.parametrize("kind", ["SyntaxError", "RuntimeError", "ValueError"])
def test_an_error_that_cannot_be_told_ends_its_cell_all_the_same(guest: Kernel, kind: str) -> None:
    code = UNSPEAKABLE.format(kind)
    guest.run(f"%%isolated -c guest --bg\n{code}")
    guest.run("handle = _; time.sleep(1.5)")
    assert value(guest, "handle.done(), type(handle.exception()).__name__") == f"True {kind}"
    assert value(guest, "handle").startswith("<background")
    guest.run(PRELUDE)
    assert there(guest, code).status == "error"


# ---------------------------------------------------------------- the report of a death


def test_last_words_are_text_in_the_card(guest: Kernel) -> None:
    evil = "<img src=x onerror=alert(1)>\\x1b]0;x\\x07\\u202e"
    words = "Current thread 0x1 (most recent call first):\\n" + "".join(
        f'  File "{evil}{i}", line 1 in {evil}\\n' for i in range(90)
    )
    cell = there(
        guest,
        f"""
import mmap, ctypes
from isolate_magic.link.layout import BOARD_SIZE, NATIVE
lie = ('''{words}\\n\\n''' + NATIVE + "0x1\\n" + "a(b)[0x1]\\n" + "{evil}(<b>x)[0x2]\\n" * 90).encode()
for fd in os.listdir('/proc/self/fd'):
    try:
        if 'memfd' in os.readlink('/proc/self/fd/' + fd): os.pwrite(int(fd), lie, BOARD_SIZE)
    except OSError: pass
print("{evil}", file=sys.stderr, flush=True)
os._exit(3)
""",
    )
    shown = [
        one["data"] for one in cell.of("display_data") if "isolate-crash" in one["data"].get("text/html", "")
    ]
    assert len(shown) == 1
    assert "<img" not in shown[0]["text/html"]
    assert not ACTED_ON.search(shown[0]["text/plain"] + shown[0]["text/html"])
    assert len(shown[0]["text/html"]) < 200_000
