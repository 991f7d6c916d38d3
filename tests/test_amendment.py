"""A policy that changes under a running companion: what holds is proved by doing what it forbids."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.lib.pretty import pretty

from isolate_magic import (
    Companion,
    CpuExceeded,
    MemoryExceeded,
    Policy,
    PolicyError,
    ProcessesExceeded,
    ThreadsExceeded,
)  # fmt: skip

BASE = Policy(extends="untrusted", name="changing", memory="400MiB", nice=None)
_FORKS = (
    "import os, time\n"
    "def forks(count):\n"
    "    pids = []\n"
    "    for _ in range(count):\n"
    "        pids.append(os.fork())\n"
    "        if not pids[-1]:\n"
    "            time.sleep(0.3); os._exit(0)\n"
    "    return len([os.waitpid(pid, 0) for pid in pids])\n"
)
_THREADS = (
    "import threading, time\n"
    "def threads(count):\n"
    "    made = [threading.Thread(target=time.sleep, args=(0.3,)) for _ in range(count)]\n"
    "    for one in made: one.start()\n"
    "    for one in made: one.join()\n"
    "    return count\n"
)


@pytest.fixture
def walled() -> Iterator[Companion]:
    with Companion("walled", policy=BASE) as made:
        yield made


def change(companion: Companion, **fields: Any) -> str:
    """Change fields of a companion's policy; return the answer."""
    return str(companion.change_policy(companion.policy.but(**fields)))


def test_less_memory_and_more_holds_at_once(walled: Companion) -> None:
    hog = "import mmap; m = mmap.mmap(-1, 120 << 20); m.write(b'x' * (120 << 20)); len(m)"
    assert walled.run(hog) == 120 << 20
    walled.run("m.close()")
    assert change(walled, memory="800MiB") == "in force now: memory"
    assert walled.run("len(bytearray(600 << 20))") == 600 << 20
    assert change(walled, memory="100MiB") == "in force now: memory"
    with pytest.raises((MemoryExceeded, MemoryError)):
        walled.run(hog)


def test_less_processor_time_and_more_holds_at_once(walled: Companion) -> None:
    burn = "import time\ndef burn(s):\n    while time.process_time() < s: pass"
    walled.run(burn)
    assert change(walled, cpu="3s") == "in force now: cpu"
    walled.run("burn(0.5)")
    assert change(walled, cpu="0.6s") == "in force now: cpu"
    with pytest.raises(CpuExceeded):
        walled.run("burn(30)")


def test_fewer_processes_and_more_hold_at_once(walled: Companion) -> None:
    walled.run(_FORKS)
    assert change(walled, processes=3) == "in force now: processes"
    assert change(walled, processes=40) == "in force now: processes"
    assert walled.run("forks(10)") == 10
    assert change(walled, processes=4) == "in force now: processes"
    with pytest.raises(ProcessesExceeded):
        walled.run("forks(10)")


def test_who_was_started_to_start_nothing_starts_nothing_until_a_restart(walled: Companion) -> None:
    walled.change_policy(BASE.but(processes=1))
    walled.restart()
    answer = walled.change_policy(BASE.but(processes=5))
    assert not answer.took
    assert "after a restart: processes (the kernel was told at the start" in str(answer)
    with pytest.raises(OSError):
        walled.run("import os; os.fork()")
    walled.restart()
    assert walled.run(_FORKS + "forks(2)") == 2


def test_fewer_threads_hold_at_once_and_more_do_if_the_answer_says_so(walled: Companion) -> None:
    walled.run(_THREADS)
    assert walled.run("threads(20)") == 20
    assert change(walled, threads=10) == "in force now: threads"
    answer = walled.change_policy(walled.policy.but(threads=100))
    if answer.restart:
        assert "CAP_SYS_RESOURCE" in str(answer)
        walled.restart()
        walled.run(_THREADS)
    assert walled.run("threads(20)") == 20
    change(walled, threads=10)
    with pytest.raises((ThreadsExceeded, RuntimeError)):
        walled.run("threads(20)")


