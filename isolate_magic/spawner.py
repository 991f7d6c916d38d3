"""Zygotes and how companions are forked from them (host).

There is one zygote for each interpreter, preload list and environment. It is started by exec with the
environment variables that `ENVIRONMENT` allows, and stays until the main session ends.
"""

from __future__ import annotations

import atexit
import fnmatch
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from isolate_magic.errors import ConfinementError, StartError
from isolate_magic.link import bulk, descriptors
from isolate_magic.settings import DEFAULTS, ENVIRONMENT

_LIMIT = 1 << 20
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
# The very package that runs here, wherever another one of its name is installed.
_BOOT = f"""
import gc, importlib.util as util, sys
gc.disable()  # until all is imported, of which nothing is garbage
spec = util.spec_from_file_location(
    "isolate_magic", {os.path.join(_PACKAGE, "__init__.py")!r}, submodule_search_locations=[{_PACKAGE!r}]
)
sys.modules["isolate_magic"] = package = util.module_from_spec(spec)
spec.loader.exec_module(package)
from isolate_magic.child.zygote import main
main()
"""
_BOOT_SECONDS = 120
_LOOK = 0.25


class Zygote:
    """Start a zygote and ask it for companions.

    Args:
        preload: modules that it imports before the first fork.
        environ: its environment variables.

    Raises:
        StartError: the process could not be started.
    """

    def __init__(self, preload: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._told: dict[str, Any] | None = None
        self._numbers = itertools.count(1)
        self.preload = preload
        self.dead = False
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise StartError(f"the zygote could not be started: {error}") from error
        self._control = ours
        arguments = [str(theirs.fileno()), str(os.getpid()), json.dumps(sys.path), *preload]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, *arguments],
                cwd=folder(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=dict(environ),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise StartError(f"the zygote could not be started: {error}") from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Tell the zygote's process id."""
        return self._process.pid

    def fork(self, fds: list[int], start: dict[str, Any]) -> tuple[int, int, dict[str, Any]]:
        """Fork a companion; one that is confined stands behind its wall when this returns.

        Args:
            fds: descriptors that it inherits; see `isolate_magic.child.worker.main`.
            start: what it is told; `copies` and `zygote` are added here.

        Returns:
            pid, pidfd, and what confines it (see `isolate_magic.child.confinement.Ground`).

        Raises:
            StartError: a preload failed, or the fork did.
            ConfinementError: a layer that the plan wants cannot be had.
        """
        with self._lock:
            if self.dead:
                raise StartError(f"the zygote (pid {self.pid}) is gone")
            told = self._hello()
            start |= {"copies": told["copies"], "zygote": self.pid}
            content, received = self._ask({"do": "fork", "start": start}, fds)
            if "layer" in content:
                raise ConfinementError(content["error"], content["layer"])
            if "error" in content:
                raise StartError(f"the zygote could not fork: {content['error']}")
            if not received:
                os.kill(content["pid"], signal.SIGKILL)
                self._ask({"do": "reap", "pid": content["pid"]}, [])
                raise StartError("there is no descriptor left for the new companion")
        return content["pid"], received[0], content.get("report", {})

    def adopt(self, pid: int, of: int = 0) -> None:
        """Take note of a snapshot, so that it can be collected; or that it goes on in place of a companion.

        Args:
            pid: the snapshot.
            of: the companion that has ended, if that had a supervisor.

        Raises:
            StartError: it is none of the zygote's children.
        """
        with self._lock:
            content, _ = self._ask({"do": "adopt", "pid": pid, "of": of}, [])
        if "error" in content:
            raise StartError(f"the snapshot is lost: {content['error']}")

    @property
    def direct(self) -> bool:
        """Tell whether the kernel lets us read and write its companions' memory."""
        return self._told is not None and self._told["copies"] == "direct"

    def reap(self, pid: int) -> dict[str, Any]:
        """Collect a dead companion.

        Returns:
            `status` (its wait status) and `peak` (its peak memory in bytes), None if unknown; of one that was
            supervised also `why` (the limit that it has passed), `cpu` in seconds and `curve`, its memory
            as pairs of seconds and bytes.
        """
        with self._lock:
            try:
                content, _ = self._ask({"do": "reap", "pid": pid}, [])
            except StartError:  # the kernel has killed the companion with it, and init collects it
                return {}
        return content

    def stop(self) -> None:
        """End the zygote and all its companions."""
        with self._lock:
            if self.dead:
                return
            self.dead = True
            self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ready(self, look: Callable[[], object] = bool) -> None:
        """Wait until it can fork, as the only step that may take long; raises as `fork`.

        Args:
            look: called four times a second meanwhile.
        """
        with self._lock:
            deadline = time.monotonic() + _BOOT_SECONDS
            while self._told is None and not self.dead and time.monotonic() < deadline:
                if self._wait_for_hello(_LOOK):
                    return
                look()

    def alive(self) -> bool:
        """Return whether the process is there; collect it if it has died."""
        if not self.dead and self._process.poll() is not None:
            with self._lock:
                self._bury()
        return not self.dead

    def _wait_for_hello(self, seconds: float) -> bool:
        hello = select.poll()
        hello.register(self._control, select.POLLIN)
        return bool(hello.poll(seconds * 1000))

    def _bury(self) -> None:
        """Close the channel and collect the process, which is dead, useless or on its way out."""
        if not self.dead:
            self.dead = True
            self._control.close()
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """Let go of the zygote in a forked copy of the main session; it belongs to the original."""
        self.dead = True
        self._control.close()
        self._process.returncode = 0  # so that the copy neither waits for it nor warns

    def _hello(self) -> dict[str, Any]:
        """Wait until the zygote has imported everything; find out how large bodies can travel."""
        if self._told is None:
            ready = self._wait_for_hello(_BOOT_SECONDS)
            packet = self._control.recv(_LIMIT) if ready else b""
            if not packet:
                self._bury()
                raise StartError(
                    f"the zygote (pid {self.pid}) did not get ready"
                    + ("" if ready else f" within {_BOOT_SECONDS} s")
                    + f"; it was importing {', '.join(self.preload) or 'ipykernel'}"
                )
            told = json.loads(packet)
            if "error" in told:
                self._bury()
                raise StartError(f"the zygote could not import its preload list:\n{told['error']}")
            told["copies"] = _copies(self.pid, told)
            self._told = told
        return self._told

    def _ask(self, request: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        number = next(self._numbers)
        try:
            socket.send_fds(self._control, [json.dumps({**request, "number": number}).encode()], fds)
            while True:
                packet, received = descriptors.receive(self._control, _LIMIT, 4)
                content: dict[str, Any] = json.loads(packet) if packet else {}
                if not packet or content["number"] == number:
                    break
                for fd in received:  # the answer to a question that was interrupted
                    os.close(fd)
        except OSError as error:
            packet, received, reason = b"", [], error.strerror
        else:
            reason = "it closed the channel"
        if not packet:
            self._bury()
            raise StartError(f"the zygote (pid {self.pid}) is gone: {reason}")
        return content, received


def folder() -> str:
    """Return the working directory, or the root if it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _copies(pid: int, told: dict[str, Any]) -> str:
    """Try to read the zygote's memory; its companions give the same rights (ptrace(2))."""
    wanted = os.environ.get("ISOLATE_MAGIC_COPIES", "")
    if wanted == "memfd":
        return wanted
    try:
        return "direct" if bulk.fetch_bytes(pid, told["address"], 16).hex() == told["probe"] else "memfd"
    except OSError:
        return "memfd"


def allowed(environ: Mapping[str, str], names: Iterable[str] | None = None) -> dict[str, str]:
    """Return a companion's environment variables: the allowed ones, and `DEFAULTS` where they are silent.

    Args:
        environ: all variables.
        names: the patterns of allowed names; `ENVIRONMENT` by default.
    """
    patterns = ENVIRONMENT if names is None else tuple(names)
    seen = {
        name: text for name, text in environ.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)
    }
    return DEFAULTS | seen


_zygotes: dict[tuple[Any, ...], Zygote] = {}
_lock = threading.Lock()


def zygote(
    preload: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    names: Iterable[str] | None = None,
    trusted: bool = True,
) -> Zygote:
    """Return the zygote for a preload list and an environment, started if there is none alive.

    It imports in the background; `fork` waits for it.

    Args:
        preload: modules that it imports.
        environ: environment variables beside the allowed ones.
        names: the allowed ones, as `allowed` takes them.
        trusted: whether its companions are; freed memory of a zygote may still name what an earlier companion
            was told, such as the session's arguments, so the two kinds share none.
    """
    given = allowed(os.environ, names) | dict(environ or {})
    key = (sys.executable, trusted, preload, tuple(sorted(given.items())))
    with _lock:
        found = _zygotes.get(key)
        if found is None or not found.alive():
            found = _zygotes[key] = Zygote(preload, given)
        return found


def host_has_numpy() -> bool:
    """Return whether numpy scalars can be made here; nothing is imported for the answer."""
    return "numpy" in sys.modules or find_spec("numpy") is not None


_first: list[Callable[[], None]] = []


def before_exit(function: Callable[[], None]) -> None:
    """Call a function when the main session ends, before the zygotes are stopped."""
    _first.append(function)


def stop_zygotes() -> None:
    """End all zygotes, and all companions with them; the next companion starts one anew."""
    while _zygotes:
        _zygotes.popitem()[1].stop()


def _stop_all() -> None:
    for function in _first:
        function()
    stop_zygotes()


def _forget_all() -> None:
    global _lock
    _lock = threading.Lock()
    while _zygotes:
        _zygotes.popitem()[1].forget()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forget_all)
