"""A hostile notebook in the kernel under `untrusted`: each cell ends with its error in place, the machine is unharmed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from kernels import Kernel
from nbformat import v4
from waiting import until

from isolate_magic.kernel import replies

SECRET = "a key that nobody may have"


def convert(folder: Path, *sources: str) -> list[Any]:
    """Execute a notebook as `jupyter nbconvert --execute` does, and return its code cells."""
    made = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    made.metadata["kernelspec"] = {"name": "student", "display_name": "Student", "language": "python"}
    nbformat.write(made, folder / "hostile.ipynb")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "jupyter", "nbconvert", "--execute", "--allow-errors", "--to", "notebook"),
            *("--output", "done.ipynb", "--ExecutePreprocessor.timeout=120", "hostile.ipynb"),
        ],
        cwd=folder, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(nbformat.read(folder / "done.ipynb", as_version=4).cells)


def text(cell: Any) -> str:
    """Return all that stands below a cell."""
    found = []
    for out in cell.outputs:
        if out.output_type == "error":
            found.append("\n".join([f"{out.ename}: {out.evalue}", *out.traceback]))
        else:
            found.append(out.get("text") or str(out.get("data")))
    return "\n".join(found)


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[int, list[Any]]]:
    """Give a port of this machine where somebody listens, and who has come."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    came.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], came


ATTACKS = {
    "segfault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "exit": ("import os; os._exit(0)", "exit code 0"),
    "fork bomb": ("import os\nwhile True: os.fork()", "ProcessesExceeded"),
    "memory": ("len([bytearray(64 << 20) for _ in range(100)])", "Memory"),
    "secret": ("open({secret!r}).read()", "FileNotFoundError"),
    "home": ("import os; os.listdir(os.path.expanduser('~root/.ssh'))", "Error"),
    "parent": ("import os\nfor pid in range(1, os.getpid()): os.kill(pid, 9)\nos.kill(os.getppid() or 1, 9)", "Error"),
    "network": ("import socket; socket.create_connection(('127.0.0.1', {port}), 3)", "Error"),
    "connection file": ("import glob\nprint(glob.glob({runtime!r} + '/*'))\nopen({connection!r}).read()", "FileNotFoundError"),
    "disk": ("import tempfile\nwith tempfile.TemporaryFile() as f:\n    while True: f.write(b'x' * 1000000)", "Error"),
    "script": ("from IPython.display import HTML, Javascript\ndisplay(HTML('<script>evil()</script>'), Javascript('evil()'))",
               "dropped"),
    "terminal": ("print('\\x1b]52;c;ZXZpbA==\\x07')", ""),
    "input": ("input('password? ')", "input() is off"),
}  # fmt: skip


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, listener: tuple[int, list[Any]]) -> dict[str, str]:
    """Give what stands below each attack; a cell after each says that the kernel lives."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "secret.txt").write_text(SECRET)
    runtime = tmp_path_factory.mktemp("runtime")
    (runtime / "kernel-1.json").write_text(SECRET)
    given = {"secret": str(folder / "secret.txt"), "port": listener[0], "runtime": str(runtime),
             "connection": str(runtime / "kernel-1.json")}  # fmt: skip
    sources = [part for code, _ in ATTACKS.values() for part in (code.format(**given), "print('goes on')")]
    cells = convert(folder, *sources)
    for after in cells[1::2]:
        assert "goes on" in text(after)
    assert (folder / "secret.txt").read_text() == SECRET
    return {**dict(zip(ATTACKS, map(text, cells[::2]), strict=True)), "folder": str(folder)}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_with_its_error_in_place(name: str, attacked: dict[str, str]) -> None:
    assert ATTACKS[name][1] in attacked[name], attacked[name]
    assert SECRET not in attacked[name]
    assert "<script>evil" not in attacked[name]
    assert "\x1b]" not in attacked[name]


def test_nobody_came_and_nothing_is_left(attacked: dict[str, str], listener: tuple[int, list[Any]]) -> None:
    assert listener[1] == []
    until(lambda: not in_folder(attacked["folder"]), 20)


def test_what_has_used_up_its_memory_shows_an_error_for_each_cell_and_can_be_freed(student: Kernel) -> None:
    for name, size in (("a", 20_000_000), ("b", 50_000), ("c", 100), ("d", 100)):
        cell = student.run(f"{name} = []\nwhile True: {name}.append(bytearray({size}))")
        assert cell.reply["ename"] in ("MemoryError", "MemoryExceeded")
        assert cell.of("error")  # which a page shows, unlike the reply
        if cell.reply["ename"] == "MemoryExceeded":  # where many processors leave room for many stacks
            break
    assert student.run("a = b = c = d = None").status == "ok"
    assert student.run("len(bytearray(20_000_000))").result["text/plain"].endswith("20000000")


def in_folder(folder: str) -> list[psutil.Process]:
    """Return the processes whose working directory is a folder, as that of the zygote and of companions is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == folder:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_flood_of_output_is_cut_and_said(student: Kernel) -> None:
    cell = student.run("for i in range(300_000): print('x' * 100)")
    assert cell.status == "ok"
    assert len(cell.stream()) < 2 << 20
    assert "dropped" in cell.stream("stderr")


