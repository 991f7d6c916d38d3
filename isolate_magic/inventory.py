"""What a checkpoint says of itself: names, what was left out, who has saved it and when (host)."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from isolate_magic._version import __version__
from isolate_magic.errors import CheckpointError
from isolate_magic.link.layout import PART
from isolate_magic.ration import label

_TEXT = 400


class Contents(msgspec.Struct, frozen=True):
    """Say what is in a file; it stands in there, encrypted.

    Attributes:
        names: of the variables.
        left: names and reasons of those that could not be saved.
        sizes: of the parts.
        code: whether there is code in it, which only the same Python runs.
        trusted: whether the companion that it comes from was.
        companion: its name.
        python: the version of Python.
        implementation: `cpython`, for instance.
        version: of isolate_magic.
        saved: when, in seconds since 1970.
    """

    names: tuple[str, ...]
    left: dict[str, str]
    sizes: tuple[int, ...]
    code: bool
    trusted: bool
    companion: str
    python: str
    implementation: str
    version: str
    saved: float

    def encoded(self) -> bytes:
        """Return it as it stands in a file."""
        return msgspec.json.encode(self)

    @property
    def length(self) -> int:
        """Tell the bytes of all parts."""
        return sum(self.sizes)


def described(told: Any, name: str, trusted: bool) -> Contents:
    """Return the contents of a new file.

    Args:
        told: what the companion says of what it has pickled.
        name: the companion's.
        trusted: whether it is.

    Raises:
        ValueError: what it says makes no sense.
    """
    if type(told) is not tuple:
        raise ValueError("a checkpoint that is told of in another way")
    names, left, sizes, code = told
    shown = shown_by(trusted)
    if not _texts(names) or type(code) is not bool or type(sizes) is not tuple or len(sizes) < 2:
        raise ValueError("a checkpoint that is none")
    if not all(type(size) is int and 0 <= size < 1 << 50 and size % PART == 0 for size in sizes) or not sum(
        sizes
    ):
        raise ValueError("a checkpoint of no size")
    return Contents(
        tuple(map(shown, names)), reasons(left, trusted), sizes, code, trusted, name,
        platform.python_version(), sys.implementation.name, __version__, time.time(),
    )  # fmt: skip


def shown_by(trusted: bool) -> Callable[[str], str]:
    """Return what makes the text of a companion fit to be shown."""
    return (lambda text: text[:_TEXT]) if trusted else label


def reasons(told: Any, trusted: bool) -> dict[str, str]:
    """Return names with reasons as a companion tells them; raises ValueError for anything else."""
    if type(told) is not tuple or not all(_texts(row) and len(row) == 2 for row in told):
        raise ValueError("reasons that are none")
    shown = shown_by(trusted)
    return {shown(name): shown(reason) for name, reason in told}


def _texts(told: Any) -> bool:
    return type(told) is tuple and all(type(one) is str for one in told)


def decoded(raw: bytes) -> Contents:
    """Return the contents of a file; raises CheckpointError if they are authentic but make no sense."""
    try:
        found = msgspec.json.decode(raw, type=Contents)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"what it says of itself cannot be read ({error}); nothing was loaded"
        ) from None
    if len(found.sizes) < 2 or min(found.sizes) < 0 or not found.length:
        raise CheckpointError("the sizes that it tells make no sense; nothing was loaded")
    return found


def check_python(found: Contents) -> None:
    """Raise CheckpointError for code of another Python; data alone goes from one to another."""
    here = (sys.implementation.name, platform.python_version_tuple()[:2])
    there = (found.implementation, tuple(found.python.split(".")[:2]))
    if found.code and here != there:
        raise CheckpointError(
            f"it holds functions or classes compiled by {found.implementation} {found.python}, and this is "
            f"{here[0]} {platform.python_version()}: restore it there, or save the data alone; "
            "nothing was loaded"
        )


@dataclass(frozen=True)
class Checkpoint:
    """Tell what a checkpoint holds.

    Attributes:
        path: where it is.
        names: the variables that it holds; once restored, those that are bound.
        left_out: what it does not hold, and once restored what could not be loaded, each with the reason.
        size: of the file, in bytes.
        saved: when it was written.
        companion: the name of the companion that it comes from.
        trusted: whether that one was trusted; if not, a trusted one does not load it.
        python: the version of Python that it was written by.
    """

    path: str
    names: tuple[str, ...]
    left_out: Mapping[str, str]
    size: int
    saved: datetime
    companion: str
    trusted: bool
    python: str

    def __str__(self) -> str:
        names = f"{len(self.names)} name{'' if len(self.names) == 1 else 's'}"
        when = f"{self.saved.astimezone():%Y-%m-%d %H:%M}"
        lines = [
            f"{self.path}: {names} of companion {self.companion!r}, {self.size / 2**20:,.1f} MiB, {when}"
        ]
        lines += [f"  {name} is left out: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)

    __repr__ = __str__
