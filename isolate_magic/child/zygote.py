"""The zygote: import once, then fork companions on request (a process of its own, no user code).

It is started by exec with an allow-listed environment, because /proc/PID/environ keeps what a process
was started with (proc(5)). It answers one request at a time: `fork` returns a pid and a pidfd, `reap`
returns how a child ended. When the host is gone it kills its children and leaves.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from typing import Any

from isolate_magic.child import aside, confinement, last_words, linux, supervisor, worker
from isolate_magic.child import kernel as kernels
from isolate_magic.link import bulk, descriptors

_LIMIT = 1 << 20
_STANDS = 30.0  # seconds that a supervisor may take to confine its companion, or to collect it
_PATIENCE = 3.0  # seconds for supervisors to sweep, when all ends
_LOOK = 0.25  # seconds between two looks at the host during the imports


class Zygote:
    """Serve the host on one socket.

    Args:
        control: a SOCK_SEQPACKET socket to the host.
        host: the host's pid.
    """

    def __init__(self, control: socket.socket, host: int) -> None:
        self.control = control
        self.host = os.pidfd_open(host)
        self.children: set[int] = set()
        self.supervisors: dict[int, tuple[int, socket.socket]] = {}
        self.kernel: Any = None
        self.number = 0  # of the question that is being answered

    def prepare(self, preload: list[str]) -> None:
        """Import the preload list and build the kernel, then freeze the heap for the forks."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # An import may take many seconds, and the host may be killed meanwhile.
        signal.signal(signal.SIGALRM, self._leave_an_orphan)
        signal.setitimer(signal.ITIMER_REAL, _LOOK, _LOOK)
        try:
            for name in preload:
                importlib.import_module(name)
            self.kernel = kernels.build()
            last_words.prepare()
            aside.prepare()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        gc.collect()
        gc.freeze()  # so that a collection in a companion does not touch, and copy, these pages
        gc.enable()  # see `_BOOT` in `isolate_magic.spawner`

    def _leave_an_orphan(self, _signal: int, _frame: Any) -> None:
        host = select.poll()
        host.register(self.host, select.POLLIN)
        if host.poll(0):
            os._exit(0)

    def serve(self) -> None:
        """Answer requests until the host is gone."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.host, select.POLLIN)
        while True:
            if any(fd == self.host for fd, _ in poll.poll()):
                return
            packet, fds = descriptors.receive(self.control, _LIMIT, 8)
            if not packet:
                return
            self._collect_orphans()
            request = json.loads(packet)
            self.number = request["number"]
            if request["do"] == "fork":
                self._fork(fds, request["start"])
            elif request["do"] == "adopt":
                self._adopt(request["pid"], request["of"])
            else:
                self._reap(request["pid"])

    def _fork(self, fds: list[int], start: dict[str, Any]) -> None:
        if start["plan"]["supervised"]:
            self._fork_supervised(fds, start)
            return
        try:
            pid = os.fork()
        except OSError as error:
            self._answer({"error": f"fork: {error.strerror}"})
            for fd in fds:
                os.close(fd)
            return
        if not pid:
            self._let_go()
            _run(fds, start, self.kernel)
        for fd in fds:
            os.close(fd)
        self.children.add(pid)
        pidfd = os.pidfd_open(pid)
        self._answer({"pid": pid}, [pidfd])
        os.close(pidfd)

    def _fork_supervised(self, fds: list[int], start: dict[str, Any]) -> None:
        """Fork a supervisor, which forks the companion inside the wall; answer when that stands."""
        *given, lane = fds
        confinement.rehearse(start["plan"])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            for fd in fds:
                os.close(fd)
            self._answer({"error": f"fork: {error.strerror}"})
            return
        if not pid:
            ours.close()
            self._let_go()
            _supervise(given, lane, start, self.kernel, theirs)
        theirs.close()
        for fd in fds:
            os.close(fd)
        ours.settimeout(_STANDS)
        try:
            packet, pidfds = descriptors.receive(ours, _LIMIT, 1)
        except TimeoutError:
            packet, pidfds = b"", []
        told: Any = json.loads(packet) if packet else {"error": "its supervisor ended early", "layer": ""}
        if "error" in told:
            ours.close()
            before = set(_children())
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            _end(set(_children()) - before)  # what it had forked, which is ours now
        else:
            self.children.add(pid)
            self.supervisors[told["pid"]] = (pid, ours)
        self._answer(told, pidfds)
        for fd in pidfds:
            os.close(fd)

    def _adopt(self, pid: int, of: int) -> None:
        """Take note of a snapshot, our child by now, or of one that goes on in place of a companion.

        Args:
            pid: the snapshot.
            of: the supervised companion in whose place it goes on; 0 if there is no supervisor.
        """
        if of:
            self.supervisors[pid] = self.supervisors.pop(of)
        else:
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._answer({"error": f"{pid} is no child"})
                return
            self.children.add(pid)
        self._answer({})

    def _reap_supervised(self, pid: int) -> None:
        supervisor, ours = self.supervisors[pid]
        try:
            packet = ours.recv(_LIMIT)
        except TimeoutError:
            packet = b""
        if packet and json.loads(packet).get("stays"):  # a snapshot may go on under the same supervisor
            self._answer(json.loads(packet))
            return
        del self.supervisors[pid]
        ours.close()
        if not packet:
            os.kill(supervisor, signal.SIGKILL)
        os.waitpid(supervisor, 0)
        self.children.discard(supervisor)
        if not packet:
            self._end_strays()
        self._answer(json.loads(packet) if packet else {"status": None, "peak": None})

    def _reap(self, pid: int) -> None:
        if pid in self.supervisors:
            self._reap_supervised(pid)
            return
        if pid not in self.children:
            self._answer({"error": f"{pid} is no child"})
            return
        _, status, usage = os.wait4(pid, 0)
        self.children.discard(pid)
        self._answer({"status": status, "peak": usage.ru_maxrss * 1024})

    def _answer(self, content: dict[str, Any], fds: list[int] | None = None) -> None:
        socket.send_fds(self.control, [json.dumps({**content, "number": self.number}).encode()], fds or [])

    def _let_go(self) -> None:
        """Close what a fork of this process must not have."""
        self.control.close()
        os.close(self.host)
        for _, ours in self.supervisors.values():
            ours.close()

    def _collect_orphans(self) -> None:
        """Let those go that came to us when their parents ended, and have ended too."""
        for pid in _children():
            if pid not in self.children:
                os.waitpid(pid, os.WNOHANG)

    def _end_strays(self) -> None:
        """Kill what a killed supervisor has left, ours now: it has a seccomp program that we lack."""
        deadline, ours = time.monotonic() + _PATIENCE, _filters(os.getpid())
        while time.monotonic() < deadline:
            strays = [pid for pid in _children() if pid not in self.children and _filters(pid) > ours]
            if not strays:
                return
            for pid in strays:
                os.kill(pid, signal.SIGKILL)  # a child of ours, so the number is nobody else's
                os.waitpid(pid, 0)

    def end(self) -> None:
        """Kill every child; the host that they worked for is gone."""
        deadline = time.monotonic() + _PATIENCE
        for _, ours in self.supervisors.values():
            ours.close()  # which tells a supervisor to end its companion, with all that this has started
        for pid, _ in self.supervisors.values():
            ended = select.poll()
            ended.register(os.pidfd_open(pid), select.POLLIN)
            ended.poll(max(0.0, deadline - time.monotonic()) * 1000)
        for pid in self.children:
            for kill in (os.killpg, os.kill):
                try:
                    kill(pid, signal.SIGKILL)
                except ProcessLookupError:  # not a group leader yet, or gone
                    continue
        self._end_strays()


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
            return [int(pid) for pid in children.read().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _end(pids: set[int]) -> None:
    """Kill children and collect them: each as it goes, since a namespace's init waits for what is in it."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE
    while pids and time.monotonic() < deadline:
        pids = {pid for pid in pids if not os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(0.001 if pids else 0)


def _filters(pid: int) -> int:
    """Return how many seccomp programs a process has (proc_pid_status(5)); 0 before Linux 5.9."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("Seccomp_filters:")), 0)
    except OSError:
        return 0


def _supervise(fds: list[int], lane: int, start: dict[str, Any], kernel: Any, answer: socket.socket) -> None:
    """Be a supervisor, and in its fork a companion."""

    def work(ground: confinement.Ground, ready: socket.socket) -> None:
        _run(fds, start, kernel, worker.Wall(ground, ready))

    try:
        supervisor.run(start, lane, answer, work, fds)
    except BaseException:  # border: nothing above could report it
        os.write(fds[3], traceback.format_exc().encode())
    finally:
        os._exit(70)


def _run(fds: list[int], start: dict[str, Any], kernel: Any, wall: Any = None) -> None:
    """Be a companion; whatever happens, never return into the zygote's code."""
    code = 70  # EX_SOFTWARE, sysexits.h
    try:
        worker.main(fds, start, kernel, wall)
    except BaseException:  # border: nothing above could report it
        os.write(fds[3], traceback.format_exc().encode())
    finally:
        os._exit(code)


def main() -> None:
    """Run a zygote; arguments are the socket's descriptor, the host's pid and sys.path, the preload list."""
    # OpenBLAS keeps threads, but stops them around a fork by itself (pthread_atfork).
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    control, host, path, *preload = sys.argv[1:]
    worker.follow(json.loads(path))  # so that the preload list is found as the host would find it
    zygote = Zygote(socket.socket(fileno=int(control)), int(host))
    linux.adopt_orphans()  # snapshots, and what a supervisor leaves that is killed
    linux.name_process("isolate-zygote")
    try:
        zygote.prepare(preload)
    except BaseException:  # border: the host shows it as a StartError
        zygote._answer({"error": traceback.format_exc()[-60000:]})
        return
    probe = os.urandom(16)
    try:
        zygote._answer({"probe": probe.hex(), "address": bulk.address(probe)})
        zygote.serve()
    except ConnectionError:  # the main session has ended meanwhile, and nobody wants to hear of it
        pass
    finally:
        zygote.end()


if __name__ == "__main__":
    main()
