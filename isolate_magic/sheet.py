"""A crash report as HTML, for the card and for whatever shows saved notebooks (host).

Every text is escaped here, whoever it comes from. What carries a fact is plain HTML, so that it survives
a viewer that strips styles and SVG, as GitHub does. The colours are JupyterLab's own where it has set
them, so that both themes fit.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from isolate_magic import sparkline

if TYPE_CHECKING:
    from isolate_magic.report import CrashReport, StackFrame

_LONG = 6  # lines of a stack that are shown unasked


def page(report: CrashReport) -> str:
    """Return a report as HTML."""
    parts = [
        _headline(report),
        _excerpt(report.marked),
        _folded("Python stack", [_frame(frame) for frame in report.stack], "innermost first"),
        _folded(
            "Native stack", [_esc(str(frame)) for frame in report.native], "innermost first, above Python's"
        ),
        "" if report.stack else _dim(_sentence(report.about_stack)),
        _folded("Last lines on stderr", [_esc(line) for line in report.stderr.splitlines()], ""),
        _memory(report),
        _facts(report),
    ]
    return f'<div class="isolate-crash" style="{_PAGE}">{"".join(parts)}</div>'


def note(text: str) -> str:
    """Return a line that belongs to a report and stands below it."""
    return f'<div style="{_PAGE};margin:0">{_dim(_esc(text))}</div>'


def _headline(report: CrashReport) -> str:
    meaning = "".join(
        f'<div style="{_DIM}">{_sentence(line)}</div>' for line in (report.meaning, report.sequel) if line
    )
    mark = f'<span style="color:{_RED};font-size:.8em" aria-hidden="true">&#9679;</span>'
    return f'<div style="{_HEAD}">{mark} <strong>{_esc(report.headline)}</strong></div>{meaning}'


def _sentence(text: str) -> str:
    return _esc(f"{text[0].upper()}{text[1:]}.")


def _excerpt(frame: StackFrame | None) -> str:
    """Return the lines of the cell, with the one that failed marked."""
    if frame is None:
        return ""
    width = len(str(frame.around[-1][0]))
    lines = []
    for number, text in frame.around:
        here = number == frame.line
        sign = f'<span style="color:{_RED}">&#9656;</span>' if here else " "
        count = f'<span style="{_FAINT}">{number:>{width}}</span>'
        lines.append(f'<span style="{_HERE if here else _LINE}">{sign} {count}  {_esc(text)}\n</span>')
    title = f"{_esc(frame.file)}, line {frame.line}"
    within = "" if frame.function == "<module>" else f", in {_esc(frame.function)}"
    code = f'<div style="display:inline-block;min-width:100%">{"".join(lines)}</div>'
    return f'<div style="{_TITLE}">{title}{within}</div><pre style="{_PRE}">{code}</pre>'


def _frame(frame: StackFrame) -> str:
    """Return one frame; the lines of cells stand out, the rest is library code."""
    title = _esc(str(frame))
    title = f"<strong>{title}</strong>" if frame.of_cell else f'<span style="{_FAINT}">{title}</span>'
    return f"{title}\n    {_esc(frame.source)}" if frame.source else title


def _folded(title: str, lines: list[str], says: str) -> str:
    """Return lines that can be folded away; many are, at first."""
    if not lines:
        return ""
    shown = " open" if len(lines) <= _LONG else ""
    note = f' <span style="{_FAINT}">{says}</span>' if says else ""
    count = f' <span style="{_FAINT}">({len(lines)})</span>' if not shown else ""
    body = "\n".join(lines)
    return (
        f'<details{shown} style="margin-top:8px">'
        f'<summary style="{_SUMMARY}">{_esc(title)}{count}{note}</summary>'
        f'<pre style="{_PRE}"><div style="padding:0 10px">{body}</div></pre></details>'
    )


def _memory(report: CrashReport) -> str:
    drawn = (
        sparkline.svg(report.curve, report.memory_limit, "memory before death") if report.about_curve else ""
    )
    if not drawn:
        return ""
    told = f'<span style="{_FAINT}">{_esc(report.about_curve)}</span>'
    return f'<div style="{_TITLE}">Memory before death {told}</div>{drawn}'


def _facts(report: CrashReport) -> str:
    facts = [f'<span style="{_FAINT}">{_esc(name)}</span> {_esc(value)}' for name, value in report.facts()]
    return f'<div style="margin-top:8px">{" &#160;&#183;&#160; ".join(facts)}</div>'


def _dim(text: str) -> str:
    return f'<div style="margin-top:8px;{_DIM}">{text}</div>'


def _esc(text: str) -> str:
    return html.escape(text, quote=True)


_RED = "var(--jp-error-color1,#d32f2f)"
_PAGE = (
    f"border-left:3px solid {_RED};padding:2px 0 4px 14px;margin:4px 0 0;"
    "line-height:1.5;white-space:normal;max-width:1000px;color:var(--jp-content-font-color1,inherit);"
    "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:var(--jp-ui-font-size1,13px)"
)
_HEAD = "font-size:var(--jp-ui-font-size2,15px)"
_TITLE = "margin-top:8px;font-weight:600"
_SUMMARY = "cursor:pointer;font-weight:600"
_DIM = "opacity:.8"
_FAINT = "opacity:.6;font-weight:400"
_PRE = (
    "margin:4px 0 0;padding:6px 0;overflow-x:auto;white-space:pre;line-height:1.45;border-radius:2px;"
    "background:var(--jp-cell-editor-background,rgba(128,128,128,.1));color:inherit;"
    "border:1px solid var(--jp-border-color2,rgba(128,128,128,.3));"
    "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px)"
)
_LINE = "display:block;padding:0 10px"
_HERE = f"{_LINE};background:rgba(229,57,53,.13);box-shadow:inset 3px 0 0 {_RED}"
