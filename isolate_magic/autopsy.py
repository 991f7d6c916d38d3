"""From an exit status and last words to a crash report (host).

All that a companion leaves behind is its own word and may be anything, so it is only ever shown:
parsed as text, cut to a length, and never followed but to regular files of source.
"""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterable, Mapping, Sequence

from isolate_magic import escapes
from isolate_magic.report import StackFrame

_LINE = re.compile(r'  File "(?P<file>[^"\n]{1,4096})", line (?P<line>\d{1,9}) in (?P<function>[^\n]{1,500})')
_CELL = re.compile(r"<ipython-input-(\d+)-[0-9a-f]+>")
_BELOW = ("isolate_magic/child/", "isolate_magic/link/", "IPython/core/interactiveshell.py")
_AROUND = 3  # lines of a cell above the one that failed, and below
_WIDE = 300
_NAMES = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "abort",
    "SIGBUS": "bus error",
    "SIGFPE": "arithmetic error",
    "SIGILL": "illegal instruction",
    "SIGKILL": "killed from outside",
    "SIGTERM": "terminated from outside",
    "SIGXCPU": "processor time limit",
    "SIGSYS": "forbidden system call",
}


def cause(status: int | None) -> tuple[str, str, str, int | None]:
    """Read a wait status (wait(2)).

    Args:
        status: as `os.wait4` gives it, or None if nobody could collect it.

    Returns:
        kind, reason, name of the signal, exit code.
    """
    if status is None:
        return "signal", "the zygote is gone, and its companions with it", "SIGKILL", None
    if os.WIFSIGNALED(status):
        try:
            name = signal.Signals(os.WTERMSIG(status)).name
        except ValueError:
            name = f"SIG{os.WTERMSIG(status)}"  # a real-time signal
        return "signal", f"{name} ({_NAMES[name]})" if name in _NAMES else name, name, None
    code = os.WEXITSTATUS(status)
    return "exit", f"the process ended itself with exit code {code}", "", code


def stack(words: str, cells: Mapping[int, tuple[str, int]], trusted: bool = True) -> tuple[StackFrame, ...]:
    """Read the Python stack that faulthandler has written.

    Args:
        words: the text; only the last stack of the thread that died is read.
        cells: prompt number to source and lines before it, to show the lines of cells.
        trusted: whether files that the companion names may be opened, to show their lines.

    Returns:
        the frames of the user's code, innermost first, at most 60.
    """
    _, found, last = words.rpartition("Current thread")
    frames: list[StackFrame] = []
    for line in last.partition("\n\n")[0].splitlines() if found else ():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        file, number, function = match["file"], int(match["line"]), match["function"]
        if not trusted:
            file, function = escapes.plain(file), escapes.plain(function)
        if any(part in file for part in _BELOW) or len(frames) == 60:
            break
        cell = _CELL.fullmatch(file)
        if cell:
            around = _cell_lines(cells.get(int(cell[1])), number)
            source = next((text.strip() for line_number, text in around if line_number == number), "")
            frames.append(StackFrame(f"Cell In[{cell[1]}]", number, function, source, around))
        else:
            frames.append(StackFrame(file, number, function, _file_line(file, number) if trusted else ""))
    return tuple(frames)


def _cell_lines(cell: tuple[str, int] | None, number: int) -> tuple[tuple[int, str], ...]:
    """Return the lines about one of a cell, no blank ones at the ends; () if the cell has no such line."""
    if cell is None:
        return ()
    source, before = cell
    lines = [(count, text[:_WIDE]) for count, text in enumerate(source.splitlines(), before + 1)]
    if not 0 <= number - before - 1 < len(lines):
        return ()
    near = [line for line in lines if abs(line[0] - number) <= _AROUND]
    while near[0][0] != number and not near[0][1].strip():
        del near[0]
    while near[-1][0] != number and not near[-1][1].strip():
        del near[-1]
    return tuple(near)


def _file_line(file: str, number: int) -> str:
    """Return one line of a source file; never wait on a pipe or a device that a hostile stack names."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return ""
    with open(fd, encoding="utf-8", errors="replace") as opened:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > 10 << 20 or not file.endswith(".py"):
            return ""
        for index, line in enumerate(opened, 1):
            if index == number:
                return line.strip()[:200]
    return ""


def curve(samples: Iterable[Sequence[float]]) -> tuple[tuple[float, int], ...]:
    """Return memory over time without what is nothing."""
    return tuple((float(when), int(size)) for when, size in samples if size > 0)


def oom_kills() -> int:
    """Return how often the kernel's out-of-memory killer has struck since boot (proc(5), vmstat)."""
    try:
        with open("/proc/vmstat", encoding="ascii") as counters:
            for line in counters:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:  # a host without /proc/vmstat: then a memory kill reads as SIGKILL
        return 0
    return 0
