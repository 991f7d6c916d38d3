"""The errors, in one tree (both sides).

    IsolateError
    ├── StartError               the zygote or the companion could not start
    ├── ProcessTerminationError  the companion died under a call or a cell; `.report` says how
    │   └── ProtocolError        it broke the protocol, so the host ended it
    ├── StaleProxyError          a proxy of an object that died with its companion
    ├── CellTimeout              a call or a cell passed its time limit (also a TimeoutError)
    ├── CompanionExit            code in the companion called sys.exit; the companion lives on
    ├── TransferError            a value cannot cross the border (also a TypeError)
    └── NotSupported             this platform or object cannot do it; the text says what can

A Python error raised by code in the companion is none of these: it arrives as its own class, so
`except ValueError:` and `except sqlite3.IntegrityError:` work as if the code had run here.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CellTimeout",
    "CompanionExit",
    "IsolateError",
    "NotSupported",
    "ProcessTerminationError",
    "ProtocolError",
    "StaleProxyError",
    "StartError",
    "TransferError",
]


class IsolateError(Exception):
    """Be the parent of every error that isolate_magic itself raises."""

    __module__ = "isolate_magic"


class StartError(IsolateError):
    """Say why a zygote or a companion could not start."""

    __module__ = "isolate_magic"


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


class StaleProxyError(IsolateError):
    """Say that the object behind a proxy is gone, which object it was, and how its companion died."""

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


class TransferError(IsolateError, TypeError):
    """Say that a value cannot cross the border, which one, and what to do instead."""

    __module__ = "isolate_magic"


class NotSupported(IsolateError):
    """Say that something is not possible here, why, and what to do instead."""

    __module__ = "isolate_magic"
