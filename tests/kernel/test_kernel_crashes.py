"""What ends a cell of the isolated kernel does not end the kernel: crashes, interrupts, `exit`, and its own end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kernels import Cell, Kernel
from waiting import until

from isolate_magic.kernel.specification import install

DEATHS = [
    ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ("import os; os.abort()", "SIGABRT"),
    ("import os; os._exit(3)", "exit code 3"),
    ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
]


@pytest.fixture
def front(kernel: Kernel) -> Iterator[int]:
    """Give the process that Jupyter speaks with; it has to be the same afterwards."""
    pid: int = kernel.manager.provisioner.pid  # type: ignore[union-attr]
    yield pid
    assert kernel.manager.is_alive()
    assert kernel.manager.provisioner.pid == pid  # type: ignore[union-attr]
    assert kernel.run("1 + 1").result["text/plain"] == "2"


def interrupted(kernel: Kernel, tmp_path: Path, code: str, times: int = 1) -> Cell:
    """Run a cell and press the stop button as soon as it runs, and again if it goes on."""
    running = tmp_path / "running"

    def press() -> None:
        until(running.exists, 30)
        group = os.getpgid(kernel.manager.provisioner.pid)  # type: ignore[union-attr]
        for _ in range(times):
            time.sleep(0.2)  # for the cell to get from one line to the next
            os.killpg(group, signal.SIGINT)  # as jupyter_client does
            if times > 1:
                time.sleep(1.2)  # as a user who sees that nothing happens

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        return kernel.run(f"open({str(running)!r}, 'w').close()\n{code}", timeout=60)
    finally:
        pressing.join()


@pytest.mark.parametrize(("code", "reason"), DEATHS, ids=[reason for _, reason in DEATHS])
@pytest.mark.usefixtures("front")
def test_a_crash_is_the_error_of_its_cell_and_the_next_one_runs(
    kernel: Kernel, code: str, reason: str
) -> None:
    kernel.run("kept = 6 * 7")
    cell = kernel.run(code)
    assert cell.reply["ename"] == "ProcessTerminationError"
    assert reason in cell.reply["evalue"]
    number = cell.reply["execution_count"]
    assert f"companion 'kernel' died in Cell In[{number}]" in cell.error
    assert "pid: " in cell.error
    assert "rewound to before cell" in cell.error
    after = kernel.run("kept")
    assert after.reply["execution_count"] == number + 1
    assert after.result["text/plain"] == "42"


def test_without_snapshots_a_crash_loses_what_was_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("plain", "trusted", prefix=str(tmp_path), snapshots="off")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    kernel = Kernel(name="plain")
    try:
        kernel.run("kept = 1")
        assert "rewound" not in kernel.run("import os; os.abort()").error
        after = kernel.run("kept")
        assert "not defined" in after.error
        assert "Started a new one" in after.stream("stderr")
    finally:
        kernel.close()


@pytest.mark.usefixtures("front")
def test_the_report_shows_the_line_that_it_died_in(kernel: Kernel) -> None:
    cell = kernel.run("import ctypes\ndef cause():\n    ctypes.string_at(0)\ncause()")
    assert "---> 3     ctypes.string_at(0)" in cell.error


@pytest.mark.usefixtures("front")
def test_output_before_a_crash_is_kept(kernel: Kernel) -> None:
    assert kernel.run("import os\nprint('last words')\nos.abort()").stream() == "last words\n"


@pytest.mark.usefixtures("front")
def test_exit_makes_the_next_cell_find_everything_new(kernel: Kernel) -> None:
    kernel.run("kept = 1")
    said = kernel.run("exit")
    assert said.status == "ok"
    assert said.reply["payload"] == [{"source": "ask_exit", "keepkernel": False}]
    after = kernel.run("kept")
    assert "not defined" in after.error
    assert after.stream("stderr") == ""  # it was no crash


@pytest.mark.usefixtures("front")
def test_sys_exit_ends_the_cell_alone(kernel: Kernel) -> None:
    kernel.run("kept = 2")
    assert kernel.run("import sys; sys.exit(3)").reply["ename"] == "SystemExit"
    assert kernel.run("kept").result["text/plain"] == "2"


# ---------------------------------------------------------------- interrupts


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(30)",
        "while True: pass",
        "import asyncio\nawait asyncio.sleep(30)",
        "input('wait')",
    ],
)
@pytest.mark.usefixtures("front")
def test_an_interrupt_ends_the_cell_and_keeps_the_variables(
    kernel: Kernel, tmp_path: Path, code: str
) -> None:
    kernel.run("kept = 3")
    if "input" in code:
        kernel.client.allow_stdin = True
        kernel.client._stdin_hook_default = lambda message: None
    cell = interrupted(kernel, tmp_path, code)
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert "Cell In[" in cell.error
    assert kernel.run("kept").result["text/plain"] == "3"


@pytest.mark.usefixtures("front")
def test_a_cell_may_catch_its_interrupt(kernel: Kernel, tmp_path: Path) -> None:
    cell = interrupted(
        kernel,
        tmp_path,
        "import time\ntry:\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    print('caught')\n7",
    )
    assert (cell.status, cell.stream(), cell.result["text/plain"]) == ("ok", "caught\n", "7")


@pytest.mark.usefixtures("front")
def test_a_message_interrupts_as_well_as_a_signal(kernel: Kernel, tmp_path: Path) -> None:
    running = tmp_path / "running"

    def press() -> None:
        until(running.exists, 30)
        kernel.client.control_channel.send(kernel.client.session.msg("interrupt_request", {}))

    pressing = threading.Thread(target=press)
    pressing.start()
    assert (
        kernel.run(f"open({str(running)!r}, 'w').close()\nwhile True: pass", timeout=40).reply["ename"]
        == "KeyboardInterrupt"
    )
    pressing.join()


@pytest.mark.usefixtures("front")
def test_the_second_interrupt_kills_what_does_not_listen(kernel: Kernel, tmp_path: Path) -> None:
    cell = interrupted(
        kernel,
        tmp_path,
        "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\ntime.sleep(60)",
        2,
    )
    assert "killed by the second interrupt" in cell.error
    assert "interrupt again to kill it" in cell.stream("stderr")


@pytest.mark.usefixtures("front")
def test_every_cell_is_answered_however_often_the_button_is_pressed(kernel: Kernel) -> None:
    pid = kernel.manager.provisioner.pid  # type: ignore[union-attr]
    over = threading.Event()

    def press() -> None:
        while not over.wait(0.003):
            os.kill(pid, signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        statuses = [kernel.run("sum(range(20_000))").status for _ in range(40)]
    finally:
        over.set()
        pressing.join()
    assert len(statuses) == 40
    # The last second press may still kill; then one more cell says so.
    until(lambda: {kernel.run("1 + 1").status for _ in range(5)} == {"ok"}, 30)


# ---------------------------------------------------------------- the end


def family(kernel: Kernel) -> list[psutil.Process]:
    assert kernel.run("1").status == "ok"
    front = psutil.Process(kernel.manager.provisioner.pid)  # type: ignore[union-attr]
    return [front, *front.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.parametrize("name", ["isolated", "student"])
def test_nothing_is_left_when_the_front_is_killed(name: str) -> None:
    kernel = Kernel(name=name)
    processes = family(kernel)
    assert len(processes) >= 3
    os.kill(processes[0].pid, signal.SIGKILL)
    until(lambda: gone(processes), 20)
    kernel.close()


def test_shutdown_ends_all_also_while_a_cell_runs(tmp_path: Path) -> None:
    kernel = Kernel(name="isolated")
    processes = family(kernel)
    running = tmp_path / "running"
    kernel.client.execute(f"open({str(running)!r}, 'w').close()\nwhile True: pass")
    until(running.exists, 30)
    kernel.client.shutdown()
    until(lambda: gone(processes), 20)
    kernel.close()


@pytest.mark.usefixtures("front")
def test_exit_writes_open_files(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run(f"f = open({str(tmp_path / 'file')!r}, 'w'); f.write('kept')")
    kernel.run("exit")
    assert (tmp_path / "file").read_text() == "kept"


def test_shutdown_writes_open_files_and_runs_what_was_registered_with_atexit(tmp_path: Path) -> None:
    """As at the end of `jupyter nbconvert --execute`."""
    kernel = Kernel(name="isolated")
    kernel.run(f"f = open({str(tmp_path / 'file')!r}, 'w'); f.write('kept')")
    kernel.run(f"import atexit; atexit.register(lambda: open({str(tmp_path / 'said')!r}, 'w').write('bye'))")
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel()
    kernel.close()
    assert (tmp_path / "file").read_text() == "kept"
    assert (tmp_path / "said").read_text() == "bye"


def test_a_restart_forgets_everything() -> None:
    kernel = Kernel(name="isolated")
    try:
        kernel.run("kept = 4")
        processes = family(kernel)
        kernel.client.stop_channels()
        kernel.manager.restart_kernel()
        kernel.client = kernel.manager.blocking_client()
        kernel.client.start_channels()
        kernel.client.wait_for_ready(timeout=60)
        cell = kernel.run("kept")
        assert cell.reply["execution_count"] == 1
        assert "not defined" in cell.error
        until(lambda: gone(processes), 20)
    finally:
        kernel.close()
