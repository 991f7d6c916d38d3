"""One companion process, from the fork to the autopsy (host).

A `Companion` may live through several of these. All that belongs to one process is here: its
descriptors, its output, its interrupts, and what is known of its death.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from isolate_magic import autopsy, fence, frontend, native, spawner
from isolate_magic.birth import WORDS, Birth
from isolate_magic.conversation import Conversation
from isolate_magic.curve import Curve
from isolate_magic.dialer import Dialer
from isolate_magic.errors import StartError
from isolate_magic.escapes import clean
from isolate_magic.filtering import filter_lines
from isolate_magic.frontend import Box
from isolate_magic.gate import gate
from isolate_magic.lane import Lane
from isolate_magic.link.ended import exit_status
from isolate_magic.link.layout import BOARD, BOARD_SIZE, DUMP_SIGNAL, TOKEN
from isolate_magic.link.spin import Spin
from isolate_magic.meter import Meter
from isolate_magic.output import Output
from isolate_magic.policy import Policy
from isolate_magic.protection import Protection
from isolate_magic.ration import tidy
from isolate_magic.report import CrashReport
from isolate_magic.seen import Seen
from isolate_magic.watch import readable, watch

_REASON = 2000  # characters, some of which may be the companion's
_LAST_WORDS = 1.0  # seconds for the Python stack of who hangs and is killed; on an idle machine it takes 1 ms
_DUMP = f"SIG{int(DUMP_SIGNAL)}"
_COLLECTED = 0.5  # seconds for a supervisor to collect a scout
_LOOK = 0.02  # seconds between two looks whether it is written


class Process:
    """Fork a companion and hold everything that belongs to it.

    Args:
        name: the companion's name.
        zygote: forks it and collects it.
        policy: what it may reach and use.
        buried: called once with the report when the process is dead.
        traced: whether it can be traced though no wall needs a supervisor.
        snapshot: the sleeping process to go on with, instead of one that is forked now.

    Attributes:
        scout: whether it is a fork for one cell, beside the process that its supervisor looks after.
        lasting: whether its supervisor and its folder outlast it, for a snapshot to go on with.
        moment: tells, given the kind of a death, to which moment a snapshot takes us back; "" if none does.
        forsake: tells the supervisor that a scout is none of its snapshots any more.
        recover: is called when it is buried, to go back there.
        traceable: whether its supervisor sees what it opens, starts and connects to.

    Raises:
        StartError: the zygote could not start or fork.
    """

    def __init__(
        self,
        name: str,
        zygote: spawner.Zygote,
        policy: Policy,
        buried: Callable[[CrashReport], None],
        traced: bool = False,
        snapshot: Any = None,
    ) -> None:
        self.name = name
        self.lasting = self.scout = self._stays = False
        self.moment: Callable[[str], str] = lambda kind: ""
        self.recover: Callable[[], None] = lambda: None
        self.forsake: Callable[[], None] = lambda: None
        self.report: CrashReport | None = None
        self.cells: dict[int, tuple[str, int]] = {}
        self.why: tuple[str, str] | None = None
        self.dismissed = False  # whether it was asked to end itself
        self.told = False  # whether the user knows of its death, and need not be told at the next use
        self.started = time.monotonic()
        self.looking = False
        self.rested = 0  # the last request before which all that follows a cell here had been done
        self._serial = 0
        self._shut: list[int] = []
        self._buried = buried
        self._lock = threading.RLock()  # a signal handler may come in while this very thread holds it
        self._oom = autopsy.oom_kills()
        self.zygote = zygote
        self.policy = policy
        self.trusted = policy.trusted
        self.seen = Seen(policy.trusted)
        self.box = Box(policy.name, policy.trusted)
        self.scratch = ""
        self.lane: Lane | None = None
        self.traceable = traced or fence.walled(policy)
        # No UTF-8 begins with such a byte, so no text has to wait for the rest of a mark.
        self.token = b"\xff" + secrets.token_bytes(TOKEN - 1) if snapshot is None else snapshot.token
        birth = snapshot or self._born(traced)
        self.dialer = birth.dialer
        self.pid, self.pidfd, ends = birth.pid, birth.pidfd, birth.ends
        self.board, self._words = ends.board, ends.words
        self.lane, self.scratch, self.plan = birth.lane, birth.scratch, birth.plan
        self.traceable = self.lane is not None and (traced or fence.walled(policy))
        self.walls = birth.told
        self.protection = Protection.of(policy, birth.told)
        self.meter = Meter(self)
        out, err = ends.out, ends.err
        self.output = Output(self.token, out, err)
        self.output.gate = gate(name, policy)
        self.curve = Curve(self)
        if policy.trusted:
            self.output.relay = lambda kind, content: frontend.current.comm(self, kind, content)
        self.talk = Conversation(self, ends.sock, ends.door)
        self.talk.arguments.direct = self.zygote.direct
        self.poll = select.poll()
        self.pipes = {out, err}
        for fd in (ends.sock.fileno(), out, err, self.pidfd):
            self.poll.register(fd, select.POLLIN)
        self.talk.spin = Spin(partial(self.poll.poll, 0), self.pid)
        for fd in (out, err, self.pidfd):
            watch().add(fd, self._look)

    def _born(self, traced: bool) -> Birth:
        network = self.policy.network
        dialer = Dialer(network if isinstance(network, tuple) else ())
        birth = Birth(self.name, self.zygote, self.policy, dialer, traced)
        try:
            birth.begin(self.token)
        except OSError as error:
            raise StartError(f"companion {self.name!r} could not be started: {error}") from error
        return birth

    def remember(self, prompt: int, source: str, lines_before: int) -> None:
        """Keep the source of a cell, whose lines a crash report may show."""
        self.cells[prompt] = (source, lines_before)
        while len(self.cells) > 200:
            del self.cells[next(iter(self.cells))]

    # ------------------------------------------------------------ signals

    def interrupt(self, number: int) -> None:
        """Send SIGINT, meant for the request of this number only."""
        with self._lock:
            if self.pidfd >= 0:
                self._serial += 1
                BOARD.pack_into(self.board, 0, number, self._serial)
                self._signal(signal.SIGINT)
        self.box.take_back()

    def kill(self, kind: str, reason: str, hanging: bool = False) -> None:
        """Kill the process, and say why in its report.

        Args:
            kind: `timeout`, `interrupt`, `stop`, `kill` or `protocol`.
            reason: the text of the report.
            hanging: whether it is left the time to write its Python stack, which a hanging process can.
        """
        self._note_why(kind, reason)
        if hanging:
            self._signal(DUMP_SIGNAL)
            self._await_stack(time.monotonic() + _LAST_WORDS, "")
        else:
            self._signal(signal.SIGKILL)

    def dismiss(self, kind: str, reason: str) -> None:
        """Note why it is asked to end itself: however it does that, this is the reason."""
        self._note_why(kind, reason)
        self.dismissed = True

    def _note_why(self, kind: str, reason: str) -> None:
        with self._lock:
            if self.why is None:
                self.why = (kind, reason if self.trusted else tidy(reason, _REASON))

    def _await_stack(self, deadline: float, before: str) -> None:
        """Kill the process as soon as its Python stack is there and does not grow."""
        with self._lock:
            words = self._last_words() if self.pidfd >= 0 else ""
        if (words and words == before) or time.monotonic() > deadline:
            self._signal(signal.SIGKILL)
        else:
            watch().later(_LOOK, lambda: self._await_stack(deadline, words))

    def _last_words(self) -> str:
        return os.pread(self._words, WORDS, BOARD_SIZE).rstrip(b"\0").decode("utf-8", "replace")

    def end(self, kind: str, reason: str, hanging: bool = False) -> None:
        """Kill the process and bury it before returning, with its Python stack if `hanging` says so.

        Harmless when it is dead.
        """
        self.kill(kind, reason, hanging)
        if hanging:
            with self._lock:  # not held for longer: whoever waits for the stack needs it too
                fd = os.dup(self.pidfd) if self.pidfd >= 0 else -1
            if fd >= 0:
                readable(fd, _LAST_WORDS + 10.0)
                os.close(fd)
        self.talk.find_death()

    def leave(self) -> None:
        """Let go in a forked copy of the main session: close everything, end nothing."""
        self._lock = threading.RLock()
        self.talk.reader = threading.Lock()
        self.talk.slots.clear()
        self.talk.orphaned("it belongs to the process that this one was forked from")
        self.release()

    def dead(self, seconds: float) -> bool:
        """Return whether the process has ended, or does within so many seconds."""
        with self._lock:
            return self.pidfd < 0 or readable(self.pidfd, seconds)

    def _signal(self, number: int) -> None:
        with self._lock:
            try:
                if self.pidfd >= 0:  # a closed descriptor may be another companion's by now
                    signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:  # dead already
                return

    # ------------------------------------------------------------ looking after it

    def _look(self) -> None:
        """Read what has come while nobody waits for this companion (background thread)."""
        self.looking = True
        if self.talk.reader.acquire(False):
            try:
                self.looking = False
                more = self.talk.idle()
            finally:
                self.talk.reader.release()
            self.arm()
            if more:
                watch().later(0.0, self._look)
            self.talk.left()
        else:
            self.talk.pumped = True  # whoever reads looks again when it leaves

    def look_again(self) -> None:
        """Let the background thread look, if a frame lies in the channel that nobody waits for."""
        left = select.poll()
        with self._lock:
            if self.pidfd >= 0:
                left.register(self.talk.sock, select.POLLIN)
        if left.poll(0):
            watch().later(0.0, self._look)

    def pump(self) -> bool:
        """Read the pipes once; return whether there was anything. A closed pipe is not watched again."""
        found = self.output.pump()
        for fd in self.output.closed & self.pipes:
            self.pipes.discard(fd)
            self._shut.append(fd)
            self.poll.unregister(fd)
            watch().remove(fd)
        return found

    def arm(self) -> None:
        """Watch the descriptors again; the reading thread calls this when it leaves."""
        self.looking = False
        if self.report is None:
            for fd in (*tuple(self.pipes), self.pidfd):
                watch().arm(fd)

    def bury(self) -> None:
        """Collect the dead process; call it as the reader, after the last frame. Harmless twice."""
        with self._lock:
            if self.report is not None or self.pidfd < 0:
                return
            if not readable(self.pidfd, 1.0):
                self.kill("protocol", "protocol error: it closed its channel and lived on")
                readable(self.pidfd, 10.0)
            if self.lane is None or self.scout:  # else its supervisor does, and may have collected it
                try:
                    os.killpg(self.pid, signal.SIGKILL)  # what it has started; the zombie still holds the pid
                except (ProcessLookupError, PermissionError):
                    pass
            self.output.drain()
            report = self._examine()
        for fd in (*self.pipes, self.pidfd):
            watch().remove(fd)
        self.release()
        self._buried(report)
        self.report = report
        self.recover()
        if not self.lasting:
            if self._stays:
                self.zygote.reap(self.pid)  # collects the supervisor, which has waited in vain for a snapshot
            fence.remove_scratch(self.scratch)
        self.box.take_back()
        frontend.current.gone(self)

    def _examine(self) -> CrashReport:
        ended = self._collect()
        self._stays = bool(ended.get("stays"))
        if self.lane is not None:
            self.lane.drain()
        kind, reason, name, code = autopsy.cause(ended.get("status"))
        struck = ended.get("why")
        if name == _DUMP and self.why is not None:  # it was so young that it did not know the signal
            name = "SIGKILL"
        if self.dismissed and self.why is not None:
            kind, reason = self.why
        elif struck:
            kind, reason = struck["kind"], struck["reason"]
        elif name == "SIGKILL" and self.why is not None:
            kind, reason = self.why
        elif name == "SIGKILL" and autopsy.oom_kills() > self._oom:
            kind, reason = "memory", "SIGKILL by the kernel's out-of-memory killer"
        words = self._last_words()
        return CrashReport(
            companion=self.name,
            pid=self.pid,
            reason=reason,
            kind=kind,
            signal=name,
            exit_code=code,
            during=self.talk.activity(),
            stack=autopsy.stack(words, self.cells, self.trusted),
            native=native.frames(words, self.trusted),
            stderr="\n".join(self._last_lines()),
            peak_memory=ended.get("peak"),
            curve=autopsy.curve(ended.get("curve") or self.curve.samples),
            memory_limit=self.policy.memory,
            lifetime=time.monotonic() - self.started,
            time=time.time(),
            rewound=self.moment(kind) if ended.get("stays", self.lane is None) else "",
        )

    def _collect(self) -> dict[str, Any]:
        """Collect the process and return what its parent tells of the end."""
        if self.lane is None or not self.scout:
            return self.zygote.reap(self.pid)
        self.forsake()  # so that the supervisor collects it
        return {"status": exit_status(self.pidfd, _COLLECTED)}

    def untold(self) -> CrashReport | None:
        """Return its report if whoever uses the companion next is to be told of its death."""
        report = self.report
        return None if report is None or report.kind in ("stop", "rewind") or self.told else report

    def logs(self) -> str:
        """Return the last output, filtered as it was when it was shown."""
        text = self.output.last()
        return text if self.trusted else clean(text)

    def _last_lines(self) -> list[str]:
        """Return the last lines on stderr."""
        lines = self.output.last("stderr", of_cell=True)[-4000:].splitlines()[-20:]
        return lines if self.trusted else filter_lines(lines)

    def release(self) -> None:
        """Close every descriptor; in a forked copy of the main session that is all that is done."""
        with self._lock:
            pidfd, self.pidfd = self.pidfd, -1
            for fd in (*self.pipes, *self._shut, pidfd, self._words, *self.talk.poured.values()):
                os.close(fd)
            self.talk.poured.clear()
            self.board.close()
            self.talk.sock.close()
            self.talk.door.close()
            if self.lane is not None and not self.lasting:
                self.lane.close()
