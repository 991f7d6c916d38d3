"""The supervisor of one companion: its parent, which runs no user code (supervisor).

It is forked from the zygote, enters the namespaces, starts their init, forks the companion's worker and
stays outside of the wall. It watches the limits, answers what the kernel asks about system calls,
and when the worker has ended it kills all that the worker has started, and tells the zygote how it ended.
"""

from __future__ import annotations

import errno
import json
import math
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

from isolate_magic.child import connector, landlock, linux
from isolate_magic.child import init as inits
from isolate_magic.child.cgroup import Group
from isolate_magic.child.confinement import Ground, Refused
from isolate_magic.child.doorway import Doorway, Record
from isolate_magic.child.notes import Notes
from isolate_magic.child.sleepers import Sleepers
from isolate_magic.child.tree import Tree, sweep
from isolate_magic.child.watchdog import Limits, Verdict, Watchdog, wake_promptly
from isolate_magic.link import descriptors, ended

_PACKET = 1 << 16
_SIGNALS_ABI = 6
_CALLS_AT_ONCE = 64  # that are answered before a look at anything else
_COLLECTS = 1.0  # seconds for the namespace's init to collect a process
_PATIENCE = 1.0  # seconds that the host may take for the last records of a trace


def run(
    start: dict[str, Any],
    lane: int,
    answer: socket.socket,
    work: Callable[[Ground, socket.socket], None],
    fds: list[int],
) -> None:
    """Be a supervisor until the companion has ended; never returns.

    Args:
        start: what the host told; `plan` is the confinement.
        lane: our end of the socket to the host.
        answer: our end of the socket to the zygote.
        work: what the worker does, with the ground and a socket to tell this process that it stands.
        fds: the worker's own descriptors, which are not ours to keep.
    """
    linux.die_with_parent(start["zygote"])
    linux.adopt_orphans()
    linux.name_process("isolate-super")
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    ground = Ground(start["plan"], start["cwd"])
    group: Group | None = None
    try:
        tree = Tree(os.getpid(), proc)
        watchdog = Watchdog(tree, Limits.parsed(ground.plan["limits"]))  # while its folders can be seen
        wake_promptly()
        group = Group(ground.plan)
        ground.enter()
        linux.die_with_parent(start["zygote"])  # new rights have switched that off (prctl(2))
        pid, init, ready = _start(ground, group, answer, lane, proc, work)
        tree.ignore = frozenset([init[0]] if init else ())
        for fd in fds:  # the ends of the worker's pipes and sockets: the host must see them close
            os.close(fd)
    except (Refused, OSError) as error:
        layer = error.layer if isinstance(error, Refused) else "processes"
        if group is not None:
            group.remove()
        answer.send(json.dumps({"error": str(error), "layer": layer}).encode())
        os._exit(1)
    lane_socket = socket.socket(fileno=lane)
    Supervisor(ground, group, pid, init, proc, tree, watchdog, lane_socket, answer).serve(ready)


def _start(
    ground: Ground, group: Group, answer: socket.socket, lane: int, proc: int, work: Any
) -> tuple[int, tuple[int, int] | None, socket.socket]:
    """Start the init of the pid namespace, then the worker; return pids and the worker's socket."""
    init = inits.start() if "pid" in ground.report["namespaces"] else None
    if ground.plan["walled"] and init is None and landlock.abi() >= _SIGNALS_ABI:
        ground.enclosed = _enclosed()  # before the fork, so that the worker's own scope lies inside ours
    ready, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        answer.close()
        ready.close()
        for fd in (lane, proc, *group.fds, *((init[1],) if init else ())):
            os.close(fd)
        work(ground, theirs)
    theirs.close()
    group.join(pid)  # it prepares itself meanwhile; nothing of the user's runs before we answer
    if "net" in ground.report["namespaces"]:
        linux.bring_loopback_up()  # likewise, since the kernel may take some milliseconds
        if ground.plan["walled"]:
            linux.narrow_buffers(proc)
    return pid, init, ready


