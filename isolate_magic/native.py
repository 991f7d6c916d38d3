"""The native stack that a dead companion has left: its functions found and named (host).

What it has written is text like any other. Programs that read its files are started only for a companion that
is trusted: a name or a file made for the purpose could do harm to them.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace

from isolate_magic import escapes
from isolate_magic.link.layout import NATIVE
from isolate_magic.report import NativeFrame

_LINE = re.compile(
    r"(?P<file>[^\n]{0,4096}?)(?:\((?P<symbol>[^()\n]{0,1000}?)(?P<offset>\+0x[0-9a-f]{1,16})?\))? ?"
    r"\[(?P<at>0x[0-9a-f]{1,16})\]"
)
_INTERPRETER = "_PyEval_EvalFrameDefault"
_MOST = 30
_PATIENCE = 1.0  # seconds for all programs that name functions together
_SYMTAB = 2  # elf(5), sh_type; its other bytes are 0
_LARGE = 64 << 20  # a library that it would take too long to read
_PYTHON = re.compile(r"libpython[\d.]+\.so|python[\d.]*t?\Z")


def frames(words: str, trusted: bool = True) -> tuple[NativeFrame, ...]:
    """Read the native stack that the handler of fatal signals has written.

    Args:
        words: all that the companion has left.
        trusted: whether files that it names may be opened, to name the functions in them.

    Returns:
        the frames from where it failed to where Python called, innermost first; at most 30.
    """
    _, found, last = words.rpartition(NATIVE)
    back, *lines = (last.splitlines() if found else ())[:200] or [""]
    read = [match for line in lines if (match := _LINE.fullmatch(line))]
    entered = [index for index, match in enumerate(read) if int(match["at"], 16) == _number(back)]
    read = read[entered[-1] + 1 :] if entered else []
    ended = [index for index, match in enumerate(read) if match["symbol"] == _INTERPRETER]
    made = [_frame(match) for match in read[: ended[0] if ended else None][:_MOST]]
    called = [index for index, frame in enumerate(made[:6]) if frame.function == "abort"]
    made = made[called[0] :] if called else made  # above it is how libc aborts
    while made and _PYTHON.match(os.path.basename(made[-1].library)):
        made.pop()  # how Python calls
    if trusted:
        return tuple(_named(made))
    return tuple(NativeFrame(*map(escapes.plain, (one.function, one.library, one.place))) for one in made)


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:  # cut off, or not ours
        return -1


def _frame(match: re.Match[str]) -> NativeFrame:
    symbol = match["symbol"] or ""
    return NativeFrame(symbol, match["file"].strip(), "" if symbol else match["offset"] or "")


# ---------------------------------------------------------------- names


def _named(made: list[NativeFrame]) -> list[NativeFrame]:
    """Give static functions their names and lines, if they can be had, and C++ names their C++ spelling."""
    deadline = time.monotonic() + _PATIENCE
    for library in dict.fromkeys(frame.library for frame in made if frame.place):
        if _has_symbols(library):
            made = _looked_up(library, made, deadline)
    names = [frame.function for frame in made]
    if any(name.startswith("_Z") for name in names):
        told = _ask(["c++filt"], names, deadline)
        if len(told) == len(names):
            made = [replace(frame, function=name) for frame, name in zip(made, told, strict=True)]
    return made


def _looked_up(library: str, made: list[NativeFrame], deadline: float) -> list[NativeFrame]:
    """Ask binutils' addr2line for the functions of one library that it does not export."""
    wanted = [index for index, frame in enumerate(made) if frame.library == library and frame.place]
    # All but the innermost frame point behind a call, which may be another line, or another function.
    places = [f"{int(made[index].place, 16) - (index > 0):#x}" for index in wanted]
    told = _ask(["addr2line", "-C", "-f", "-e", library], places, deadline)
    if len(told) != 2 * len(wanted):
        return made
    for index, function, line in zip(wanted, told[::2], told[1::2], strict=True):
        if function != "??":
            line = "" if line.startswith("??") else os.path.basename(line.split(" ")[0].removesuffix(":?"))
            made[index] = replace(made[index], function=function, place=line)
    return made


def _has_symbols(library: str) -> bool:
    """Tell whether a library has its full table of symbols; without it addr2line names a neighbour."""
    try:
        if not os.path.isabs(library) or not os.path.isfile(library) or os.path.getsize(library) > _LARGE:
            return False
        with open(library, "rb") as opened:
            head = opened.read(64)
            if head[:6] != b"\x7fELF\2\1":
                return False
            (sections,), (size, count) = (
                struct.unpack_from("<Q", head, 40),
                struct.unpack_from("<HH", head, 58),
            )
            opened.seek(sections)
            table = opened.read(size * count)
        return any(table[place + 4] == _SYMTAB for place in range(0, len(table) - 4, size or 1))
    except (OSError, ValueError, struct.error, OverflowError):
        return False


def _ask(program: list[str], lines: Iterable[str], deadline: float) -> list[str]:
    """Return what a program answers to some lines; nothing if it is not there or does not in time."""
    if shutil.which(program[0]) is None:
        return []
    try:
        done = subprocess.run(
            program, input="\n".join(lines) + "\n", capture_output=True, encoding="utf-8", errors="replace",
            timeout=max(0.05, deadline - time.monotonic()), check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