def test_a_cell_at_its_time_limit_says_so(tmp_path: Path) -> None:
    from isolate_magic.kernel.specification import install

    (tmp_path / "short.toml").write_text("extends = 'untrusted'\nwall = '1s'\n")
    where = install("short", str(tmp_path / "short.toml"), prefix=str(tmp_path))
    before = os.environ["JUPYTER_PATH"]
    os.environ["JUPYTER_PATH"] = str(Path(where).parent.parent)
    try:
        kernel = Kernel(name="short")
    finally:
        os.environ["JUPYTER_PATH"] = before
    try:
        begin = time.monotonic()
        cell = kernel.run("while True: pass")
        assert cell.reply["ename"] == "CellTimeout"
        assert "interrupted after 1 s" in cell.error
        assert time.monotonic() - begin < 20
    finally:
        kernel.close()


# ---------------------------------------------------------------- lies: what a companion answers instead of a reply

GOOD = {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}


@pytest.mark.parametrize(
    "told", [7, None, "", "[]", "[" * 100_000, "null", json.dumps([GOOD]), '{"a": ' * 5000, "{}" * (1 << 20)]
)
def test_what_is_no_reply_is_refused(told: object) -> None:
    with pytest.raises(ValueError):
        replies.executed(told, 1, (), "kernel", False)


def test_the_reply_of_an_untrusted_companion_is_bounded_and_filtered() -> None:
    told = {
        "status": "error", "execution_count": 10**9, "ename": "E\x1b[2J" * 100, "evalue": "v\x1b]0;x\x07" + "v" * 10**6,
        "traceback": ["t\x1b]52;c;eA==\x07" * 100_000, 7, None],
        "payload": [{"source": "set_next_input", "text": "evil"}, {"source": "edit", "filename": "/etc/passwd"},
                    {"source": "page", "data": {"text/html": "<script>evil()</script><b>x</b>", "text/plain": "\x1b]0;x\x07"}}, 3],
        "user_expressions": {"asked": {"status": "ok", "data": {"text/html": "<script>evil()</script>", "text/plain": "\x1b]0;"}},
                             "unasked": {"status": "ok", "data": {"text/plain": "x"}}},
        "extra": "evil",
    }  # fmt: skip
    reply = replies.executed(json.dumps(told), 3, ("asked",), "kernel", False)
    assert reply["execution_count"] == 3
    shown = json.dumps(reply)
    assert len(shown) < 500_000
    assert "evil" not in shown
    assert "\x1b]" not in "".join([reply["ename"], reply["evalue"], *reply["traceback"]])
    assert [page["source"] for page in reply["payload"]] == ["page"]
    assert list(reply["user_expressions"]) == ["asked"]


@pytest.mark.parametrize(
    "told", [None, 3, "", "x", "[]", '["complete"]', "[[], {}]", '["incomplete", "x"]', "[" * 9000]
)
def test_what_says_nothing_of_completeness_is_unknown_or_harmless(told: object) -> None:
    assert replies.completeness(told)["status"] in ("unknown", "incomplete")


def test_a_companion_that_answers_nonsense_is_ended_and_the_next_cell_runs(student: Kernel) -> None:
    cell = student.run(
        "import isolate_magic.child.service as s\ns.Service.fulfil = lambda *a: ['no reply']\nimport gc\n"
    )
    assert cell.status == "ok"
    lied = student.run("1")
    assert "protocol error" in lied.error
    assert student.run("print('goes on')").status == "ok"
