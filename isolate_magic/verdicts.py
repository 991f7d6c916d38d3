"""What a policy says of each thing that a traced companion has tried (host).

All names are the companion's word. They are compared with the policy and shown, never opened.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from isolate_magic import escapes, fence, patterns, spawner

if TYPE_CHECKING:
    from isolate_magic.lane import Tape
    from isolate_magic.process import Process

_ASKED = 1000  # paths whose existence the companion is asked for
_QUIET = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty",
    "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/nsswitch.conf", "/etc/host.conf",
    "/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf",
    "/proc/self", "/proc/thread-self", "/proc/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
    "/proc/loadavg", "/proc/version", "/proc/filesystems", "/proc/uptime", "/proc/mounts", "/sys",
)  # fmt: skip
_QUIET_SOCKETS = ("unix:/var/run/nscd/socket", "unix:/run/nscd/socket", "unix:/run/systemd/userdb/")
_ADDRESS = re.compile(r"\[?([0-9a-f.:]+)\]?:(\d+)")


class Refusal(NamedTuple):
    """One thing that the policy refuses.

    Attributes:
        kind: `read`, `write`, `start`, `connect` or `import`.
        target: the path, address or module.
        line: the line of the policy, and what would allow it.
    """

    kind: str
    target: str
    line: str


def harmless(text: str) -> str:
    """Return a name of the companion's as one line without control characters."""
    return escapes.plain(text.replace("\n", "\\n").replace("\t", "\\t"))


class Judge:
    """Sort what was tried into what the policy allows, what it refuses, and what everybody does.

    Args:
        process: the companion's.
        tape: what it has tried.
        there: tells which of some paths exist for the companion.

    Attributes:
        allowed: how often each target was tried, by kind.
        refused: what the policy refuses.
        runtime: how many files were of Python, its packages and the system.
    """

    def __init__(self, process: Process, tape: Tape, there: Callable[[list[str]], list[bool]]) -> None:
        self.policy = process.policy
        self.dialer = process.dialer
        self.tier = process.protection.tier
        self.scratch = process.scratch
        self.here = os.path.realpath(spawner.folder())
        self.allowed: dict[str, dict[str, int]] = {"read": {}, "write": {}, "start": {}, "connect": {}}
        self.refused: list[Refusal] = []
        self.runtime = 0
        self._roots = [
            *_QUIET,
            *(root for path in fence.runtime() for root in (path, os.path.realpath(path))),
        ]
        self._searched = {os.path.normpath(entry) for entry in sys.path if entry} - {self.here}
        self._shown = [self.here, *self._roots, *(self.policy.read or ()), *(self.policy.write or ())]
        self._judge(tape, there)

    def _judge(self, tape: Tape, there: Callable[[list[str]], list[bool]]) -> None:
        tried: dict[tuple[str, str], int] = {}
        for (kind, target), times in tape.tried.items():
            if kind not in self.allowed:
                continue
            if kind != "connect":
                target = os.path.normpath(target)
                if kind != "start" and self._usual(kind, target):
                    self.runtime += 1
                    continue
            tried[kind, target] = tried.get((kind, target), 0) + times
        self._written = {target for kind, target in tried if kind == "write"}
        asked = [
            target for kind, target in tried if kind == "start" or (kind == "read" and self._own(target))
        ]
        asked = list(dict.fromkeys(asked))[:_ASKED]
        self._there = dict(zip(asked, there(asked), strict=True)) if asked else {}
        for (kind, target), times in tried.items():
            if kind == "connect":
                self._connect(target, times)
            elif kind != "start":
                self._put(kind, self._at_home(target), self._path(kind, target), times)
        self._start({target: times for (kind, target), times in tried.items() if kind == "start"})

    def _put(self, kind: str, target: str, line: str | None, times: int) -> None:
        target = harmless(target)
        if line is None:
            self.allowed[kind][target] = self.allowed[kind].get(target, 0) + times
        elif (refusal := Refusal(kind, target, line)) not in self.refused[-100:]:
            self.refused.append(refusal)

    # ------------------------------------------------------------ files

    def _usual(self, kind: str, path: str) -> bool:
        """Tell whether any Python opens such a file; its caches count too, which it tries to write."""
        if kind == "write":
            return "/__pycache__/" in path or path in _QUIET
        return path in self._searched or any(patterns.below(path, root) for root in self._roots)

    def _own(self, path: str) -> bool:
        """Tell whether a path lies in a folder of the companion's own, and not in what the policy shows."""
        policy = self.policy
        if policy.read is None:
            return False
        if self.tier == "N" and any(root.startswith(path.rstrip("/") + "/") for root in self._shown):
            return True  # the bare folders above what is shown
        own = (self.scratch,) if self.tier == "L" else ("/tmp", "/dev/shm", "/proc", self.here)
        if not any(patterns.below(path, folder) for folder in own):
            return False
        return not patterns.holds([*policy.read, *(policy.write or ())], self._at_home(path))

    def _at_home(self, path: str) -> str:
        """Return what a path means here: tier L's scratch folder stands for the working directory."""
        if self.scratch and patterns.below(path, self.scratch):
            return os.path.join(self.here, os.path.relpath(path, self.scratch)).removesuffix("/.")
        return path

    def _path(self, kind: str, path: str) -> str | None:
        if self._own(path) and (kind == "write" or path in self._written or self._there.get(path, True)):
            return None
        return self.policy.refusal(kind, self._at_home(path))

    # ------------------------------------------------------------ programs

    def _start(self, tried: dict[str, int]) -> None:
        """Judge programs. One that is searched for along PATH is tried in each folder: that is one start."""
        searches: dict[str, list[str]] = {}
        for path in tried:
            searches.setdefault(os.path.basename(path), []).append(path)
        for name, paths in searches.items():
            found = [path for path in paths if self._there.get(path, path == paths[-1])]
            for path in found:
                self._put("start", path, self._program(path), tried[path])
            if not found:
                lines = [line for path in paths if (line := self._program(path))]
                where = "not found along PATH" if len(paths) > 1 else "not found"
                self._put("start", f"{name} ({where})", lines[0] if lines else None, 1)

    def _program(self, path: str) -> str | None:
        if any(patterns.below(path, root) for root in self._roots):
            return None
        if self._own(path) and self._there.get(path):
            return None
        return self.policy.refusal("start", self._at_home(path))

    # ------------------------------------------------------------ addresses

    def _connect(self, target: str, times: int) -> None:
        match = _ADDRESS.fullmatch(target)
        if match is None:
            if not target.startswith(_QUIET_SOCKETS):
                self._put("connect", target, self._socket(target), times)
            return
        address, port = match[1], int(match[2])
        line = None if self.dialer.permits(address, port) else self.policy.refusal("connect", target)
        if line is not None and self.tier == "N" and _loopback(address):
            if port == 53:
                line = self.policy.refusal("connect", "host:443")
                self._put("connect", "a name server, for the address of a host", line, times)
                return
            target, line = f"{target} (its own)", None
        self._put("connect", target, line, times)

    def _socket(self, target: str) -> str | None:
        confined = fence.walled(self.policy) and self.tier == "L"
        return self.policy.refusal("connect", target) if confined else None


def _loopback(address: str) -> bool:
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified
