"""A second IPython kernel beside your notebook's: what crashes there does not crash here.

Public names are loaded on first use, so that a companion, which imports this package too, never
loads the main session's half.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isolate_magic._version import __version__

if TYPE_CHECKING:
    from isolate_magic.bulletin import Event, events, on
    from isolate_magic.companion import Companion
    from isolate_magic.errors import (
        CellTimeout,
        CheckpointError,
        CompanionExit,
        ConfinementError,
        CpuExceeded,
        DiskExceeded,
        IsolateError,
        LimitExceeded,
        MemoryExceeded,
        NotSupported,
        PolicyError,
        ProcessesExceeded,
        ProcessTerminationError,
        ProtocolError,
        StaleProxyError,
        StartError,
        ThreadsExceeded,
        TimeoutExceeded,
        TransferError,
    )
    from isolate_magic.face.extension import load_ipython_extension, unload_ipython_extension
    from isolate_magic.inventory import Checkpoint
    from isolate_magic.keys import new_key
    from isolate_magic.link.proxy import isproxy
    from isolate_magic.policy import Policy
    from isolate_magic.protection import Protection
    from isolate_magic.report import CrashReport, NativeFrame, StackFrame
    from isolate_magic.session import (
        byvalue,
        companions,
        default_companion,
        get_companion,
        import_isolated,
    )
    from isolate_magic.sharing import share

__all__ = [
    "CellTimeout",
    "Checkpoint",
    "CheckpointError",
    "Companion",
    "CompanionExit",
    "ConfinementError",
    "CpuExceeded",
    "CrashReport",
    "DiskExceeded",
    "Event",
    "IsolateError",
    "LimitExceeded",
    "MemoryExceeded",
    "NativeFrame",
    "NotSupported",
    "Policy",
    "PolicyError",
    "ProcessTerminationError",
    "ProcessesExceeded",
    "Protection",
    "ProtocolError",
    "SnapshotError",
    "StackFrame",
    "StaleProxyError",
    "StartError",
    "ThreadsExceeded",
    "TimeoutExceeded",
    "TransferError",
    "__version__",
    "byref",
    "byvalue",
    "companions",
    "default_companion",
    "events",
    "get_companion",
    "import_isolated",
    "isproxy",
    "load_ipython_extension",
    "new_key",
    "on",
    "share",
    "unload_ipython_extension",
]

_HOMES = {
    "bulletin": ("Event", "events", "on"),
    "companion": ("Companion",),
    "inventory": ("Checkpoint",),
    "keys": ("new_key",),
    "session": ("byvalue", "companions", "default_companion", "get_companion", "import_isolated"),
    "link.proxy": ("isproxy",),
    "link.reference": ("byref",),
    "policy": ("Policy",),
    "protection": ("Protection",),
    "face.extension": ("load_ipython_extension", "unload_ipython_extension"),
    "sharing": ("share",),
    "report": ("CrashReport", "NativeFrame", "StackFrame"),
}


def __getattr__(name: str) -> Any:
    if name == "metrics":  # not in __all__: it needs an extra
        return import_module("isolate_magic.metrics")
    if name not in __all__:
        raise AttributeError(f"module 'isolate_magic' has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"isolate_magic.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
