"""The line of the policy that was in the way: told for what really fails in a companion, and for nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from isolate_magic import Companion, LimitExceeded, Policy
from isolate_magic.explanation import explain

POLICY = Policy(
    extends="untrusted", name="strict", disk="8MiB", memory="300MiB", processes=8, threads=20, open_files=64
)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Companion]:
    with Companion("strict", policy=POLICY) as made:
        made.run("import os, socket, threading, tempfile, time")
        yield made


def notes(companion: Companion, source: str) -> list[str]:
    """Run what fails; return what is said of it beside the companion's traceback."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        companion.run(source)
    if isinstance(caught.value, LimitExceeded):
        pytest.skip("here the supervisor comes before the kernel")
    return [note for note in caught.value.__notes__ if not note.startswith("In companion")]


def test_a_file_of_the_system_that_may_not_be_read(strict: Companion) -> None:
    assert notes(strict, "open('/etc/shadow')") == [
        "policy 'strict', read = []: allow_read(\"/etc/shadow\") would allow it"
    ]


def test_a_file_of_the_user_whether_it_is_out_of_sight_or_forbidden(
    strict: Companion, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("x")
    (said,) = notes(strict, f"open('{tmp_path}/mine.txt')")
    assert f'allow_read("{tmp_path}/mine.txt") would allow it' in said


def test_a_file_in_the_working_directory(strict: Companion) -> None:
    (said,) = notes(strict, "open('pyproject.toml')")
    assert f'allow_read("{os.getcwd()}/pyproject.toml")' in said


def test_a_new_file_where_nothing_may_be_written_names_the_folder(strict: Companion) -> None:
    assert notes(strict, "open('/usr/new', 'w')") == [
        "policy 'strict', write = []: allow_write(\"/usr\") would allow it"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "open('/nowhere/at/all')",
        "open('not-there.txt')",
        "open('/tmp/not-there')",
        "raise PermissionError('my own')",
        "raise BlockingIOError(11, 'my own')",
        "raise FileNotFoundError('/etc/passwd')",
        "import no_such_module",
        "import subprocess; subprocess.run(['no-such-program'])",
        "1 / 0",
    ],
)
def test_what_is_not_the_policys_doing_is_not_put_down_to_it(strict: Companion, source: str) -> None:
    assert notes(strict, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "socket.create_connection(('192.0.2.1', 80), 2)",
        "socket.create_connection(('127.0.0.1', 1), 2)",
        "socket.getaddrinfo('pypi.org', 443)",
        "import urllib.request; urllib.request.urlopen('http://pypi.org')",
    ],
)
def test_a_connection(strict: Companion, source: str) -> None:
    (said,) = notes(strict, source)
    assert said == "policy 'strict', network = none: allow_tcp(\"host:port\") would let it reach a server"


def test_a_connection_beside_those_that_are_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with Companion("netted", policy=POLICY.but(network=[address])) as companion:
            (said,) = notes(companion, "import socket; socket.create_connection(('192.0.2.1', 80), 2)")
    assert f"network = {address}: allow_tcp" in said


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("held = []\nfor _ in range(99): held.append(os.open('/dev/null', 0))", "open_files = 64"),
        ("for _ in range(40): threading.Thread(target=time.sleep, args=(0.1,)).start()", "threads = 20"),
        ("bytearray(900 << 20)", "memory = 300MiB"),
        ("import numpy as np; np.zeros(900 << 20, 'u1')", "memory = 300MiB"),
        ("open(tempfile.mkdtemp() + '/big', 'wb').write(bytes(9 << 20))", "disk = 8MiB"),
    ],
)
def test_a_limit(source: str, line: str) -> None:
    with Companion("limited", policy=POLICY) as companion:
        companion.run("import os, threading, tempfile, time")
        (said,) = notes(companion, source)
    assert said.startswith(
        f"policy 'strict', {line}: there " if "open" not in line else f"policy 'strict', {line}"
    )


def test_no_room_on_the_disk_for_many_small_files() -> None:
    many = "import time\nfor n in range(9): open(f'{n}', 'wb').write(bytes(2 << 20))\ntime.sleep(20)"
    with Companion("full", policy=POLICY) as companion:
        (said,) = notes(companion, many)
    assert "disk = 8MiB" in said


def test_a_fork_too_many() -> None:
    refused = BlockingIOError(11, "Resource temporarily unavailable")
    refused.add_note("In companion 'x':\n----> 1 os.fork()")
    assert explain(refused, POLICY) == "policy 'strict', processes = 8: there are no more processes"


def test_a_system_call(strict: Companion) -> None:
    assert notes(strict, "os.chroot('/')") == [
        "policy 'strict' confines system calls and signals, which may be why"
    ]
    assert "confines system calls" in notes(strict, "os.kill(1, 9)")[0]


def test_an_import_is_explained_by_its_own_error() -> None:
    refused = pytest.raises(ImportError, match=r"allow_import\('csv'\) would allow it")
    with Companion("importer", policy=POLICY.but(imports=["json"])) as companion, refused:
        companion.run("import csv")


@pytest.mark.parametrize("source", ["open('/nowhere')", "open('/proc/1/mem', 'w')", "bytearray(1 << 60)"])
def test_a_trusted_companion_is_told_nothing(companion: Companion, source: str) -> None:
    assert notes(companion, source) == []


def test_the_cell_shows_it_once(strict: Companion) -> None:
    with pytest.raises(PermissionError) as caught:
        strict.run("open('/etc/shadow')")
    lines = "\n".join(caught.value.__dict__["_isolate_lines_"])
    assert lines.count("would allow it") == 1
