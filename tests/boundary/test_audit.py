"""Attacks that an auditor has found by reading the code: each has worked once."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from boundary.conftest import shared, start
from waiting import until

from isolate_magic import Companion, Policy, PolicyError, ProcessTerminationError


@pytest.fixture
def reset() -> Iterator[int]:
    """Give the port of a server that ends each connection with a reset."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                taken, _ = server.accept()
            except OSError:
                return
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.close()

    serving = threading.Thread(target=serve)
    serving.start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    serving.join()
    server.close()


_DIAL = """
import gc, select, socket
talk = [one for one in gc.get_objects() if type(one).__name__ == "Conversation"][0]
try:
    sock = socket.socket(fileno=talk.door_fd(talk.ask_host("dial", "127.0.0.1", {allowed})))
except PermissionError:
    sock = socket.socket()
    sock.connect_ex(("127.0.0.1", {allowed}))
ended = select.poll(); ended.register(sock, 0); ended.poll(2000)
sock.setblocking(False)
for _ in range(3): sock.connect_ex(("127.0.0.1", {victim}))
try: sock.send(b"hit")
except OSError: pass
"""


def test_a_socket_of_the_host_is_not_connected_anew(tier: str, reset: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0.3)
        companion = start("dial", tier, Policy(extends="untrusted", network=[f"127.0.0.1:{reset}"]))
        assert companion._process is not None
        companion._process.dialer.tethers = False  # as where sockets cannot be tethered
        companion.run(_DIAL.format(allowed=reset, victim=victim.getsockname()[1]))
        companion.close()
        with pytest.raises(TimeoutError):
            victim.accept()


_SET_IDS = """
import os
def tried(act):
    try: act()
    except OSError: pass
tried(lambda: os.close(os.open("{out}/opened", os.O_CREAT | os.O_WRONLY, 0o6755)))
tried(lambda: os.mknod("{out}/made", 0o106755))
open("{out}/plain", "w").close()
tried(lambda: os.chmod("{out}/plain", 0o6755))
tried(lambda: os.chmod("{out}", 0o2777))
"""


def test_no_program_that_runs_as_its_owner_comes_out(tier: str, tmp_path: Path) -> None:
    out = shared(tmp_path / "out")
    companion = start("set-ids", tier, Policy(extends="untrusted", write=[out]))
    companion.run(_SET_IDS.format(out=out))
    companion.close()
    assert [path.name for path in (out, *out.iterdir()) if path.stat().st_mode & 0o6000] == []


_CHANGING = ("0x40087602", "0x40086602", "0x401C5820")  # FS_IOC_SETVERSION, SETFLAGS, FSSETXATTR


@pytest.mark.parametrize("request_", _CHANGING)
def test_an_ioctl_changes_no_file_that_may_only_be_read(request_: str, tier: str, tmp_path: Path) -> None:
    shown = shared(tmp_path / "shown")
    (shown / "file").write_text("kept")
    companion = start("ioctl", tier, Policy(extends="untrusted", read=[shown]))
    with pytest.raises(PermissionError):
        companion.run(
            f"import fcntl, os; fcntl.ioctl(os.open('{shown}/file', os.O_RDONLY), {request_}, bytes(64))"
        )
    companion.close()


_HOST = """
import os, sys
from boundary.conftest import shared, start
from isolate_magic import Companion, Policy, PolicyError, ProcessTerminationError
companion = start("left", {tier!r}, Policy(extends="untrusted"))
companion.run('''
import ctypes, os, signal
for _ in range(2):
    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        ctypes.CDLL(None).prctl(15, b"{name}")
        signal.pause()
''')
import psutil
from waiting import until
until(lambda: sum(p.name() == "{name}" for p in psutil.process_iter(["name"])) == 2)
print(companion._process.zygote.pid, psutil.Process(companion.pid).ppid(), flush=True)
try: companion.run("signal.pause()")
finally: sys.stdin.read()
"""


@pytest.mark.parametrize("who", ["host", "zygote", "supervisor", "host and zygote"])
def test_nothing_outlives_who_watches_it(who: str, tier: str) -> None:
    name = f"left{secrets.token_hex(4)}"
    code = _HOST.format(tier=tier, name=name)
    folder = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=-1,
        stdin=-1,
        stderr=-3,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}"},
    ) as host:
        assert host.stdout is not None
        zygote, supervisor = map(int, host.stdout.readline().split())
        pids = {"host": [host.pid], "zygote": [zygote], "supervisor": [supervisor]}
        for pid in pids.get(who, [zygote, host.pid]):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not _named(name), 4)
        host.kill()


def _named(name: str) -> list[int]:
    return [
        one.pid
        for one in psutil.process_iter(["name", "status"])
        if one.info["name"] == name and one.info["status"] != "zombie"
    ]


def _tried(companion: Companion, code: str) -> str:
    try:
        return str(companion.run(code))
    except OSError as error:
        return str(error)


def test_a_link_that_a_companion_leaves_opens_nothing_at_the_next_start(tier: str, tmp_path: Path) -> None:
    work, data = shared(tmp_path / "work"), shared(tmp_path / "work" / "data")
    (tmp_path / "secret").write_text("canary")
    (data / "mine.csv").write_text("1")
    policy = Policy(extends="untrusted", read=[f"{data}/*.csv"], write=[work])
    companion = start("link", tier, policy)
    companion.run(f"import os; os.symlink('{tmp_path}/secret', '{data}/more.csv')")
    companion.stop()
    with pytest.raises(PolicyError, match=r"more\.csv"):
        companion.start()
    companion.close()
    (data / "more.csv").unlink()
    fresh = start("link", tier, policy)
    assert fresh.run(f"open('{data}/mine.csv').read()") == "1"
    fresh.close()


