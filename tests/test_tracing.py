"""Traces: what a companion has opened, imported, started and connected to, and what was refused."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel

from isolate_magic import Companion, ConfinementError, NotSupported, Policy, ProcessTerminationError
from isolate_magic.tracing import Trace


def names(trace: Trace, kind: str) -> list[str]:
    return [refusal.target for refusal in trace.refused if refusal.kind == kind]


@pytest.fixture(params=["N", "L"])
def untrusted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Companion]:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", request.param)
    companion = Companion(f"traced-{os.getpid()}-{request.param}", policy="untrusted")
    try:
        with companion:
            assert companion.report is not None
            yield companion
    except ConfinementError as error:
        companion.close()
        pytest.skip(str(error))


@pytest.fixture
def traced() -> Iterator[Companion]:
    with Companion(f"traced-{os.getpid()}", traced=True) as companion:
        yield companion


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made.getsockname()


# ---------------------------------------------------------------- files


def test_files_of_its_own_are_listed_and_others_refused(untrusted: Companion, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with untrusted.tracing() as trace:
        untrusted.run(
            f"""
            for _ in range(3):
                with open("own", "w"):
                    pass
            with open("own"):
                pass
            for path, mode in (({str(secret)!r}, "r"), ("/etc/shadow", "r"), ("/usr/new", "w")):
                try:
                    open(path, mode)
                except OSError:
                    pass
            """.replace("\n            ", "\n")
        )
    own = os.path.join(os.getcwd(), "own")
    assert trace.write == {own: 3}
    assert trace.read[own] == 1
    assert set(names(trace, "read")) >= {str(secret), "/etc/shadow"}
    assert names(trace, "write") == ["/usr/new"]
    lines = {refusal.target: refusal.line for refusal in trace.refused}
    assert lines["/etc/shadow"] == "policy 'untrusted', read = []: allow_read(\"/etc/shadow\") would allow it"
    assert lines["/etc/shadow"] in str(trace)
    assert not trace.dropped
    assert not trace.died


def test_opens_by_compiled_code_are_seen_too(untrusted: Companion) -> None:
    with untrusted.tracing() as trace:
        untrusted.run(
            "import ctypes, numpy\n"
            "ctypes.CDLL(None).open(b'/etc/shadow', 0)\n"
            "numpy.arange(3).tofile('numbers')\n"
            "numpy.fromfile('numbers')\n"
        )
    numbers = os.path.join(os.getcwd(), "numbers")
    assert numbers in trace.write
    assert numbers in trace.read
    assert "/etc/shadow" in names(trace, "read")


def test_what_lies_in_the_working_directory_here_and_not_there_is_refused(
    untrusted: Companion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.csv").write_text("1")
    monkeypatch.chdir(tmp_path)
    untrusted.restart()
    with untrusted.tracing() as trace, suppress(OSError):
        untrusted.run("open('data.csv')")
    assert names(trace, "read") == [str(tmp_path / "data.csv")]
    assert not trace.write


def test_a_read_only_file_of_the_policys_is_allowed_to_be_read_and_not_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("1")
    tmp_path.chmod(0o755)
    with Companion("reader", policy=Policy(read=[str(data)])) as companion, companion.tracing() as trace:
        companion.run(f"open({str(data)!r}).close()\ntry: open({str(data)!r}, 'a')\nexcept OSError: pass")
    assert trace.read[str(data)] == 1
    assert names(trace, "write") == [str(data)]


def test_names_that_are_no_text_and_control_characters_harm_nobody(untrusted: Companion) -> None:
    with untrusted.tracing() as trace:
        untrusted.run(
            "for name in (b'/no\\xff', b'/\\x1b]0;title\\x07<b>\\n', b'/' + b'x' * 4000):\n"
            "    try: open(name)\n    except OSError: pass\n"
        )
    found = names(trace, "read")
    assert found[:2] == ["/no\ufffd", "/]0;title<b>\\n"]
    assert len(found[2]) < 1100
    assert "<b>" not in trace._repr_html_()
    assert untrusted.run("1") == 1
    with untrusted.tracing() as trace:
        untrusted.run("open('own', 'w').close()")
    assert trace.write


# ---------------------------------------------------------------- programs, modules, addresses


def test_programs_are_listed_and_a_search_along_path_is_one(untrusted: Companion) -> None:
    with untrusted.tracing() as trace:
        untrusted.run(
            "import os, subprocess\n"
            "os.environ['PATH'] = '/usr/local/bin:/usr/bin:/bin'\n"
            "subprocess.run(['true'])\n"
            "try: subprocess.run(['no-such-program'])\nexcept OSError: pass\n"
        )
    assert [os.path.basename(path) for path in trace.started] == [
        "true",
        "no-such-program (not found along PATH)",
    ]
    assert not names(trace, "start")


def test_modules_are_listed(untrusted: Companion) -> None:
    untrusted.run("import sys; sys.modules.pop('this', None)")
    with untrusted.tracing() as trace:
        untrusted.run("import colorsys, wsgiref.util")
    assert {"colorsys", "wsgiref", "wsgiref.util"} <= set(trace.imported)
    assert trace.runtime
    assert "wsgiref (2 modules)" in str(trace)


def test_a_module_that_the_policy_does_not_name_is_refused() -> None:
    policy = Policy(extends="untrusted").allow_import("math")
    with (
        Companion("importer", policy=policy) as companion,
        pytest.raises(ImportError),
        companion.tracing() as trace,
    ):
        companion.run("import math, colorsys")
    assert names(trace, "import") == ["colorsys"]


def test_connects_are_listed_and_refused(untrusted: Companion, server: tuple[str, int]) -> None:
    assert untrusted.report is not None
    if untrusted.report.tier == "L":
        pytest.skip("no socket is to be had in tier L without addresses")
    with untrusted.tracing() as trace:
        untrusted.run(
            "import socket\n"
            f"for place in ({server!r}, ('192.0.2.1', 80)):\n"
            "    try: socket.create_connection(place, timeout=1)\n    except OSError: pass\n"
        )
    assert list(trace.connected) == [f"127.0.0.1:{server[1]} (its own)"]
    assert names(trace, "connect") == ["192.0.2.1:80"]
    assert 'allow_tcp("192.0.2.1:80") would allow it' in str(trace)


@pytest.mark.parametrize("tier", ["N", "L"])
def test_an_address_of_the_policys_is_connected_and_others_are_refused(
    tier: str, server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", tier)
    policy = Policy(extends="untrusted", network=[f"127.0.0.1:{server[1]}"])
    companion = Companion(f"caller-{tier}", policy=policy)
    try:
        companion.start()
    except ConfinementError as error:
        companion.close()
        pytest.skip(str(error))
    with companion, companion.tracing() as trace:
        companion.run(
            "import socket\n"
            f"socket.create_connection({server!r}).close()\n"
            "try: socket.create_connection(('192.0.2.1', 80), timeout=1)\nexcept OSError: pass\n"
        )
    assert list(trace.connected) == [f"127.0.0.1:{server[1]}"]
    assert names(trace, "connect") == ["192.0.2.1:80"]


# ---------------------------------------------------------------- other companions


def test_a_trusted_companion_started_for_it_is_traced(
    traced: Companion, tmp_path: Path, server: tuple[str, int]
) -> None:
    with traced.tracing() as trace:
        traced.run(
            "import socket, subprocess, sys\n"
            f"open({str(tmp_path / 'out')!r}, 'w').close()\n"
            f"socket.create_connection({server!r}).close()\n"
            "subprocess.run([sys.executable, '-c', ''])\n"
        )
    assert trace.write == {str(tmp_path / "out"): 1}
    assert trace.connected == {f"127.0.0.1:{server[1]}": 1}
    assert sys.executable in trace.started
    assert trace.refused == ()
    assert trace.runtime


@pytest.mark.parametrize("tier", ["N", "L"])
def test_an_offline_companion_is_traced_and_stays_offline(
    tier: str, server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", tier)
    with (
        Companion(f"offline-{tier}", policy="offline", traced=True) as companion,
        companion.tracing() as trace,
    ):
        companion.run(
            "import socket\nopen('/dev/null').close(); open('/etc/passwd').close()\n"
            f"try: socket.create_connection({server!r}).close()\n"
            "except OSError: pass\nelse: raise AssertionError"
        )
    assert "/etc/passwd" in trace.read


def test_a_running_companion_without_a_trace_says_how_to_get_one(companion: Companion) -> None:
    with pytest.raises(NotSupported, match="restart .* --trace"), companion.tracing():
        raise AssertionError("traced without a supervisor")
    companion.stop()
    with companion.tracing() as trace:
        companion.run("open('/etc/passwd').close()")
    assert "/etc/passwd" in trace.read


def test_outside_of_a_trace_nothing_is_recorded(untrusted: Companion) -> None:
    with untrusted.tracing() as first:
        untrusted.run("open('first', 'w').close()")
    untrusted.run("open('between', 'w').close()")
    with untrusted.tracing() as second:
        untrusted.run("open('second', 'w').close()")
    assert [os.path.basename(path) for path in first.write] == ["first"]
    assert [os.path.basename(path) for path in second.write] == ["second"]


def test_calls_through_proxies_are_traced(traced: Companion) -> None:
    module = traced.load_module("os")
    with traced.tracing() as trace:
        module.close(module.open("/etc/passwd", 0))
    assert "/etc/passwd" in trace.read


def test_two_traces_at_once_each_have_what_happens_during_them(traced: Companion, tmp_path: Path) -> None:
    with traced.tracing() as outer:
        traced.run(f"open({str(tmp_path / 'a')!r}, 'w').close()")
        with traced.tracing() as inner:
            traced.run(f"open({str(tmp_path / 'b')!r}, 'w').close()")
        traced.run(f"open({str(tmp_path / 'c')!r}, 'w').close()")
    assert [path[-1] for path in outer.write] == ["a", "b", "c"]
    assert [path[-1] for path in inner.write] == ["b"]


def test_two_threads_may_trace(traced: Companion, tmp_path: Path) -> None:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        with traced.tracing() as trace:
            for turn in range(20):
                traced.call(lambda path: open(path, "w").close(), str(tmp_path / f"{number}-{turn}"))
        found[number] = trace.write

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert {str(tmp_path / f"{number}-{turn}") for turn in range(20)} <= set(found[number])


def test_two_threads_of_the_companion_are_traced(untrusted: Companion) -> None:
    with untrusted.tracing() as trace:
        untrusted.run(
            "import threading\n"
            "def work(n):\n    for i in range(200): open(f'{n}-{i}', 'w').close()\n"
            "threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]; None"
        )
    assert len(trace.write) == 400


# ---------------------------------------------------------------- much, and the end


def test_a_flood_of_opens_is_bounded_and_ends(untrusted: Companion) -> None:
    began = time.monotonic()
    with untrusted.tracing() as trace:
        untrusted.run(
            "import os\n"
            "for n in range(20_000):\n    try: os.open(f'/nowhere/{n}', 0)\n    except OSError: pass\n"
        )
    assert time.monotonic() - began < 20
    kept = len(trace.refused) + len(trace.read) + trace.runtime
    assert 9_900 <= kept <= 10_000
    assert 10_000 <= trace.dropped <= 10_100
    assert f"{trace.dropped:,} more tries" in str(trace)
    assert len(str(trace).splitlines()) < 150


def test_a_flood_of_opens_does_not_keep_limits_from_being_seen() -> None:
    with (
        Companion("flooder", policy=Policy(extends="untrusted", cpu=0.3)) as companion,
        pytest.raises(ProcessTerminationError, match="processor time"),
        companion.tracing() as trace,
    ):
        companion.run(
            "import os, threading\n"
            "def work():\n    while True: os.close(os.open('/dev/null', 0))\n"
            "threads = [threading.Thread(target=work) for _ in range(4)]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]"
        )
    assert trace.died


def test_the_same_file_many_times_is_one_record(untrusted: Companion) -> None:
    with untrusted.tracing() as trace:
        untrusted.run("for _ in range(20_000): open('own', 'w').close()")
    assert list(trace.write.values()) == [20_000]
    assert trace.dropped == 0


def test_a_crash_keeps_what_was_traced_until_then(untrusted: Companion) -> None:
    with pytest.raises(ProcessTerminationError), untrusted.tracing() as trace:
        untrusted.run("import os\nfor n in range(1000): open(f'{n}', 'w').close()\nos._exit(3)")
    assert len(trace.write) == 1000
    assert trace.died
    assert "not known, for it died" in str(trace)
    with untrusted.tracing() as trace:
        untrusted.run("open('own', 'w').close()")
    assert list(trace.write) == [os.path.join(os.getcwd(), "own")]


# ---------------------------------------------------------------- the magic


def test_the_magic_shows_the_trace_behind_the_output_and_before_the_error() -> None:
    kernel = Kernel()
    try:
        kernel.run("%load_ext isolate_magic")
        cell = kernel.run("%%isolated --trace\nprint('hello'); open('/etc/hostname').close(); 6 * 7")
        shown = cell.of("display_data")
        assert cell.status == "ok"
        assert "/etc/hostname" in shown[-1]["data"]["text/plain"]
        assert "<table>" in shown[-1]["data"]["text/html"]
        assert [kind for kind, _ in cell.messages][-1] == "display_data"
        kernel.run("%isolate start student --policy untrusted")
        cell = kernel.run("%%isolated -c student --trace\nopen('/etc/shadow')")
        kinds = [kind for kind, _ in cell.messages]
        assert cell.status == "error"
        assert kinds.index("display_data") < kinds.index("error")
        assert 'allow_read("/etc/shadow")' in cell.of("display_data")[0]["data"]["text/plain"]
        cell = kernel.run("%%isolated -c student --trace\nimport os; open('x', 'w').close(); os._exit(3)")
        shown = [content["data"]["text/plain"] for content in cell.of("display_data")]
        assert any("trace of" in text and "/x" in text for text in shown)
    finally:
        kernel.close()


def test_the_commands_start_a_companion_with_a_trace() -> None:
    kernel = Kernel()
    try:
        kernel.run("%load_ext isolate_magic")
        kernel.run("%isolate start plain")
        for line in ("%%isolated -c plain --trace\n1", "%isolate start plain --trace"):
            cell = kernel.run(line)
            assert cell.reply["ename"] == "UsageError"
            assert "%isolate restart plain --trace" in cell.error + cell.stream("stderr")
        assert kernel.run("%isolate restart plain --trace").status == "ok"
        assert kernel.run("%%isolated -c plain --trace\n1").status == "ok"
        assert kernel.run("%isolate start other --trace").status == "ok"
        assert kernel.run("%%isolated -c other --trace\n1").status == "ok"
        assert "takes no value" in kernel.run("%isolate start other --trace=yes").stream("stderr")
    finally:
        kernel.close()
