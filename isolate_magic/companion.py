"""The companion: a Python process beside this one that may die without taking it along (host)."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psutil

from isolate_magic import output, spawner
from isolate_magic.aio import Aio
from isolate_magic.cells import Shown, timed
from isolate_magic.errors import ProcessTerminationError, StartError
from isolate_magic.interrupts import Postponed
from isolate_magic.link.refs import Claim
from isolate_magic.output import Sink
from isolate_magic.process import Process
from isolate_magic.report import CrashReport

_NAME = re.compile(r"[\w.-]{1,60}")
_companions: dict[str, Companion] = {}
_lock = threading.RLock()


class Companion:
    """Run code in a process of its own, and survive its death.

    The process starts with the first use, or by `start`. When it dies, the next use starts a new one
    and says so; module proxies import themselves again, other proxies raise `StaleProxyError`.

    Args:
        name: how it is called in messages, 1 to 60 letters, digits, `_`, `.` and `-`. A name is
            taken until the companion has been closed.
        preload: modules to import before the process is forked, so that every start has them ready.
        env: environment variables beside the allowed ones (`isolate_magic.spawner.ENVIRONMENT`).

    Raises:
        ValueError: the name is malformed or taken.

    >>> with Companion("demo") as companion:
    ...     companion.run("6 * 7")
    42
    """

    def __init__(
        self,
        name: str = "default",
        *,
        preload: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a companion: 1 to 60 letters, digits, '_', '.', '-'")
        if isinstance(preload, str):
            raise TypeError(f"preload is a list of module names; did you mean [{preload!r}]?")
        self.name = name
        self.preload = tuple(preload)
        self.env = dict(env or {})
        self.crashes: list[CrashReport] = []
        self.restarts = -1
        self._process: Process | None = None
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._prompt = 0
        self.aio = Aio(self)
        with _lock:
            if name in _companions:
                raise ValueError(f"there is a companion {name!r} already; get_companion({name!r}) returns it")
            _companions[name] = self

    def __repr__(self) -> str:
        return f"<Companion {self.name!r} {self.state}{f' pid {self.pid}' if self.pid else ''}>"

    def __enter__(self) -> Companion:
        self.ensure_started()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------ life

    @property
    def pid(self) -> int | None:
        """Tell the process id, or None while there is no process."""
        process = self._alive()
        return process.pid if process else None

    @property
    def state(self) -> str:
        """Tell how it is: `new`, `idle`, `busy`, `dead` or `stopped`."""
        process = self._process
        if process is None:
            return "new"
        if not process.talk.closed:
            return "busy" if process.talk.slots else "idle"
        if process.report is None or process.report.kind == "stop":  # None in a fork of the main session
            return "stopped"
        return "dead"

    @property
    def report(self) -> CrashReport | None:
        """Tell how it last died, or None."""
        return self.crashes[-1] if self.crashes else None

    @property
    def stats(self) -> dict[str, Any]:
        """Measure the process.

        Returns:
            pid, state, seconds since the start, restarts, `rss` and `uss` in bytes, `cpu` in seconds,
            objects lent to us; the numbers of the process are None while there is none.
        """
        process = self._alive()
        found: dict[str, Any] = dict.fromkeys(("uptime", "rss", "uss", "cpu", "proxies"))
        if process is not None:
            try:
                meter = psutil.Process(process.pid)
                memory, times = meter.memory_full_info(), meter.cpu_times()
                found = {"rss": memory.rss, "uss": memory.uss, "cpu": times.user + times.system}
            except psutil.Error:  # it died this very moment; the next use tells
                pass
            found["uptime"] = time.monotonic() - process.started
            found["proxies"] = len(process.talk.revival.proxies)
        return {"pid": self.pid, "state": self.state, "restarts": max(self.restarts, 0), **found}

    def start(self) -> Companion:
        """Start the process, if there is none, and return self.

        Raises:
            StartError: a module of `preload` cannot be imported, or the system refuses a process.
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
        """End the process; harmless if there is none. The next use starts a new one."""
        with self._lock:
            process = self._alive()
            if process is not None:
                with Postponed():
                    process.end("stop", "it was stopped")

    def close(self) -> None:
        """Stop for good and free the name."""
        self.stop()
        with _lock:
            if _companions.get(self.name) is self:
                del _companions[self.name]

    def interrupt(self) -> bool:
        """Raise KeyboardInterrupt in what it is doing; return whether it was doing anything."""
        process = self._alive()
        number = process.talk.innermost() if process is not None else 0
        if process is not None and number:
            process.interrupt(number)
        return bool(number)

    # ------------------------------------------------------------ work

    def run(
        self,
        source: str,
        *,
        push: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        sink: Sink | None = None,
    ) -> Any:
        """Run a cell and return the value of its last expression.

        Args:
            source: Python, with all of IPython's syntax; names stay for the next cell.
            push: names to bind before.
            timeout: seconds after which the cell is interrupted, and killed if it does not end.
            sink: where its output goes; this process's own stdout and stderr by default.

        Returns:
            the value, by value or as a proxy; None for a statement.

        Raises:
            CellTimeout: it took too long and was interrupted.
            ProcessTerminationError: the companion died.
            Exception: what the cell raised, as its own class.
        """
        __tracebackhide__ = True
        return self.run_cell(source, push=push, timeout=timeout, sink=sink, silent=True)

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
        """
        __tracebackhide__ = True
        if not isinstance(source, str):
            raise TypeError(f"a cell is text, not {type(source).__name__}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"a timeout of {timeout} s leaves no time; give a positive number of seconds")
        process = self._living()
        talk = process.talk
        if push:
            talk.ask("push", dict(push))
        self._prompt = prompt = number or self._prompt + 1
        process.cells[prompt] = (source, lines_before)
        while len(process.cells) > 200:
            del process.cells[next(iter(process.cells))]
        process.output.begin()
        title = f"Cell In[{number}]" if number else "a cell"
        cell = (source, prompt, lines_before, silent)
        with Shown(process, sink):
            if timeout is None:
                return talk.execute(title, cell)
            return timed(process, timeout, title, cell)

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function there and return its result.

        Args:
            function: any function that pickles, also a lambda, or a proxy of one. It always runs in
                the companion, so `companion.call(os.getpid)` is the companion's pid.
            *args: its arguments by place.
            **kwargs: its arguments by name.

        Raises:
            TransferError: the function or an argument cannot travel.
            ProcessTerminationError: the companion died.
            Exception: what the function raised, as its own class.
        """
        __tracebackhide__ = True
        return self._living().talk.run(function, args, kwargs)

    def load_module(self, name: str, path: str | Iterable[str] | None = None) -> Any:
        """Import a module there and return its proxy.

        Args:
            name: the module's full name.
            path: folders to look in instead of `sys.path`; relative ones count from the companion's
                own working directory.

        Raises:
            ModuleNotFoundError: there is no such module.
        """
        __tracebackhide__ = True
        folders = None if path is None else [path] if isinstance(path, str) else list(path)
        return self._living().talk.ask("load_module", name, folders)

    def push(self, names: Mapping[str, Any]) -> None:
        """Bind names for the cells."""
        __tracebackhide__ = True
        self._living().talk.ask("push", dict(names))

    def pull(self, name: str) -> Any:
        """Return what a name of the cells is bound to, by value or as a proxy.

        Raises:
            NameError: no cell has bound it.
        """
        __tracebackhide__ = True
        return self._living().talk.ask("pull", name)

    def after_cell(self) -> None:
        """Let it do what follows a cell there, when one here has used it: pyplot's figures are shown then."""
        process = self._alive()
        if process is None or process.talk.slots or process.talk.latest == process.rested:
            return  # dead, at work for another thread, or unused since the last time
        try:
            process.talk.ask("after_cell")
        except ProcessTerminationError:  # whoever uses it next is told
            return
        process.rested = process.talk.latest

    def logs(self) -> str:
        """Return its last output, at most some 64 KiB."""
        return self._process.output.last() if self._process else ""

    # ------------------------------------------------------------ within

    def _alive(self) -> Process | None:
        process = self._process
        return process if process is not None and not process.talk.closed else None

    def _living(self) -> Process:
        """Return the process, started anew if the last one is dead."""
        __tracebackhide__ = True
        process = self._process
        if process is not None and not process.talk.closed:
            return process
        with self._lock:
            if self._process is None or self._process.talk.closed:
                before = self._process
                self._start()
                if before is not None and before.report is not None and before.report.kind != "stop":
                    self._say(before.report)
            assert self._process is not None
            return self._process

    def _start(self) -> None:
        if self._owner != os.getpid():
            raise StartError(
                f"companion {self.name!r} belongs to process {self._owner}; make one of your own here"
            )
        zygote = spawner.zygote(self.preload, self.env)
        zygote.ready()
        with Postponed():
            self._process = Process(self.name, zygote, self._buried)
            self._process.talk.renew = self._renew
            self.restarts += 1

    def _say(self, report: CrashReport) -> None:
        assert self._process is not None
        new = f"Started a new one (pid {self._process.pid}); what was in the old one is gone."
        text = f"{report.headline}. {new}\n"
        (self._process.output.sink or output.default).stream("stderr", text)

    def _buried(self, report: CrashReport) -> None:
        if report.kind != "stop":
            self.crashes = [*self.crashes, report][-20:]

    def _renew(self, module: Any) -> Claim:
        """Import the module of a stale proxy again and let the proxy stand for it."""
        __tracebackhide__ = True
        name = module._isolate_.label
        fresh = self._living().talk.ask("load_module", name, None)
        claim: Claim = fresh._isolate_
        object.__setattr__(module, "_isolate_", claim)
        claim.owner.revival.modules.add(module)
        return claim


def registered() -> dict[str, Companion]:
    """Return the companions of this session by name."""
    with _lock:
        return dict(_companions)


def _stop_all() -> None:
    for companion in registered().values():
        companion.close()


def _leave_all() -> None:
    """In a forked copy of the main session: let go of the companions, which belong to the original."""
    global _lock
    _lock = threading.RLock()
    while _companions:
        companion = _companions.popitem()[1]
        companion._lock = threading.RLock()
        process = companion._alive()
        if process is not None:
            process.leave()


spawner.before_exit(_stop_all)
os.register_at_fork(after_in_child=_leave_all)