@pytest.mark.parametrize("kind", ["read", "write"])
def test_what_is_hidden_stays_so_below_the_working_directory(
    kind: str, tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared(tmp_path / "folder")
    inner = shared(folder / "inner")
    (inner / "key").write_text("canary")
    (inner / "other").write_text("other")
    (folder / "link").symlink_to("inner")
    monkeypatch.chdir(tmp_path)
    policy = Policy(extends="untrusted", **{kind: ["folder"]}, hidden=["folder/inner/key"])
    companion = start("hidden", tier, policy)
    assert companion.run(f"open('{folder}/inner/other').read()") == "other"
    assert "canary" not in _tried(companion, f"open('{inner}/key').read()")
    _tried(companion, f"import os; os.rename('{inner}', '{folder}/away')")
    companion.restart()
    assert "canary" not in _tried(companion, f"open('{folder}/away/key').read()")
    assert companion.run(f"open('{folder}/link/other').read()") == "other"
    (inner / "new").write_text("canary")
    (inner / "new").rename(inner / "key")  # as editors save
    assert "canary" not in _tried(companion, f"open('{inner}/key').read()")
    companion.close()


_ACTING = r"\x1b]52;c;eA==\x07"
_LAST_WORDS = """
import os, stat
text = b'Current thread\\n  File "{0}", line 1 in {0}\\n'
for fd in range(3, 40):
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode): os.pwrite(fd, text, 4096)
    except OSError: pass
os.kill(os.getpid(), 9)
"""


def test_nothing_that_a_terminal_acts_on_comes_by_another_way(tier: str) -> None:
    companion = start("acting", tier, Policy(extends="untrusted"))
    companion.run(f"print('{_ACTING}')")
    shown = [companion.logs()]
    made = companion.run(f"class A:\n '{_ACTING}'\n def __str__(self): return '{_ACTING}'\nA()")
    shown += [str(made), f"{made}", str(type(made).__doc__)]
    with pytest.raises(ProcessTerminationError) as caught:
        companion.run(_LAST_WORDS.format(_ACTING))
    shown += [str(caught.value.report), str(caught.value)]
    companion.close()
    assert [text for text in shown if "\x1b]" in text or "\x07" in text] == []


@pytest.mark.parametrize("name", [r"a\0b", r"\ud800"])
def test_an_error_that_names_no_possible_file_stays_that_error(name: str, tier: str) -> None:
    companion = start("name", tier, Policy(extends="untrusted"))
    with pytest.raises(PermissionError, match="no"):
        companion.run(f"raise PermissionError(13, 'no', '{name}')")
    companion.close()


def test_packages_below_a_folder_that_may_be_written_stay_as_they_are(
    tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared(tmp_path / "project")
    packages = shared(folder / "site-packages")
    (packages / "module.py").write_text("kept")
    (packages / "module.py").chmod(0o666)
    monkeypatch.syspath_prepend(str(packages))
    try:
        companion = start("packages", tier, Policy(extends="untrusted", write=[folder]))
    except PolicyError:
        return
    with pytest.raises(OSError):
        companion.run(f"open('{packages}/module.py', 'w').write('changed')")
    companion.close()
    assert (packages / "module.py").read_text() == "kept"


def test_a_companion_cannot_write_the_policy_that_it_follows(tier: str, tmp_path: Path) -> None:
    folder = shared(tmp_path / "folder")
    file, other = folder / "it.toml", tmp_path / "other.toml"
    file.write_text('extends = "untrusted"\n')
    companion = start("follower", tier, Policy(extends="untrusted", write=[folder]))
    with pytest.raises(PolicyError, match="may write"):
        companion.follow_policy(file)
    other.write_text(f'extends = "untrusted"\nwrite = ["{tmp_path}"]\n')
    with pytest.raises(PolicyError, match="may write"):
        companion.follow_policy(other)
    companion.close()


_BUFFERS = """
import os, signal, socket
def filled():
    held, server = [], socket.create_server(("127.0.0.1", 0), backlog=200) if {internet} else None
    try:
        while True:
            if server:
                client = socket.create_connection(server.getsockname())
                held += [client, server.accept()[0]]
            else:
                held += socket.socketpair()
            for one in held[-2:]:
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    try: one.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
                    except OSError: pass
                one.setblocking(False)
                try:
                    while True: one.send(bytes(65536))
                except BlockingIOError: pass
    except OSError: pass
    return held
done, there = os.pipe()
for _ in range(2):
    if not os.fork():
        held = filled()
        os.write(there, b".")
        signal.pause()
os.read(done, 1); os.read(done, 1)
"""


@pytest.mark.parametrize("internet", [False, True])
def test_buffers_of_sockets_hold_little(internet: bool, tier: str) -> None:
    if tier == "L" and internet:
        pytest.skip("there are no such sockets in tier L")
    companion = start("buffers", tier, Policy(extends="untrusted", open_files=128))
    before = psutil.virtual_memory().available
    companion.run(_BUFFERS.format(internet=internet))
    after = psutil.virtual_memory().available
    companion.close()
    assert before - after < 400 << 20
