"""One forbidden act, and what can be seen of it here (host).

The code of an act runs in a throwaway companion, which knows where the canaries are. Whether it got
through is judged by what has happened to them, by /proc as this process sees it, and by how the companion
died. The act's own word counts only for what it can bring back (a secret it has read), and for system calls
of which nothing can be seen outside.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isolate_magic.canaries import Canaries
from isolate_magic.policy import Policy

PRELUDE = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def tell(act, *args):
    try:
        return str(act(*args))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
def read(path):
    with open(path, "rb") as file:
        return file.read(100_000)
def knock(family, kind, address):
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.send(b"isolate-doctor")
"""

_SMALL = {
    "memory": "160MiB", "processes": 4, "threads": 24, "open_files": 64, "disk": "4MiB", "cpu": 0.4,
    "wall": 0.4, "output": "16KiB",
}  # fmt: skip


@dataclass
class Scene:
    """What can be seen here after an act.

    Attributes:
        canaries: what it could go for.
        pid: the companion's process.
        told: what the act returned, as text; "" if it raised or died.
        peak: its memory at death, in bytes.
        text: all its output as text.
        shown: its displays.
        copied: what a copy of its object to this side gave, as text.
        before: the user namespace that it was in before.
    """

    canaries: Canaries
    pid: int = 0
    told: str = ""
    peak: int = 0
    text: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    before: str = ""


@dataclass(frozen=True)
class Act:
    """One forbidden act, or one that is allowed.

    Attributes:
        layer: what it is about, in the words of the table.
        tried: what is done, in plain words.
        code: the act, in Python.
        happened: whether it got through, from what is seen.
        enforced: the line of a companion's report that names what stops it, or `processes seen`, `output
            filter`, `pickles`.
        limit: the field of the policy that is made small for it, "" for none.
        alone: it needs a companion of its own, because it uses it up.
        wanted: it is an act that is allowed, and has to work.
        policy: changes the policy that is examined.
        copies: the value of the cell is copied here, as `byvalue` does.
        bare: it is tried without a sandbox too, to see whether it would work at all.
    """

    layer: str
    tried: str
    code: str
    happened: Callable[[Scene], bool]
    enforced: str
    limit: str = ""
    alone: bool = False
    wanted: bool = False
    policy: Callable[[Policy, Canaries], Policy] | None = None
    copies: bool = False
    bare: bool = True

    @property
    def shared(self) -> bool:
        """Tell whether it can be tried in a companion in which others were tried before."""
        return not (self.alone or self.limit)

    def under(self, policy: Policy, canaries: Canaries) -> Policy:
        """Return the policy of the companion that it is tried in."""
        if self.policy is not None:
            return self.policy(policy, canaries)
        if self.limit and getattr(policy, self.limit) is not None:
            return policy.but(**{self.limit: _SMALL[self.limit]})
        return policy


def user_namespace(pid: int) -> str:
    """Return which user namespace a process is in (user_namespaces(7)); "" if that cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/ns/user")
    except OSError:
        return ""
