"""What the doctor lays out for a companion to go for: a file, a process, listeners (host).

All of it belongs to the doctor, so an act that gets through harms nobody, and from all of it can be seen on
this side whether it got through.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from typing import Any

VARIABLE = "PYTHON_ISOLATE_DOCTOR"
"""A variable that a trusted companion sees, as all that begin with PYTHON, and no untrusted one."""

_SIGNAL = signal.SIGUSR1


class Canaries:
    """Lay out a set of canaries; use it in a `with`, which takes them away again.

    Attributes:
        token: a text that is in the file, the process's arguments, its environment and this process's memory.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(12)
        self.folder = tempfile.mkdtemp(prefix="isolate-doctor-")
        self.file = os.path.join(self.folder, "canary.txt")
        self._memory = ctypes.create_string_buffer(self.token.encode())
        self._shown = f"isolate-doctor {self.token}"
        with open(self.file, "w", encoding="ascii") as file:
            file.write(self._shown)
        os.chmod(self.file, 0o666)
        os.chmod(self.folder, 0o1777)  # a companion of root's has a uid of its own; rights shall not stop it
        os.utime(self.file, (1, 1))
        self._before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = self.token
        self.process = self._start()
        path = os.path.join(self.folder, "socket")
        self.listeners = {
            "tcp": _listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "other": _listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": _listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "path": _listen(socket.AF_UNIX, socket.SOCK_STREAM, path),
            "abstract": _listen(socket.AF_UNIX, socket.SOCK_STREAM, f"\0isolate-doctor-{self.token}"),
        }
        os.chmod(path, 0o666)

    def __enter__(self) -> Canaries:
        return self

    def __exit__(self, *exc: object) -> None:
        for listener in self.listeners.values():
            listener.close()
        self._end()
        if self._before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = self._before
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a process that waits for us, with the signal blocked: it then stays pending, to be seen."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [_SIGNAL])
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", "read line", self._shown],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={VARIABLE: self.token},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)

    def renew(self) -> None:
        """Lay out again what an act that got through has used up."""
        if self.touched() or self.altered():
            shutil.rmtree(os.path.join(self.folder, "written"), ignore_errors=True)
            for name in ("written", "canary.txt"):
                if os.path.lexists(path := os.path.join(self.folder, name)):
                    os.remove(path)
            with open(self.file, "w", encoding="ascii") as file:
                file.write(self._shown)
            os.chmod(self.file, 0o666)
            os.utime(self.file, (1, 1))
        if self.signalled() or self.traced() or self.worsened():
            self._end()
            self.process = self._start()

    def told(self) -> dict[str, Any]:
        """Return what an act has to know to reach the canaries, as plain data."""
        return {
            "folder": self.folder, "file": self.file, "variable": VARIABLE, "pid": self.process.pid,
            "host": os.getpid(), "address": ctypes.addressof(self._memory), "length": len(self.token),
            "signal": int(_SIGNAL),
            **{name: listener.getsockname() for name, listener in self.listeners.items()},
        }  # fmt: skip

    # ------------------------------------------------------------ what has happened to them

    def touched(self) -> bool:
        """Tell whether the file has other content, or is gone, or another one lies beside it."""
        if os.path.lexists(os.path.join(self.folder, "written")) or not os.path.lexists(self.file):
            return True
        with open(self.file, encoding="utf-8", errors="replace") as file:
            return file.read() != self._shown

    def altered(self) -> bool:
        """Tell whether the file has other rights or times."""
        found = os.stat(self.file)
        return stat.S_IMODE(found.st_mode) != 0o666 or found.st_mtime != 1

    def signalled(self) -> bool:
        """Tell whether the process has got a signal (proc_pid_status(5), ShdPnd and SigPnd)."""
        return self.process.poll() is not None or any(
            int(status(self.process.pid).get(field, "0"), 16) for field in ("ShdPnd", "SigPnd")
        )

    def traced(self) -> bool:
        """Tell whether a debugger is attached to the process."""
        return status(self.process.pid).get("TracerPid", "0") != "0"

    def worsened(self) -> bool:
        """Tell whether the process has another priority or other CPUs."""
        pid = self.process.pid
        same = os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, os.getpid())
        return not same or os.sched_getaffinity(pid) != os.sched_getaffinity(threading.get_native_id())

    def knocked(self, name: str) -> bool:
        """Tell whether anybody has come to a listener, and let go of whoever has."""
        listener, found = self.listeners[name], False
        while True:
            try:
                if listener.type == socket.SOCK_DGRAM:
                    listener.recvfrom(100)
                else:
                    listener.accept()[0].close()
                found = True
            except BlockingIOError:
                return found


def _listen(family: int, kind: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind)
    listener.bind(address)
    if kind == socket.SOCK_STREAM:
        listener.listen(8)
    listener.setblocking(False)
    return listener


def status(pid: int) -> dict[str, str]:
    """Return what the kernel says of a process in /proc/PID/status; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            pairs = (line.split(":", 1) for line in file if ":" in line)
            return {name: text.strip() for name, text in pairs}
    except OSError:
        return {}
