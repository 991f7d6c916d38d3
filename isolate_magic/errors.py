"""The errors, in one tree (both sides).

    IsolateError
    ├── StartError               the zygote or the companion could not start
    │   └── ConfinementError     a layer that its policy needs cannot be had here; `.layer` names it
    ├── ProcessTerminationError  the companion died under a call or a cell; `.report` says how
    │   ├── ProtocolError        it broke the protocol, so the host ended it
    │   └── LimitExceeded        it passed a limit of its policy, so it was ended
    │       ├── MemoryExceeded       of its memory, or the system's
    │       ├── CpuExceeded          of its processor time
    │       ├── TimeoutExceeded      of the time for a cell, interrupted in vain (also a TimeoutError)
    │       ├── ProcessesExceeded    of its processes
    │       ├── ThreadsExceeded      of its threads
    │       └── DiskExceeded         of the space on disk
    ├── StaleProxyError          a proxy of an object that died with its companion
    ├── CellTimeout              a call or a cell passed its time limit (also a TimeoutError)
    ├── CompanionExit            code in the companion called sys.exit; the companion lives on
    ├── SnapshotError            there is no such snapshot, or none can be taken; the text says why
    ├── PolicyError              a policy says what cannot be; the text says what can (also a ValueError)
    ├── CheckpointError          a checkpoint cannot be written, or is refused; the text says why
    ├── TransferError            a value cannot cross the border (also a TypeError)
    └── NotSupported             this platform or object cannot do it; the text says what can

A Python error raised by code in the companion is none of these: it arrives as its own class, so
`except ValueError:` and `except sqlite3.IntegrityError:` work as if the code had run here.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CellTimeout",
    "CheckpointError",
    "CompanionExit",
    "ConfinementError",
    "CpuExceeded",
    "DiskExceeded",
    "IsolateError",
    "LimitExceeded",
    "MemoryExceeded",
    "NotSupported",
    "PolicyError",
    "ProcessTerminationError",
    "ProcessesExceeded",
    "ProtocolError",
    "SnapshotError",
    "StaleProxyError",
    "StartError",
    "ThreadsExceeded",
    "TimeoutExceeded",
    "TransferError",
]


class IsolateError(Exception):
    """Be the parent of every error that isolate_magic itself raises."""

    __module__ = "isolate_magic"


class StartError(IsolateError):
    """Say why a zygote or a companion could not start."""

    __module__ = "isolate_magic"


class ConfinementError(StartError):
    """Say which layer of the confinement cannot be had here, why, and how to get it.

    Attributes:
        layer: `namespaces`, `root`, `files`, `network`, `signals`, `system calls`, `user` or `limits`.
    """

    __module__ = "isolate_magic"

    def __init__(self, message: str, layer: str = "") -> None:
        super().__init__(message)
        self.layer = layer


class ProcessTerminationError(IsolateError):
    """Say that the companion died while somebody waited for it.

    Attributes:
        report: the `isolate_magic.CrashReport`: signal, cell or call, Python stack, stderr, memory.
    """

    __module__ = "isolate_magic"

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class ProtocolError(ProcessTerminationError):
    """Say that the companion sent bytes that no companion sends; it has been ended."""

    __module__ = "isolate_magic"


class LimitExceeded(ProcessTerminationError):
    """Say that the companion passed a limit of its policy; it has been ended."""

    __module__ = "isolate_magic"


class MemoryExceeded(LimitExceeded):
    """Say that the companion and its processes took more memory than they may, or than there is."""

    __module__ = "isolate_magic"


class CpuExceeded(LimitExceeded):
    """Say that the companion and its processes used more processor time than they may."""

    __module__ = "isolate_magic"


class TimeoutExceeded(LimitExceeded, TimeoutError):
    """Say that a cell or a call passed its time limit and did not end when it was interrupted."""

    __module__ = "isolate_magic"


class ProcessesExceeded(LimitExceeded):
    """Say that the companion ran more processes than it may."""

    __module__ = "isolate_magic"


class ThreadsExceeded(LimitExceeded):
    """Say that the companion and its processes ran more threads than they may."""

    __module__ = "isolate_magic"


class DiskExceeded(LimitExceeded):
    """Say that the companion wrote more than it may into the folders that it may write."""

    __module__ = "isolate_magic"


DEATHS: dict[str, type[ProcessTerminationError]] = {
    "protocol": ProtocolError,
    "memory": MemoryExceeded,
    "cpu": CpuExceeded,
    "timeout": TimeoutExceeded,
    "processes": ProcessesExceeded,
    "threads": ThreadsExceeded,
    "disk": DiskExceeded,
}
"""The error for each kind of death that has one of its own; see `CrashReport.kind`."""


class StaleProxyError(IsolateError):
    """Say that the object behind a proxy is gone, which object it was, and how its companion died."""

    __module__ = "isolate_magic"


class SnapshotError(IsolateError):
    """Say why a snapshot cannot be taken, found or woken."""

    __module__ = "isolate_magic"


class CellTimeout(IsolateError, TimeoutError):
    """Say that a call or a cell was stopped at its time limit; the companion lives on."""

    __module__ = "isolate_magic"


class CompanionExit(IsolateError):
    """Say that code in the companion called `sys.exit`; `.code` is what it passed."""

    __module__ = "isolate_magic"

    def __init__(self, code: object = None) -> None:
        super().__init__(f"the code in the companion called sys.exit({'' if code is None else repr(code)})")
        self.code = code


class PolicyError(IsolateError, ValueError):
    """Say what in a policy cannot be, where, and what is accepted instead."""

    __module__ = "isolate_magic"


class CheckpointError(IsolateError):
    """Say why a checkpoint cannot be written, or is refused; nothing was written or loaded then."""

    __module__ = "isolate_magic"


class TransferError(IsolateError, TypeError):
    """Say that a value cannot cross the border, which one, and what to do instead."""

    __module__ = "isolate_magic"


class NotSupported(IsolateError):
    """Say that something is not possible here, why, and what to do instead."""

    __module__ = "isolate_magic"


def text_of(error: BaseException) -> str:
    """Return the text of an error, also where `str` fails: of a number with too many digits, for instance."""
    try:
        return str(error)
    except Exception:  # border: the arguments are a companion's, and `__str__` may be the user's
        return "(its text cannot be shown)"
