"""The native stack of a companion that dies: functions of a real C extension, in both tiers, whatever goes wrong."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isolate_magic import Companion, ConfinementError, CrashReport, ProcessTerminationError
from isolate_magic.child import native

C = r"""
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#define HERE __attribute__((noinline))
static HERE void inner(int *place) { *place = 1; __asm__ volatile(""); }
HERE void outer(int *place) __asm__("_ZN6sensor4readEPi");
HERE void outer(int *place) { inner(place); __asm__ volatile(""); }
void crash(void) { outer((int *) 8); __asm__ volatile(""); }
void give_up(void) { abort(); }
int divide(int by) { return 7 / by; }
void smash(int length) { char small[8]; memset(small, 'A', length); __asm__ volatile("" :: "r"(small) : "memory"); }
int deeper(int n) { char much[4096]; much[0] = n; return deeper(n + 1) + much[0]; }
static void *work(void *none) { crash(); return none; }
void crash_in_a_thread(void) { pthread_t t; pthread_create(&t, 0, work, 0); pthread_join(t, 0); }
"""


def handler() -> native.Native | None:
    return native.prepared()


pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not there (apt-get install gcc)"),
    pytest.mark.skipif(handler() is None, reason="native stacks are for x86-64 and glibc"),
]


@pytest.fixture(scope="module")
def library() -> Iterator[Path]:
    """Compile the extension, where a companion with a uid of its own may read too."""
    folder = Path(tempfile.mkdtemp(prefix="native-"))
    folder.chmod(0o755)
    (folder / "extension.c").write_text(C)
    made = folder / "extension.so"
    options = ["-g", "-O1", "-fno-optimize-sibling-calls", "-fstack-protector-all", "-shared", "-fPIC"]
    subprocess.run(
        ["gcc", *options, "-o", made, folder / "extension.c"], check=True, stderr=subprocess.DEVNULL
    )
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trusted() -> Iterator[Companion]:
    with Companion("native-trusted") as made:
        yield made


def death(companion: Companion, library: Path, call: str) -> CrashReport:
    source = f"import ctypes\nlibrary = ctypes.CDLL({str(library)!r})\nlibrary.{call}"
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(source)
    report: CrashReport = caught.value.report
    assert report.stack[0].source == f"library.{call}"  # whatever the native stack does, this one is there
    return report


def test_functions_of_an_extension_are_named_with_their_lines(trusted: Companion, library: Path) -> None:
    report = death(trusted, library, "crash()")
    assert report.signal == "SIGSEGV"
    names = [frame.function for frame in report.native]
    assert names[0] == "inner"  # a static function: named by addr2line
    assert names[2] == "crash"
    assert str(report.native[0]) == "inner in extension.so, extension.c:6"
    assert names[1] == ("sensor::read(int*)" if shutil.which("c++filt") else "_ZN6sensor4readEPi")
    assert not any("PyEval" in name or "restore_rt" in name for name in names)
    assert "inner in extension.so" in str(report)
    assert "sensor::read(int*) in extension.so" in report._repr_html_()


@pytest.mark.parametrize("tier", ["N", "L"])
def test_it_is_had_behind_a_wall_too_in_the_companions_own_words(
    tier: str, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLATE_MAGIC_TIER", tier)
    from isolate_magic import Policy

    policy = Policy(extends="untrusted", read=[str(library.parent)])
    try:
        companion = Companion(f"native-{tier}", policy=policy).start()
    except ConfinementError as error:
        pytest.skip(f"tier {tier}: {error}")
    with companion:
        report = death_unread(companion, library)
    assert [frame.function for frame in report.native][1:3] == ["_ZN6sensor4readEPi", "crash"]
    assert report.native[0].function == ""  # its file was not opened, so a static function has no name
    assert report.native[0].library == str(library)


def death_unread(companion: Companion, library: Path) -> CrashReport:
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(f"import ctypes\nctypes.CDLL({str(library)!r}).crash()")
    report: CrashReport = caught.value.report
    assert report.stack[0].line == 2
    return report


@pytest.mark.parametrize(
    ("call", "signal", "function"),
    [
        ("give_up()", "SIGABRT", "abort"),
        ("divide(0)", "SIGFPE", "divide"),
        ("deeper(0)", "SIGSEGV", "deeper"),
    ],
)
def test_other_deaths_have_one_too(
    trusted: Companion, library: Path, call: str, signal: str, function: str
) -> None:
    report = death(trusted, library, call)
    assert report.signal == signal
    assert report.native[0].function == function


def test_a_stack_overflow_shows_thirty_frames_at_most(trusted: Companion, library: Path) -> None:
    assert 10 < len(death(trusted, library, "deeper(0)").native) <= 30


def test_a_ruined_stack_leaves_the_signal_as_it_was(trusted: Companion, library: Path) -> None:
    report = death(trusted, library, "smash(64)")
    assert report.signal == "SIGABRT"  # the unwinder may well fault on what has become of the frames
    assert "stack smashing" in report.stderr


def test_a_thread_of_an_extension_dies_with_its_own_stack(trusted: Companion, library: Path) -> None:
    with pytest.raises(ProcessTerminationError) as caught:
        trusted.run(f"import ctypes\nctypes.CDLL({str(library)!r}).crash_in_a_thread()")
    names = [frame.function for frame in caught.value.report.native]
    assert names[0] == "inner"
    assert "work" in names


def test_pure_python_says_nothing_of_the_interpreter(trusted: Companion) -> None:
    with pytest.raises(ProcessTerminationError) as caught:
        trusted.run("import os\nos._exit(3)")
    assert caught.value.report.native == ()
    assert "native stack" not in str(caught.value.report)


def test_what_cannot_be_written_delays_death_by_a_second_and_no_more() -> None:
    code = """
import os, faulthandler, ctypes
from isolate_magic.child import native
made = native.Native()
read, write = os.pipe()
os.set_blocking(write, False)
try:
    while True: os.write(write, bytes(4096))
except BlockingIOError: os.set_blocking(write, True)
made.install(write)
faulthandler.enable(os.open(os.devnull, os.O_WRONLY)); made.widen()
ctypes.string_at(0)
"""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == -11
    assert 0.9 < time.monotonic() - begin < 10


def test_the_handler_adds_no_measurable_time_to_a_start() -> None:
    made = native.Native()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        ctypes.CDLL(None).getpid()
        begin = time.perf_counter()
        made.install(2)
        made.widen()
        os.write(write, b"%d" % ((time.perf_counter() - begin) * 1e6))
        os._exit(0)
    os.waitpid(child, 0)
    spent = int(os.read(read, 100))
    os.close(read)
    os.close(write)
    assert spent < 5000  # microseconds; 200 here