def test_open_files_change_as_the_answer_says(walled: Companion) -> None:
    files = "held = [os.open('/dev/null', 0) for _ in range(60)]\nfor one in held: os.close(one)\nlen(held)"
    assert walled.run(f"import os\n{files}") == 60
    for most, fits in ((40, False), (120, True)):
        answer = walled.change_policy(walled.policy.but(open_files=most))
        if answer.restart:
            assert "CAP_SYS_RESOURCE" in str(answer)
            walled.restart()
            walled.run("import os")
        if fits:
            assert walled.run(files) == 60
        else:
            with pytest.raises(OSError, match="Too many open files"):
                walled.run(files)


def test_it_gives_way_more_at_once_with_all_its_threads(walled: Companion) -> None:
    walled.run("import os, threading\nstop = threading.Event()\nthreading.Thread(target=stop.wait).start()")
    assert change(walled, nice=12) == "in force now: nice"
    nices = walled.run("[os.getpriority(0, int(task)) for task in os.listdir('/proc/self/task')]")
    walled.run("stop.set()")
    assert set(nices) == {12}


def test_it_gives_way_less_as_the_answer_says(walled: Companion) -> None:
    change(walled, nice=12)
    answer = walled.change_policy(walled.policy.but(nice=None))
    if answer.restart:
        assert "CAP_SYS_NICE" in str(answer)
        walled.restart()
    assert walled.run("import os; os.getpriority(0, 0)") == os.getpriority(os.PRIO_PROCESS, 0)


def test_it_moves_to_other_cpus_at_once_and_back(walled: Companion) -> None:
    here = os.sched_getaffinity(0)
    assert change(walled, cpus=[min(here)]) == ("in force now: cpus")
    assert walled.run("import os; os.sched_getaffinity(0)") == {min(here)}
    assert change(walled, cpus=None) == "in force now: cpus"
    assert walled.run("os.sched_getaffinity(0)") == here


def test_a_cpu_that_is_not_there_is_told(walled: Companion) -> None:
    answer = walled.change_policy(walled.policy.but(cpus=[5000]))
    assert not answer.took
    assert "may not use CPU 5000" in str(answer)


def test_imports_change_at_once_in_both_directions(walled: Companion) -> None:
    assert change(walled, imports=["json"]) == "in force now: imports"
    walled.run("import json")
    with pytest.raises(ImportError, match="allow_import"):
        walled.run("import csv")
    assert change(walled, imports=["json", "csv"]) == "in force now: imports"
    walled.run("import csv")
    change(walled, imports=None)
    walled.run("import wave")


def test_what_the_main_session_imports_there_is_looked_at_too(walled: Companion) -> None:
    change(walled, imports=["json"])
    walled.load_module("json")
    with pytest.raises(ImportError):
        walled.load_module("csv")


def test_output_and_its_rate_change_at_once(walled: Companion, capsys: pytest.CaptureFixture[str]) -> None:
    for most, shown in ((2000, 2000), (20_000, 15_000)):
        assert change(walled, output=most, output_rate="1MiB").startswith("in force now: output")
        walled.run("print('x' * 15000)")
        assert abs(capsys.readouterr().out.count("x") - shown) < 300


def test_a_trusted_companion_can_be_given_a_limit_of_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    with Companion("talkative") as companion:
        assert str(companion.change_policy(Policy(output=1000))) == "in force now: output"
        companion.run("print('x' * 15000)")
        assert capsys.readouterr().out.count("x") <= 1000
        companion.change_policy(Policy())
        companion.run("print('x' * 15000)")
        assert capsys.readouterr().out.count("x") == 15_000


def test_who_has_no_supervisor_gets_limits_by_a_restart() -> None:
    with Companion("free") as companion:
        answer = companion.change_policy(Policy(memory="300MiB", cpu="9s"))
        assert str(answer) == (
            "after a restart: memory, cpu (it runs without the supervisor that would watch it)"
        )
        companion.restart()
        with pytest.raises((MemoryError, MemoryExceeded)):
            companion.run("len(bytearray(900 << 20))")


def _server() -> tuple[socket.socket, str]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"127.0.0.1:{server.getsockname()[1]}"


