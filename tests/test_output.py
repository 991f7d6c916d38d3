"""Output of a companion: all of it, in the order it was written, in bounded memory."""

from __future__ import annotations

import os
import random
import threading
from typing import Any

import psutil
import pytest
from waiting import until

from isolate_magic import Companion, ProcessTerminationError, output


class Record:
    """Remember what was shown, in order; neighbours of one stream are joined."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def stream(self, name: str, text: str) -> None:
        if self.shown and self.shown[-1][0] == name:
            self.shown[-1] = (name, self.shown[-1][1] + text)
        else:
            self.shown.append((name, text))

    def message(self, kind: str, content: dict[str, Any]) -> None:
        self.shown.append((kind, content.get("data", {}).get("text/plain", "")))

    def text(self, name: str) -> str:
        return "".join(text for stream, text in self.shown if stream == name)


class Count:
    """Count characters and keep none."""

    def __init__(self) -> None:
        self.size = 0

    def stream(self, name: str, text: str) -> None:
        self.size += len(text)

    def message(self, kind: str, content: dict[str, Any]) -> None:
        pass


@pytest.fixture
def record() -> Record:
    return Record()


def test_200_mb_of_stdout_come_whole_in_bounded_memory(companion: Companion) -> None:
    counter = Count()
    companion.run("1")
    before = psutil.Process().memory_info().rss
    companion.run("line = 'x' * 999_999\nfor _ in range(200): print(line)", sink=counter)
    assert counter.size == 200_000_000
    assert psutil.Process().memory_info().rss - before < 100 << 20
    assert len(companion.logs()) < 1 << 17
    assert companion.run("1 + 1") == 2


def test_the_companion_keeps_no_copy_of_what_it_prints(companion: Companion) -> None:
    resident = "import psutil; psutil.Process().memory_info().rss"
    before = companion.run(resident)
    companion.run("for _ in range(100): print('x' * 1_000_000)", sink=Count())
    assert companion.run(resident) - before < 30e6


def test_a_flood_of_short_lines_on_both_streams_comes_whole(companion: Companion) -> None:
    counter = Count()
    companion.run(
        "import sys\nfor i in range(20_000): print('0123456789'); print('0123456789', file=sys.stderr)",
        sink=counter,
    )
    assert counter.size == 2 * 20_000 * 11


def test_prints_of_python_and_c_come_in_order(companion: Companion, record: Record) -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None)
for i in range(100):
    print(f"python {i}")
    libc.printf(b"c %d\\n", i)
    os.write(1, b"raw %d\\n" % i)
"""
    companion.run(code, sink=record)
    assert record.shown == [("stdout", "".join(f"python {i}\nc {i}\nraw {i}\n" for i in range(100)))]


def test_streams_and_displays_come_in_the_order_they_were_written(
    companion: Companion, record: Record
) -> None:
    code = """
import sys
for i in range(200):
    print("a", i); display(f"b {i}"); print("c", i, file=sys.stderr); display(f"d {i}"); print("e", i)
    print("f", i, file=sys.stderr); print("g", i)
"""
    companion.run(code, sink=record)
    expected = Record()
    for i in range(200):
        for name, text in (
            ("stdout", f"a {i}\n"), ("display_data", f"'b {i}'"), ("stderr", f"c {i}\n"),
            ("display_data", f"'d {i}'"),
            ("stdout", f"e {i}\n"), ("stderr", f"f {i}\n"), ("stdout", f"g {i}\n"),
        ):  # fmt: skip
            if name == "display_data":
                expected.message(name, {"data": {"text/plain": text}})
            else:
                expected.stream(name, text)
    assert record.shown == expected.shown


def test_nothing_is_lost_at_a_crash(companion: Companion, record: Record) -> None:
    code = """
import ctypes, sys, os
print("python, no newline", end="")
ctypes.CDLL(None).printf(b"; c, no newline")
sys.stderr.write("error, no newline")
display("shown")
print("; last", end="")
ctypes.string_at(0)
"""
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(code, sink=record)
    assert record.shown == [
        ("stdout", "python, no newline; c, no newline"), ("stderr", "error, no newline"),
        ("display_data", "'shown'"), ("stdout", "; last"),
    ]  # fmt: skip
    assert caught.value.report.stderr == "error, no newline"


def test_a_megabyte_before_a_crash_is_shown_whole(companion: Companion) -> None:
    counter = Count()
    with pytest.raises(ProcessTerminationError):
        companion.run(
            "import os; os.write(1, b'x' * 900_000); print('y' * 2_000_000); os.abort()", sink=counter
        )
    assert counter.size == 2_900_001


def test_output_of_other_processes_is_shown(companion: Companion, record: Record) -> None:
    companion.run(
        "import subprocess, os\nsubprocess.run(['echo', 'from echo'])\nos.system('echo from system >&2')",
        sink=record,
    )
    assert "from echo\n" in record.text("stdout")
    assert "from system\n" in record.text("stderr")


def test_bytes_that_are_no_utf8_are_shown_as_replacements(companion: Companion, record: Record) -> None:
    companion.run("import os; os.write(1, b'\\xff\\xfe ok\\n'); os.write(1, 'é€'.encode()[:4])", sink=record)
    assert companion.run("os.write(1, '€'.encode()[2:]); print('\\udc80')", sink=record) is None
    assert record.text("stdout") == "\ufffd\ufffd ok\né€\\udc80\n"


