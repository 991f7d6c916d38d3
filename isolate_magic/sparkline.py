"""A small curve of memory over time: as SVG, and as a line of blocks for a terminal (host)."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT = 260, 64  # of the curve itself; the numbers stand beside it
_LEFT, _TOP, _BOTTOM, _RIGHT = 58, 8, 18, 6
Curve = Sequence[tuple[float, int]]


def size(count: float) -> str:
    """Return a number of bytes as people say it: `412 MiB`, `1.5 GiB`."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return (
                f"{count / unit:,.0f} {name}"
                if count >= 10 * unit or unit < 2**30
                else f"{count / unit:.1f} {name}"
            )
    return f"{count:.0f} B"


def seconds(value: float) -> str:
    """Return a time as people say it: `72 ms`, `12.3 s`, `5 min`."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:,.1f} s" if value < 120 else f"{value / 60:,.0f} min"


def blocks(curve: Curve, width: int = 32) -> str:
    """Draw a curve as a line of blocks, from 0 to its highest point."""
    if len(curve) < 2:
        return ""
    first, last = curve[0][0], curve[-1][0]
    columns = [0] * width
    for when, value in curve:
        place = int((when - first) / (last - first) * (width - 1)) if last > first else 0
        columns[place] = max(columns[place], value)
    most = max(columns) or 1
    held, line = columns[0], ""
    for value in columns:
        held = value or held  # between two looks it is as it was
        line += _BLOCKS[min(len(_BLOCKS) - 1, held * len(_BLOCKS) // (most + 1))]
    return line


def svg(curve: Curve, limit: int | None = None, label: str = "memory") -> str:
    """Draw a curve with the numbers of its axes; a dashed line shows the limit if there is one.

    Args:
        curve: pairs of seconds and bytes, in order of time.
        limit: in bytes.
        label: what a screen reader says that it is.

    Returns:
        an `<svg>` element, or "" for fewer than two points.
    """
    points = [(float(when), float(value)) for when, value in curve if _plain(when) and _plain(value)]
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return ""
    begin, end = points[0][0], points[-1][0]
    highest = max(value for _, value in points)
    shown = limit if limit and limit <= 4 * highest else None  # a limit far above would flatten the curve
    top = max(highest, shown or 0) or 1

    def x(when: float) -> str:
        return f"{_LEFT + (when - begin) / (end - begin) * _WIDTH:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + (1 - value / top) * _HEIGHT:.1f}"

    floor, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    line = " ".join(f"{x(when)},{y(value)}" for when, value in points)
    parts = [
        f'<line x1="{_LEFT}" y1="{floor}" x2="{right}" y2="{floor}" {_AXIS}/>',
        f'<polygon points="{_LEFT},{floor} {line} {right},{floor}" style="fill:{_BLUE}" opacity=".15"/>',
        f'<polyline points="{line}" {_LINE}/>',
        f'<circle cx="{x(end)}" cy="{y(points[-1][1])}" r="2.5" style="fill:{_RED}"/>',
        _text(_LEFT - 6, float(y(highest)) + 4, size(highest), "end"),
        _text(_LEFT - 6, floor + 4, "0", "end"),
        _text(_LEFT, floor + 14, seconds(begin), "start"),
        _text(right, floor + 14, seconds(end), "end"),
    ]
    if shown:
        parts.append(f'<line x1="{_LEFT}" y1="{y(shown)}" x2="{right}" y2="{y(shown)}" {_DASHED}/>')
        parts.append(_text(_LEFT + 6, float(y(shown)) + 12, f"limit {size(shown)}", "start"))
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    told = html.escape(f"{label}: at most {size(highest)}, {size(points[-1][1])} at the end", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{told}" '
        f'style="max-width:100%;display:block">{"".join(parts)}</svg>'
    )


def _plain(number: float) -> bool:
    return math.isfinite(number) and number >= 0


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" {_FONT}>{html.escape(text)}</text>'


_BLUE = "var(--jp-brand-color1,#1976d2)"
_RED = "var(--jp-error-color1,#d32f2f)"
_AXIS = 'stroke="currentColor" stroke-width="1" opacity=".35"'
_LINE = f'fill="none" style="stroke:{_BLUE}" stroke-width="1.5" stroke-linejoin="round"'
_DASHED = f'style="stroke:{_RED}" stroke-width="1" stroke-dasharray="4 3" opacity=".8"'
_FONT = 'font-size="10.5" fill="currentColor" opacity=".75"'