def test_addresses_come_and_go_at_once() -> None:
    (one, first), (two, second) = _server(), _server()
    call = "import socket\ndef call(where):\n    with socket.create_connection(where, 5): return True"
    with one, two, Companion("caller", policy=BASE.but(network=[first])) as companion:
        companion.run(call)

        def reaches(address: str) -> bool:
            host, _, port = address.partition(":")
            try:
                return bool(companion.run(f"call(({host!r}, {port}))"))
            except OSError:
                return False

        assert (reaches(first), reaches(second)) == (True, False)
        assert change(companion, network=[first, second]) == "in force now: network"
        assert (reaches(first), reaches(second)) == (True, True)
        assert change(companion, network=[second]) == "in force now: network"
        assert (reaches(first), reaches(second)) == (False, True)
        assert change(companion, network="none") == "in force now: network"
        assert (reaches(first), reaches(second)) == (False, False)
        assert change(companion, network=[first]) == "in force now: network"
        assert reaches(first)
        assert "after a restart: network" in change(companion, network="all")


def test_its_own_network_works_beside_the_addresses_that_are_allowed() -> None:
    with Companion("homely", policy=BASE.but(network=["127.0.0.1:9"])) as companion:
        if companion.report is None or companion.report.tier != "N":
            pytest.skip("in tier L it has no network of its own")
        companion.run("import socket; server = socket.create_server(('127.0.0.1', 0))")
        companion.run("ours = socket.create_connection(server.getsockname()); theirs, _ = server.accept()")
        assert companion.run("ours.sendall(b'hello'); theirs.recv(5)") == b"hello"
        with pytest.raises(ConnectionRefusedError):
            companion.run("socket.create_connection(('127.0.0.1', 1))")


def test_a_name_can_be_looked_up_after_a_restart() -> None:
    server, address = _server()
    with server, Companion("namer", policy=BASE.but(network=[address])) as companion:
        port = address.partition(":")[2]
        assert "can look up localhost only then" in change(companion, network=[f"localhost:{port}"])


def test_files_user_and_environment_wait_for_a_restart(walled: Companion, tmp_path: Any) -> None:
    (tmp_path / "note").write_text("seen")
    tmp_path.chmod(0o755)
    answer = walled.change_policy(
        walled.policy.but(read=[str(tmp_path)], environment=["PATH"], disk="8MiB", memory="300MiB")
    )
    assert answer.took == ("memory",)
    assert {name for name, _ in answer.restart} == {"read", "environment", "disk"}
    assert set(walled.policy.changes(walled.policy)) == set()


def test_the_report_tells_what_is_in_force(walled: Companion) -> None:
    change(walled, memory="300MiB")
    assert "memory: 300 MiB" in str(walled.report)


def test_a_notebook_shows_the_answer_in_words(walled: Companion) -> None:
    answer = walled.change_policy(Policy(extends=walled.policy, wall="50s"))
    assert answer.took == ("wall",)
    assert pretty(answer) == str(answer)


def test_what_a_dead_companion_is_given_holds_from_the_next_start() -> None:
    companion = Companion("later", policy=BASE)
    assert str(companion.change_policy(BASE.but(cpus=[min(os.sched_getaffinity(0))]))) == (
        "holds from the next start"
    )
    with companion:
        assert companion.run("import os; len(os.sched_getaffinity(0))") == 1
    companion.close()


def test_nothing_changes_if_the_policy_cannot_be(walled: Companion) -> None:
    before = walled.policy
    with pytest.raises(PolicyError):
        walled.change_policy("no-such-preset")
    assert walled.policy is before


def test_the_companion_may_be_at_work_for_another_thread(walled: Companion) -> None:
    import threading

    busy = threading.Thread(target=lambda: walled.run("import time; time.sleep(4)"))
    busy.start()
    while walled.state != "busy":
        pass
    answer = walled.change_policy(walled.policy.but(imports=["json"], memory="300MiB"))
    assert answer.took == ("memory",)
    assert "or before, when it has done what it is doing" in str(answer)
    busy.join()