def test_zero_bytes_are_no_marks_and_are_not_held_back(companion: Companion, record: Record) -> None:
    companion.run("print('a\\0b\\0', end='')", sink=record)
    assert record.text("stdout") == "a\0b\0"


def test_closing_stdout_harms_no_later_cell(companion: Companion, record: Record) -> None:
    companion.run("import sys; sys.stdout.close(); sys.stderr.close()", sink=record)
    companion.run("print('still here'); sys.stdout.buffer.write(b'and here')", sink=record)
    assert record.text("stdout") == "still here\nand here"


def test_closing_the_descriptors_harms_no_later_cell(companion: Companion, record: Record) -> None:
    companion.run("import os; os.close(1); os.close(2)", sink=record)
    companion.run("print('python still prints')", sink=record)
    assert record.text("stdout") == "python still prints\n"


def test_a_descriptor_made_non_blocking_loses_nothing(companion: Companion) -> None:
    counter = Count()
    companion.run("import os; os.set_blocking(1, False); print('x' * 5_000_000)", sink=counter)
    assert counter.size == 5_000_001


def test_a_forked_copy_prints_but_does_not_answer(companion: Companion, record: Record) -> None:
    code = """
import os
pid = os.fork()
if not pid:
    print("from the copy")
    display("shown by the copy")
else:
    os.waitpid(pid, 0)
    print("from the original"); display("shown by the original")
    value = 5
pid and value
"""
    assert companion.run(code, sink=record) == 5
    assert record.text("stdout") == "from the copy\n'shown by the copy'\nfrom the original\n"
    assert record.text("display_data") == "'shown by the original'"
    assert companion.run("value + 1") == 6


def test_a_forked_copy_cannot_call_the_host(companion: Companion, record: Record) -> None:
    calls: list[int] = []
    code = """
import os
pid = os.fork()
if not pid:
    try: f(1)
    except RuntimeError as e: print(e)
    os._exit(0)
os.waitpid(pid, 0)
f(2)
"""
    companion.run(code, push={"f": calls.append}, sink=record)
    assert calls == [2]
    assert "forked copy" in record.text("stdout")


def test_a_multiprocessing_pool_works_in_a_cell(companion: Companion) -> None:
    code = """
import multiprocessing
def square(x): return x * x
with multiprocessing.get_context("fork").Pool(3) as pool:
    found = pool.map(square, range(20))
found == [x * x for x in range(20)]
"""
    assert companion.run(code) is True
    assert companion.run("1 + 1") == 2


def test_a_crash_inside_a_pools_worker_is_not_the_companions(companion: Companion) -> None:
    code = """
import multiprocessing, os
child = multiprocessing.get_context("fork").Process(target=os.abort)
child.start(); child.join(); child.exitcode
"""
    assert companion.run(code) == -6


def test_output_while_idle_is_shown(companion: Companion) -> None:
    record = Record()
    before = output.use(record)
    try:
        companion.run(
            "import threading, sys\n"
            "def late():\n    print('late'); display('shown late'); sys.stderr.write('late too')"
        )
        companion.run("threading.Timer(0.05, late).start()")
        until(lambda: len(record.shown) == 3, 5)
    finally:
        output.use(before)
    assert record.shown == [("stdout", "late\n"), ("display_data", "'shown late'"), ("stderr", "late too")]


def test_a_display_larger_than_a_packet_comes_whole(companion: Companion, record: Record) -> None:
    companion.run(
        "from IPython.display import HTML\ndisplay({'text/plain': 'x' * 3_000_000}, raw=True)", sink=record
    )
    assert record.shown == [("display_data", "x" * 3_000_000)]


def test_an_interrupt_between_displays_loses_no_later_one(companion: Companion) -> None:
    record = Record()
    for _ in range(30):
        over = threading.Event()

        def interrupt(over: threading.Event = over) -> None:
            # One in some thousands ends as an error of IPython's printer, which is interrupted in
            # its cleaning up and swallows the error. Whoever pressed the button presses it again.
            until(companion.interrupt)
            while not over.wait(1):
                companion.interrupt()

        timer = threading.Timer(random.random() * 0.01, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            companion.run("while True: display('x'); print('y')", sink=Count())
        over.set()
        timer.join()
    companion.run("display('after'); print('after too')", sink=record)
    assert record.shown[-2:] == [("display_data", "'after'"), ("stdout", "after too\n")]


def test_logs_keep_the_last_output(companion: Companion) -> None:
    companion.run("print('one'); import sys; print('two', file=sys.stderr)", sink=output.NullSink())
    assert companion.logs() == "one\ntwo\n"
    assert os.getpid() != companion.pid


def test_matplotlib_inline_works_as_in_any_kernel_and_a_toolkit_is_refused(companion: Companion) -> None:
    pytest.importorskip("matplotlib")
    companion.run("%matplotlib inline\nimport matplotlib.pyplot as plt\nbackend = plt.get_backend()")
    assert "inline" in companion.pull("backend")
    companion.run("%gui")
    shown = Record()
    companion.run_cell("%gui qt", sink=shown)
    assert "runs no event loop of qt" in shown.text("stderr")
