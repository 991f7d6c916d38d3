"""The companion: a Python process beside this one that may die without taking it along (host)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from isolate_magic import bulletin, farewell, following, frontend, output, progress, registry, rules, spawner
from isolate_magic.aio import Aio
from isolate_magic.amendment import Amendment, amend
from isolate_magic.asked import Asked
from isolate_magic.background import Background, Queue
from isolate_magic.cells import check, execute
from isolate_magic.checkpoint import Saved
from isolate_magic.defaults import defaults
from isolate_magic.errors import StartError, TransferError
from isolate_magic.interrupts import Postponed
from isolate_magic.link.proxy import copied
from isolate_magic.link.refs import Claim
from isolate_magic.observed import Observed
from isolate_magic.output import Sink
from isolate_magic.policy import Policy
from isolate_magic.process import Process
from isolate_magic.report import CrashReport
from isolate_magic.rewinding import NAME, Rewinding
from isolate_magic.snapshots import Snapshots

_AT_THE_END = 5.0  # seconds for all companions together to leave when the session ends


class Companion(Observed, Asked, Rewinding, Saved):
    """Run code in a process of its own, and survive its death.

    The process starts with the first use, or by `start`. When it dies, the next use starts a new one
    and says so; module proxies import themselves again, other proxies raise `StaleProxyError`.

    Args:
        name: its name in messages, 1 to 60 letters, digits, `_`, `.` and `-`; taken until it is closed.
        preload: modules to import before the process is forked, so that every start has them ready;
            those of `c.Isolate.preload` by default.
        env: environment variables beside those that the policy lets through, unless that is locked.
        policy: what it may reach and use: a `Policy`, a preset (`trusted`, `offline`, `untrusted`) or
            the path of a TOML file; `trusted` by default, or what an administrator has configured.
        traced: whether `tracing` can follow it though its policy builds no wall; sudo does not work then.
        snapshots: `auto` takes one before each cell, so that its death loses nothing else; `off` does not.

    Raises:
        ValueError: the name is malformed or taken.
        PolicyError: the policy cannot be.

    >>> with Companion("demo") as companion:
    ...     companion.run("6 * 7")
    42
    """

    def __init__(
        self,
        name: str = "default",
        *,
        preload: Iterable[str] | None = None,
        env: Mapping[str, str] | None = None,
        policy: Policy | str | os.PathLike[str] | None = None,
        traced: bool = False,
        snapshots: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a companion: 1 to 60 letters, digits, '_', '.', '-'")
        if isinstance(preload, str):
            raise TypeError(f"preload is a list of module names; did you mean [{preload!r}]?")
        self.name = name
        self.preload = defaults.preload if preload is None else tuple(preload)
        self.env = dict(env or {})
        self.policy = rules.admit(policy, self.env)
        self.traced = traced
        super().__init__()
        self.restarts = -1
        self.followed = ""  # the file that its policy is taken from, if it is followed
        self.closed = False
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._prompt = 0
        self.aio = Aio(self)
        self.background = Queue(name)
        self.snapshots = Snapshots(self, snapshots)
        registry.add(name, self)

    def __repr__(self) -> str:
        return f"<Companion {self.name!r} {self.state}{f' pid {self.pid}' if self.pid else ''}>"

    def __enter__(self) -> Companion:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------ life

    def start(self) -> Companion:
        """Start the process, if there is none, and return self.

        Raises:
            StartError: a module of `preload` cannot be imported, or the system refuses a process.
            ConfinementError: the policy needs a layer that cannot be had here; the text tells the cure.
        """
        self._living()
        return self

    ensure_started = start

    def restart(self) -> Companion:
        """End the process and start a new one; everything in it is lost."""
        with self._lock:
            self.stop()
            return self.start()

    def stop(self) -> None:
        """End the process; harmless if there is none. The next use starts a new one.

        An idle companion ends as a Python session does: what it has registered with `atexit` runs, open files
        are written and closed. It is given two seconds for that. One that is at work is killed at once.
        """
        self._stop(farewell.SECONDS)

    def _stop(self, seconds: float) -> None:
        with self._lock:
            self.snapshots.discard()
            process = self._alive()
            if process is None:
                return
            try:
                farewell.bid(process, seconds)
            finally:
                with Postponed():
                    process.end("stop", farewell.REASON)

    def kill(self) -> None:
        """Kill the process, whatever it is doing, with a crash report that tells where it was.

        Harmless if there is none. The next use starts a new one, and says so.
        """
        with self._lock:
            process = self._alive()
            if process is not None:
                with Postponed():
                    process.end("kill", "killed on request", hanging=True)
                    self._recover(process)

    def close(self) -> None:
        """Stop for good and free the name."""
        self._close(farewell.SECONDS)

    def _close(self, seconds: float) -> None:
        self._stop(seconds)
        self.closed = True
        registry.remove(self.name, self)
        bulletin.finish(self)

    def change_policy(self, policy: Policy | str | os.PathLike[str]) -> Amendment:
        """Let another policy hold from now on, as far as a running process lets that be done.

        Args:
            policy: as for the constructor.

        Returns:
            which fields are in force now, and which wait for the next start, with the reason.

        Raises:
            PolicyError: the policy cannot be, or an administrator's lock forbids it.
        """
        with self._lock:
            new = rules.admit(policy, self.env)
            process = self._alive()
            self.snapshots.discard()  # in which the old one holds
            answer = amend(process, new) if process is not None else Amendment((), (), False)
            self.policy = new
            bulletin.tell(self, "policy", self.pid, answer)
            return answer

    def interrupt(self) -> bool:
        """Raise KeyboardInterrupt in what it is doing; return whether it was doing anything."""
        process = self._alive()
        number = process.talk.innermost() if process is not None else 0
        if process is not None and number:
            process.interrupt(number)
        return bool(number)

    def follow_policy(self, path: str | os.PathLike[str]) -> None:
        """Take the policy from a TOML file, and again whenever that changes, until the companion is closed.

        What has changed is told on stderr; a file that makes no sense leaves the policy as it is.
        """
        following.follow(self, os.fspath(path))

    # ------------------------------------------------------------ work

    def run(
        self,
        source: str,
        *,
        push: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        sink: Sink | None = None,
        dry: bool = False,
    ) -> Any:
        """Run a cell and return the value of its last expression.

        Args:
            source: Python, with all of IPython's syntax; names stay for the next cell.
            push: names to bind before.
            timeout: seconds after which the cell is interrupted, and killed if it does not end.
            sink: where its output goes; this process's own stdout and stderr by default.
            dry: whether it runs in a fork that ends with it, so that nothing here is changed.

        Returns:
            the value, by value or as a proxy; None for a statement, and for what a dry run cannot leave here.

        Raises:
            CellTimeout: it took too long and was interrupted.
            ProcessTerminationError: the companion died.
            SnapshotError: it cannot be forked for a dry run now.
            Exception: what the cell raised, as its own class.
        """
        __tracebackhide__ = True
        return self.run_cell(source, push=push, timeout=timeout, sink=sink, silent=True, dry=dry)

    def run_cell(
        self,
        source: str,
        *,
        number: int = 0,
        lines_before: int = 0,
        push: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        sink: Sink | None = None,
        silent: bool = False,
        dry: bool = False,
        request: str = "",
    ) -> Any:
        """Run a cell as part of a notebook; raises as `run`.

        Args:
            source: as in `run`.
            number: the prompt number; 0 counts by itself.
            lines_before: lines of the visible cell above the source.
            push: as in `run`.
            timeout: as in `run`.
            sink: as in `run`.
            silent: whether the value of the last expression stays unshown.
            dry: as in `run`.
            request: what a kernel was asked for, as JSON, whose reply as JSON is then returned; see
                `isolate_magic.child.requests`.
        """
        __tracebackhide__ = True
        check(source, timeout)
        self.background.wait()
        process = self._living()
        frontend.current.settle(process)
        title, moment = (f"Cell In[{number}]", f"cell In[{number}]") if number else ("a cell", "a cell")
        self._prompt = prompt = number or self._prompt + 1

        def run_in(process: Process) -> Any:
            __tracebackhide__ = True
            if push:
                process.talk.ask("push", dict(push))
            process.remember(prompt, source, lines_before)
            return execute(process, title, (source, prompt, lines_before, silent, request), timeout, sink)

        if dry:
            with self.snapshots.scout(process, self._scout) as scout:
                return _left(run_in(scout))
        self.snapshots.before(process, f"before {moment}")
        try:
            return run_in(process)
        finally:
            self.snapshots.after(process, f"after {moment}")
            if process.output.leaving:  # the cell has said `exit`
                self.stop()

    def submit(
        self,
        source: str,
        *,
        push: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        sink: Sink | None = None,
    ) -> Background:
        """Run a cell in the background, after those submitted before, and return its handle at once.

        What else the main thread asks of this companion meanwhile waits until the cell has ended. The
        arguments are those of `run`; what that raises, `result()` of the handle does.
        """
        check(source, timeout)
        return self.background.submit("cell", lambda: self.run(source, push=push, timeout=timeout, sink=sink))

    # ------------------------------------------------------------ within

    def _living(self) -> Process:
        """Return the process, started anew if the last one is dead."""
        __tracebackhide__ = True
        process = self._process
        if process is not None and not process.talk.closed:
            if self._rewound is not None:
                self._tell_rewound()
            return process
        with self._lock:
            before = self._process
            if before is not None and before.report is not None:
                self._recover(before)
                before = self._process
            if before is not None and not before.talk.closed:
                self._tell_rewound()
                return before
            self.snapshots.discard()
            process = self._start()
            if before is not None and (report := before.untold()) is not None:
                self._say(report, process)
            return process

    def _start(self) -> Process:
        if self._owner != os.getpid():
            raise StartError(f"{self.name!r} belongs to process {self._owner}; make one of your own")
        policy = rules.admit(self.policy, self.env)
        zygote = spawner.zygote(self.preload, self.env, policy.environment, policy.trusted)
        imported = ", ".join(self.preload) or "ipykernel"
        with progress.waiting(f"starting companion {self.name!r}: importing {imported}") as step:
            zygote.ready(step.look)
        with Postponed():
            process = Process(self.name, zygote, self.policy, self._buried, self.traced)
            self._furnish(process)
            before, self._process = self._process, process
            self.restarts += 1
            self._born(process, before)
        return process

    def _furnish(self, process: Process) -> None:
        process.talk.renew = self._renew
        process.moment = self.snapshots.ahead_of
        process.recover = lambda: self._at_death(process)
        self.background.note(process.talk)

    def _say(self, report: CrashReport, process: Process) -> None:
        new = f"Started a new one (pid {process.pid}); what was in the old one is gone.\n"
        output.default.stream("stderr", f"{report.headline}. {new}")

    def _renew(self, module: Any) -> Claim:
        """Import the module of a stale proxy again and let the proxy stand for it."""
        __tracebackhide__ = True
        fresh = self._living().talk.ask("load_module", module._isolate_.label, None)
        claim: Claim = fresh._isolate_
        object.__setattr__(module, "_isolate_", claim)
        claim.owner.revival.modules.add(module)
        return claim


def _left(value: Any) -> Any:
    """Return what a dry run leaves of its value: a copy of plain data, else None."""
    try:
        return copied(value, pickles=False)
    except TransferError:
        return None


def _close_all() -> None:
    end = time.monotonic() + _AT_THE_END
    for companion in registry.registered().values():
        companion._close(min(farewell.SECONDS, max(0.0, end - time.monotonic())))


def _leave_all() -> None:
    """In a forked copy of the main session: let go of the companions, which belong to the original."""
    for companion in registry.forget():
        companion._lock = threading.RLock()
        companion.background = Queue(companion.name)
        companion.snapshots.leave()
        process = companion._alive()
        if process is not None:
            process.leave()


spawner.before_exit(_close_all)
os.register_at_fork(after_in_child=_leave_all)
