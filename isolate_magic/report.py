"""The crash report: how a companion died, as data, as text and as HTML (host)."""

from __future__ import annotations

import html
from dataclasses import dataclass

_FAULTS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")  # faulthandler writes a stack at these


@dataclass(frozen=True)
class StackFrame:
    """One line of a Python stack.

    Attributes:
        file: the file, or `Cell In[3]`.
        line: the line number.
        function: the function's name.
        source: the text of that line, if it could be had.
    """

    file: str
    line: int
    function: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, in {self.function}"


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
        stderr: its last lines on stderr.
        peak_memory: most resident memory it ever had, in bytes; None if unknown.
        curve: its memory, as pairs of seconds since the start and bytes; empty if nobody watched.
        lifetime: how long it lived, in seconds.
        time: when it died, as `time.time` counts.
    """

    companion: str
    pid: int
    reason: str
    kind: str
    signal: str = ""
    exit_code: int | None = None
    during: str = ""
    stack: tuple[StackFrame, ...] = ()
    stderr: str = ""
    peak_memory: int | None = None
    curve: tuple[tuple[float, int], ...] = ()
    lifetime: float = 0.0
    time: float = 0.0

    @property
    def headline(self) -> str:
        """Say in one line what died, and of what."""
        during = f" in {self.during}" if self.during else " while idle"
        return f"companion {self.companion!r} died{during}: {self.reason}"

    def __str__(self) -> str:
        lines = [self.headline, "  ".join(f"{name}: {value}" for name, value in self.facts())]
        lines.append(self._about_stack)
        for frame in self.stack:
            lines.append(f"  {frame}")
            if frame.source:
                lines.append(f"    {frame.source}")
        if self.stderr:
            lines.append("last lines on stderr:")
            lines += [f"  {line}" for line in self.stderr.splitlines()]
        return "\n".join(lines)

    @property
    def _about_stack(self) -> str:
        if self.stack:
            return "Python stack at death, innermost first:"
        if self.signal in _FAULTS:
            return "no Python frame of yours at death: the call went straight into compiled code"
        return f"no Python stack: {self.signal or 'a process that exits'} leaves none"

    def facts(self) -> list[tuple[str, str]]:
        """Return the numbers of the report as pairs of name and text."""
        facts = [("pid", str(self.pid)), ("lived", _seconds(self.lifetime))]
        if self.exit_code is not None:
            facts.append(("exit code", str(self.exit_code)))
        if self.peak_memory is not None:
            facts.append(("peak memory", f"{self.peak_memory / 2**20:,.0f} MiB"))
        return facts

    def _repr_html_(self) -> str:
        facts = " &middot; ".join(f"{_esc(name)} {_esc(value)}" for name, value in self.facts())
        parts = [
            f'<div style="font-weight:600">&#9888; {_esc(self.headline)}</div>',
            f'<div style="{_DIM}">{facts}</div>',
            f"<div>{_esc(self._about_stack)}</div>",
        ]
        if self.stack:
            parts.append(f'<pre style="{_PRE}">{"".join(map(_frame, self.stack))}</pre>')
        if self.stderr:
            parts.append(f'<div>last lines on stderr:</div><pre style="{_PRE}">{_esc(self.stderr)}</pre>')
        return f'<div class="isolate-crash" style="{_CARD}">{"".join(parts)}</div>'


def _frame(frame: StackFrame) -> str:
    """Return one frame as HTML; the lines of cells stand out, the rest is library code."""
    of_cell = frame.file.startswith("Cell In[")
    source = f"\n    {_esc(frame.source)}" if frame.source else ""
    return f'<span style="{_BOLD if of_cell else _DIM}">{_esc(str(frame))}{source}</span>\n'


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:,.1f} s"


def _esc(text: str) -> str:
    return html.escape(text, quote=True)


# Colours come from JupyterLab's own variables where they exist, so that both themes fit.
_CARD = (
    "border-left:4px solid var(--jp-error-color1,#d32f2f);padding:6px 10px;margin:4px 0;"
    "color:var(--jp-content-font-color1,inherit)"
)
_DIM = "opacity:.75"
_BOLD = "font-weight:600"
_PRE = (
    "margin:4px 0;padding:6px 8px;white-space:pre-wrap;"
    "background:var(--jp-layout-color2,rgba(128,128,128,.12))"
)
