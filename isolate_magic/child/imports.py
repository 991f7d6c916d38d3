"""The import allow-list of a policy: a convenience for whoever writes cells, no wall (companion).

Code that means to can get at every module that is installed: the wall is what the kernel enforces. So
only import statements of cells, and what the main session asks for, are looked at; the modules that an
allowed one imports itself are its own business.
"""

from __future__ import annotations

import builtins
from collections.abc import Container, Sequence
from types import TracebackType
from typing import Any

_CELLS = "__main__"
allowed: tuple[str, ...] | None = None
"""Names of modules that cells may import, with all that is in them; None for all."""

_policy = ""


def check(name: str) -> None:
    """Raise ImportError if the policy does not name a module, or one that it is in."""
    if allowed is None:
        return
    if not any(f"{name}.".startswith(f"{one}.") or one.startswith(f"{name}.") for one in allowed):
        names = ", ".join(allowed) or "nothing"
        raise ImportError(
            f"policy {_policy or 'of this companion'!r} allows to import {names}, not {name!r}; "
            f"allow_import({name.partition('.')[0]!r}) would allow it",
            name=name,
        )


def allow(names: Sequence[str] | None, policy: str) -> None:
    """Let cells import these modules only.

    Args:
        names: the modules; None for all.
        policy: the policy's name, for the error.
    """
    global allowed, _policy
    hooked = builtins.__import__ is not _import
    allowed, _policy = (None if names is None else tuple(names)), policy
    if allowed is not None and hooked:
        setattr(builtins, "__import__", _import)  # noqa: B010  # mypy knows its signature


_original = builtins.__import__


def _import(name: str, space: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Do what `import` does, if the policy lets a cell do it."""
    level = kwargs.get("level", args[2] if len(args) > 2 else 0)
    space = kwargs.pop("globals", space)
    if not level and space is not None and space.get("__name__") == _CELLS:
        check(name)
    return _original(name, space, *args, **kwargs)


def without(trace: TracebackType | None, files: Container[str]) -> TracebackType | None:
    """Return a traceback without the frames of these files."""
    if trace is None:
        return None
    rest = without(trace.tb_next, files)
    if trace.tb_frame.f_code.co_filename in files:
        return rest
    line: int | None = trace.tb_lineno  # None where an interrupt has met an instruction of no line
    if line is None:
        line = trace.tb_frame.f_code.co_firstlineno
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, line)