class Supervisor:
    """Watch one companion.

    Args:
        ground: its confinement.
        group: its control group, with the worker in it, if there is one.
        pid: the worker.
        init: pid and pipe of the init of its pid namespace, if it has one.
        proc: a descriptor of the host's /proc.
        tree: all its processes.
        watchdog: looks at its limits.
        lane: the socket to the host.
        answer: the socket to the zygote.
    """

    def __init__(
        self,
        ground: Ground,
        group: Group,
        pid: int,
        init: tuple[int, int] | None,
        proc: int,
        tree: Tree,
        watchdog: Watchdog,
        lane: socket.socket,
        answer: socket.socket,
    ) -> None:
        self.ground = ground
        self.group = group
        self.pid = pid
        self.init = init
        self.lane: socket.socket | None = lane
        self.answer = answer
        self.why: dict[str, Any] | None = None
        self.doorway: Doorway | None = None
        self.sleepers = Sleepers(tree, proc, watchdog)
        self.status: int | None = None  # of the worker, once it is collected
        self.notes = Notes(self._send)
        self.pidfd = os.pidfd_open(pid)
        self.proc = proc
        self.tree = tree
        self.watchdog = watchdog
        self.poll = select.poll()
        self.poll.register(self.pidfd, select.POLLIN)
        self.poll.register(lane, select.POLLIN)
        self.poll.register(answer, select.POLLIN)

    def serve(self, ready: socket.socket) -> None:
        """Tell the zygote that the worker stands, then look after it until its end."""
        code = 70
        try:
            if self._begin(ready):
                self._look_after()
                while self.sleepers and self._passes_on():
                    self._look_after()
            self._end()
            code = 0
        except BaseException:  # border: nobody above could tell; stderr is the zygote's, hence the host's
            traceback.print_exc()
        finally:
            os._exit(code)

    def _begin(self, ready: socket.socket) -> bool:
        packet, fds = descriptors.receive(ready, _PACKET, 1)
        told: dict[str, Any] = (
            json.loads(packet) if packet else {"error": "it ended while it was being confined", "layer": ""}
        )
        if "error" in told:
            self.answer.send(json.dumps(told).encode())
            os.kill(self.pid, signal.SIGKILL)
            return False
        if fds:
            self.doorway = Doorway(
                fds[0],
                self._send,
                inside=self.ground.namespaced,
                asks=self.ground.plan["network"] == "listed",
                proc=self.proc,
                foreign=connector.network(self.lane) if self.lane else None,
            )
            self.poll.register(fds[0], select.POLLIN)
        told["pid"] = self.pid
        told["report"]["cgroup"] = self.group.report
        socket.send_fds(self.answer, [json.dumps(told).encode()], [self.pidfd])
        ready.close()
        linux.survive_parent()  # `answer` tells when the zygote has gone, and leaves time to sweep
        return True

    def _look_after(self) -> None:
        """Serve until the worker ends; limits are looked at when it is time, however much comes."""
        limited = self.ground.plan["watched"]
        due = 0.0
        while True:
            if limited and time.monotonic() >= due:
                self._hear_all()  # of a snapshot before it is seen
                verdict = self.watchdog.look(time.monotonic())
                if verdict is not None and not self.sleepers.give_up(verdict):
                    self._strike(verdict)
                    return
                due = time.monotonic() + self.watchdog.delay()
            left = max(0, math.ceil((due - time.monotonic()) * 1000)) if limited else None
            events = [fd for fd, _ in self.poll.poll(left)]
            if self.pidfd in events:
                self._hear_all()  # of the last snapshot, which it may have died right behind
                return
            if self.answer.fileno() in events:  # the zygote says nothing there: it has gone
                self._kill()
                return
            if self.lane is not None and self.lane.fileno() in events:
                events.remove(self.lane.fileno())
                limited = self._hear() or limited
            if events and self.doorway is not None and not self.doorway.ready(_CALLS_AT_ONCE):
                self.poll.unregister(self.doorway.listener)  # nobody is left under the filter
                os.close(self.doorway.listener)
                self.doorway = None

    def _kill_others(self) -> None:
        """Kill all that the worker has started, and the worker, where one blow does it."""
        if self.sleepers:
            return  # the blow would hit them too; `_passes_on` sweeps around them
        if self.init is not None:
            os.kill(self.init[0], signal.SIGKILL)
        elif self.ground.enclosed:
            _kill_all_in_domain()

    def _strike(self, verdict: Verdict) -> None:
        self.why = {"kind": verdict.kind, "reason": verdict.text}
        if not self.sleepers:
            self.group.kill()
        self._kill()
        self._kill_others()  # who go on allocating

    def _kill(self) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:  # it has ended
            return

    # ------------------------------------------------------------ the host

    def _send(self, packet: bytes) -> None:
        """Send a packet to the host; raises OSError where it does not take it."""
        if self.lane is None:
            raise BrokenPipeError(errno.EPIPE, "the host has closed the lane")
        self.lane.send(packet, socket.MSG_DONTWAIT)

    def _note(self, record: Record) -> None:
        self.notes.take(record["kind"], record["target"])

    def _trace(self, on: bool, number: int) -> None:
        """Switch the trace, and tell the host that it has all until now."""
        self._tell_all(number)
        if self.doorway is not None and on != (self.doorway.record is not None):
            self.notes.clear()
            self.doorway.record = self._note if on else None

    def _tell_all(self, number: int) -> None:
        """Send the records that are left, and how many are lost."""
        self.notes.flush(self.lane, _PATIENCE)
        told = {"do": "traced", "number": number, "dropped": self.notes.lost}
        try:
            self._send(json.dumps(told).encode())
        except OSError:  # it waits no longer than it likes
            return

    def _hear(self) -> bool:
        """Do what the host says; return whether limits have to be watched from now on."""
        assert self.lane is not None
        packet, fds = descriptors.receive(self.lane, _PACKET, 1)
        if not packet:
            self.poll.unregister(self.lane)
            self.lane.close()
            self.lane = None
            if self.doorway is not None:
                self.doorway.record = None
                self.doorway.refuse_all()
            self._kill()  # whom should it work for?
            return False
        if self.doorway is not None and self.doorway.attend(packet, fds):
            return False
        for fd in fds:
            os.close(fd)
        message = json.loads(packet)
        if message["do"] == "limits":
            self.watchdog.replace(Limits.parsed(message["limits"]))
            self.group.limit(message["limits"])
            return True
        if message["do"] == "trace":
            self._trace(message["on"], message["number"])
        if message["do"] == "snapshots":
            self.sleepers.know(frozenset(message["pids"]), message["leeway"])
        if message["do"] == "awake":
            self._follow(message["pid"])
        return False

    def _hear_all(self) -> None:
        """Do what the host has said by now."""
        while self.lane is not None and select.select([self.lane], [], [], 0)[0]:
            self._hear()

    # ------------------------------------------------------------ snapshots

    def _follow(self, pid: int) -> None:
        """Look after a snapshot that is awake, in place of the worker that has ended."""
        try:
            awake = os.pidfd_open(pid)
        except ProcessLookupError:
            return  # as its host will see, who closes the lane then
        os.close(self.pidfd)
        self.pidfd = awake
        self.pid, self.status, self.why = pid, None, None
        self.poll.register(self.pidfd, select.POLLIN)

    def _passes_on(self) -> bool:
        """Collect the worker and all that it has left but the snapshots; wait for one to take its place.

        Returns:
            whether one has.
        """
        dead = self.pid
        told = self._collected()
        self.poll.unregister(self.pidfd)
        if not self.sleepers.sweep_others():
            return False
        self.answer.send(json.dumps(told | {"stays": True}).encode())
        while self.pid == dead and self.lane is not None:
            events = [fd for fd, _ in self.poll.poll()]
            if self.answer.fileno() in events:
                return False
            if self.lane.fileno() in events:
                self._hear()
            elif events and self.doorway is not None:
                self.doorway.ready(_CALLS_AT_ONCE)
        return self.pid != dead

    # ------------------------------------------------------------ the end

    def _collected(self) -> dict[str, Any]:
        """Collect the worker; return what there is to tell of its end."""
        peak = self.watchdog.peak
        if self.status is None:
            try:
                _, self.status, usage = os.wait4(self.pid, 0)
                peak = max(usage.ru_maxrss * 1024, peak)
            except ChildProcessError:  # a snapshot that went on, and the namespace's init collects it
                self.status = ended.exit_status(self.pidfd, _COLLECTS)
            self.why = self.why or self.group.verdict(self.status or 0)
        told = {"status": self.status, "peak": peak, "why": self.why}
        return told | {"cpu": self.watchdog.cpu, "curve": self.watchdog.curve}

    def _end(self) -> None:
        """Collect the worker, kill all that it has left, and tell the zygote."""
        told = self._collected()
        self.sleepers.forget()
        self.group.kill()
        clean = True
        self._kill_others()
        if self.init is not None:
            os.waitpid(self.init[0], 0)  # which waits until everything in the namespace has gone
        else:
            clean = sweep(self.tree).clean
        self._tell_all(0)
        try:
            self.answer.send(json.dumps(told | {"clean": clean}).encode())
        except ConnectionError:  # the zygote has gone
            pass
        self.group.remove()


def _enclosed() -> bool:
    """Let no signal of ours out of here from now on; return whether that is so (landlock(7))."""
    linux.no_new_privileges()
    landlock.scope_only()
    try:
        os.kill(os.getppid(), 0)  # the zygote, who is outside and of the same user
    except PermissionError:
        return True
    return False


def _kill_all_in_domain() -> None:
    """Kill every process that the worker has started: a scope of Landlock lets the signal reach no other.

    One kill(-1) is atomic, so no chain of forks gets away (landlock(7), kill(2)).
    """
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:  # nobody is left
        return
