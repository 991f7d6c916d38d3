"""The crash report: how a companion died, as data and as text (host)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from isolate_magic import sheet, sparkline

_FAULTS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")  # faulthandler writes a stack at these
_MEANINGS = {
    "SIGSEGV": "compiled code used memory that is not its own: a null or a stale pointer, for instance",
    "SIGABRT": "compiled code gave up and called abort(); if it said why, that stands on stderr",
    "SIGBUS": "compiled code used memory that cannot be had: of a file that was cut, or of a full /dev/shm",
    "SIGFPE": "compiled code divided a whole number by zero",
    "SIGILL": "compiled code has an instruction that this processor lacks; it may be built for another one",
    "SIGKILL": "something outside killed it, as the kernel and containers do when memory runs out",
    "SIGTERM": "something outside asked it to end",
    "SIGSYS": "it made a system call that is forbidden here",
    "SIGXCPU": "it used more processor time than `ulimit -t` allows",
}

_DRAWN = 0.25  # seconds; a shorter curve tells nothing


@dataclass(frozen=True)
class StackFrame:
    """One line of a Python stack.

    Attributes:
        file: the file, or `Cell In[3]`.
        line: the line number.
        function: the function's name.
        source: the text of that line, if it could be had.
        around: of a cell the lines about it, as pairs of number and text.
    """

    file: str
    line: int
    function: str
    source: str = ""
    around: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, in {self.function}"

    @property
    def of_cell(self) -> bool:
        """Tell whether it stands in a cell, and not in a library."""
        return self.file.startswith("Cell In[")


@dataclass(frozen=True)
class NativeFrame:
    """One function of compiled code on the stack.

    Attributes:
        function: its name, or "" if that could not be had.
        library: the file that it is in, or "".
        place: its source file and line, or where in the library it is; "" if only the name is known.
    """

    function: str
    library: str
    place: str = ""

    def __str__(self) -> str:
        library = os.path.basename(self.library)
        if not self.function:
            return f"{library} {self.place}".strip() or "code made at run time"
        return f"{self.function} in {library}" + (f", {self.place}" if self.place else "")


@dataclass(frozen=True)
class CrashReport:
    """How a companion died.

    Attributes:
        companion: its name.
        pid: its process id.
        reason: the short story: `SIGSEGV (segmentation fault)`, `os._exit(3)`, `timeout of 10 s`.
        kind: `signal`, `exit`, `interrupt`, `stop`, `kill`, `protocol`, or the limit that was passed:
            `memory`, `cpu`, `timeout`, `processes`, `threads`, `disk`.
        signal: the signal's name, or "".
        exit_code: the exit code, or None after a signal.
        during: the cell or call that died with it, or "" if it was idle.
        stack: the Python stack at death, innermost first; empty if the death left none.
        native: the functions of compiled code above it, innermost first; empty if they could not be had.
        stderr: its last lines on stderr.
        peak_memory: most resident memory it ever had, in bytes; None if unknown.
        curve: its memory, as pairs of seconds since the start and bytes; empty if nobody looked.
        memory_limit: what it was allowed to use, in bytes, or None.
        lifetime: how long it lived, in seconds.
        time: when it died, as `time.time` counts.
        rewound: the moment that the companion was taken back to, or "" if what was in it is lost.
    """

    companion: str
    pid: int
    reason: str
    kind: str
    signal: str = ""
    exit_code: int | None = None
    during: str = ""
    stack: tuple[StackFrame, ...] = ()
    native: tuple[NativeFrame, ...] = ()
    stderr: str = ""
    peak_memory: int | None = None
    curve: tuple[tuple[float, int], ...] = ()
    memory_limit: int | None = None
    lifetime: float = 0.0
    time: float = 0.0
    rewound: str = ""

    @property
    def headline(self) -> str:
        """Say in one line what died, and of what."""
        during = f" in {self.during}" if self.during else " while idle"
        return f"companion {self.companion!r} died{during}: {self.reason}"

    @property
    def story(self) -> str:
        """Say in one line what died, of what, and where that has led."""
        return f"{self.headline}; rewound to {self.rewound}" if self.rewound else self.headline

    @property
    def sequel(self) -> str:
        """Say what the companion was taken back to; "" if it was not."""
        return f"rewound to {self.rewound}: what was in it then is there again" if self.rewound else ""

    @property
    def meaning(self) -> str:
        """Say in plain words what the signal means, where it is the reason; else ""."""
        return _MEANINGS.get(self.signal, "") if self.reason.startswith(self.signal or "-") else ""

    @property
    def marked(self) -> StackFrame | None:
        """Return the innermost frame of a cell whose lines are known, or None."""
        return next((frame for frame in self.stack if frame.around), None)

    @property
    def about_stack(self) -> str:
        """Introduce the Python stack, or say why there is none."""
        if self.stack:
            return "Python stack at death, innermost first:"
        if self.signal in _FAULTS:
            return "no Python frame of yours at death: the call went straight into compiled code"
        return f"no Python stack: {self.signal or 'a process that exits'} leaves none"

    @property
    def about_curve(self) -> str:
        """Tell the memory before death in words; "" if nobody has looked."""
        if len(self.curve) < 2 or self.curve[-1][0] - self.curve[0][0] < _DRAWN:
            return ""
        (begin, first), (end, last) = self.curve[0], self.curve[-1]
        limit = f", limit {sparkline.size(self.memory_limit)}" if self.memory_limit else ""
        return f"{sparkline.size(first)} to {sparkline.size(last)} in {sparkline.seconds(end - begin)}{limit}"

    def facts(self) -> list[tuple[str, str]]:
        """Return the numbers of the report as pairs of name and text."""
        facts = [("pid", str(self.pid)), ("lived", sparkline.seconds(self.lifetime))]
        if self.exit_code is not None:
            facts.append(("exit code", str(self.exit_code)))
        if self.peak_memory is not None:
            facts.append(("peak memory", sparkline.size(self.peak_memory)))
        return facts

    def __str__(self) -> str:
        lines = [self.headline]
        lines += [f"  {line}" for line in (self.meaning, self.sequel) if line]
        lines.append("  ".join(f"{name}: {value}" for name, value in self.facts()))
        lines.append(self.about_stack)
        for frame in self.stack:
            lines.append(f"  {frame}")
            if frame is self.marked:
                lines += [f"    {_numbered(number, text, frame.line)}" for number, text in frame.around]
            elif frame.source:
                lines.append(f"    {frame.source}")
        if self.native:
            lines.append("native stack, innermost first, above Python's:")
            lines += [f"  {frame}" for frame in self.native]
        if self.stderr:
            lines.append("last lines on stderr:")
            lines += [f"  {line}" for line in self.stderr.splitlines()]
        if self.about_curve:
            lines.append(f"memory before death: {sparkline.blocks(self.curve)} {self.about_curve}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return sheet.page(self)


def _numbered(number: int, text: str, failed: int) -> str:
    return f"{'---->' if number == failed else '':5} {number} {text}".rstrip()
