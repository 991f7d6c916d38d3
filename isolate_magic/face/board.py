"""The table of `%isolate top`, as HTML and as text (face).

Only our own words, names that were checked when the companion was made, and numbers stand in it.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence

from isolate_magic.face.colours import BLUE, DIM, GREEN, LINE, ORANGE, RED, TEXT, TRACK
from isolate_magic.samples import MINUTE, Sample

_WIDE, _HIGH = 84, 24  # of a sparkline, in pixels
_WARN, _FULL = 0.75, 0.92  # of a limit
_COLUMNS = (
    "Companion",
    "State",
    "CPU",
    "last minute",
    "Memory",
    "last minute",
    "Processes",
    "Open files",
    "Calls/s",
)
_LONG = 40  # letters of a reason
_NUMBERS = (2, 6, 7, 8)  # columns that stand on the right

_STATES = {"busy": GREEN, "idle": BLUE, "dead": RED}

_CARD = (
    f"color:{TEXT};font-family:var(--jp-ui-font-family,system-ui,sans-serif);"
    "font-size:var(--jp-ui-font-size1,13px);line-height:1.4"
)
_TABLE = "border-collapse:collapse;border-spacing:0;margin:0;font-size:inherit;color:inherit;border:none"
_CELL = "padding:5px 12px 5px 0;border:none;white-space:nowrap;vertical-align:middle;background:none;"
_RIGHT = "text-align:right;font-variant-numeric:tabular-nums;"
_LEFT = "text-align:left;"
_SMALL = f"color:{DIM};font-size:.85em"


def table(samples: Sequence[Sample], note: str = "") -> str:
    """Return the HTML.

    Args:
        samples: the companions.
        note: what stands in small print below.
    """
    if not samples:
        rows = f'<tr><td style="{_CELL}color:{DIM}" colspan="{len(_COLUMNS)}">{_NONE}</td></tr>'
    else:
        rows = "".join(map(_row, samples))
    below = f'<div style="{_SMALL};padding:6px 0 2px">{html.escape(note)}</div>' if note else ""
    heads = "".join(map(_head, range(len(_COLUMNS))))
    return (
        f'<div class="isolate-top" style="{_CARD};overflow:auto"><table style="{_TABLE}">'
        f'<thead><tr style="background:none">{heads}</tr></thead><tbody>{rows}</tbody></table>{below}</div>'
    )


_NONE = "no companion yet; %%isolated or import_isolated starts one"


def _head(column: int) -> str:
    side = _RIGHT if column in _NUMBERS else _LEFT
    return (
        f'<th scope="col" style="{_CELL}{side}{_SMALL};font-weight:500;'
        f'border-bottom:1px solid {LINE}">{_COLUMNS[column]}</th>'
    )


def _row(sample: Sample) -> str:
    memories = [(ago, float(memory)) for ago, memory, _ in sample.history]
    shares = [(ago, cpu) for ago, _, cpu in sample.history]
    there = sample.pid is not None
    cells = (
        _name(sample),
        _state(sample),
        _percent(sample.cpu),
        sparkline(shares, max(100.0, *(cpu for _, cpu in shares)), GREEN, "cpu, last minute")
        if there
        else "",
        _memory(sample),
        sparkline(memories, 1.2 * max(memory for _, memory in memories), BLUE, "memory, last minute")
        if there
        else "",
        _count(sample.processes),
        _count(sample.open_files),
        _rate(sample.calls),
    )
    under = f"border-bottom:1px solid {LINE}"
    tds = (
        f'<td style="{_CELL}{_RIGHT if column in _NUMBERS else _LEFT}{under}">{cell}</td>'
        for column, cell in enumerate(cells)
    )
    return f'<tr style="background:none">{"".join(tds)}</tr>'


def _name(sample: Sample) -> str:
    under = " &middot; ".join(
        part for part in (_policy(sample), f"pid {sample.pid}" if sample.pid else "") if part
    )
    return f'<div style="font-weight:600">{html.escape(sample.name)}</div><div style="{_SMALL}">{under}</div>'


def _policy(sample: Sample) -> str:
    return html.escape(sample.policy) if sample.policy not in ("", "trusted") else ""


def _state(sample: Sample) -> str:
    dot = (
        f'<span aria-hidden="true" style="display:inline-block;width:8px;height:8px;border-radius:50%;'
        f'margin-right:6px;background:{_STATES.get(sample.state, TRACK)}"></span>'
    )
    if not sample.why:
        return f"{dot}{sample.state}"
    why = sample.why if len(sample.why) <= _LONG else f"{sample.why[:_LONG]}..."
    return f'{dot}{sample.state}<div style="{_SMALL}">{html.escape(why)}</div>'


def _memory(sample: Sample) -> str:
    """Return the size, and below it a bar up to the limit, if there is one."""
    if sample.memory is None:
        return _missing()
    if not sample.limit:
        return f'<div>{size(sample.memory)}</div><div style="{_SMALL}">no limit</div>'
    part = min(1.0, sample.memory / sample.limit)
    colour = RED if part > _FULL else ORANGE if part > _WARN else BLUE
    return (
        f'<div>{size(sample.memory)} <span style="color:{DIM}">of {size(sample.limit)}</span></div>'
        f'<div role="meter" aria-label="memory against its limit" aria-valuenow="{part:.0%}" '
        f'style="height:4px;min-width:112px;border-radius:2px;background:{TRACK};margin-top:3px">'
        f'<div style="height:4px;border-radius:2px;width:{part:.1%};background:{colour}"></div></div>'
    )


def sparkline(points: Sequence[tuple[float, float]], top: float, colour: str, label: str) -> str:
    """Draw a curve of the last minute, now on the right.

    Args:
        points: seconds before now, and a value, oldest first.
        top: the value at the upper edge.
        colour: of CSS.
        label: what it is, for those who cannot see it.
    """
    drawn = " ".join(
        f"{(1 - ago / MINUTE) * _WIDE:.1f},{_HIGH - 1 - (_HIGH - 3) * value / (top or 1):.1f}"
        for ago, value in points
    )
    first = f"{(1 - points[0][0] / MINUTE) * _WIDE:.1f}" if points else "0"
    return (
        f'<svg role="img" aria-label="{label}" width="{_WIDE}" height="{_HIGH}" '
        f'viewBox="0 0 {_WIDE} {_HIGH}" style="display:block;overflow:visible">'
        f'<line x1="0" x2="{_WIDE}" y1="{_HIGH - 0.5}" y2="{_HIGH - 0.5}" style="stroke:{LINE}"></line>'
        f'<polygon points="{first},{_HIGH - 1} {drawn} {_WIDE},{_HIGH - 1}" '
        f'style="fill:{colour};opacity:.18"></polygon>'
        f'<polyline points="{drawn}" '
        f'style="fill:none;stroke:{colour};stroke-width:1.5;stroke-linejoin:round"></polyline></svg>'
    )


def text(samples: Sequence[Sample]) -> str:
    """Return the table as plain text."""
    if not samples:
        return _NONE
    heads = ("COMPANION", "STATE", "PID", "CPU", "MEMORY", "LIMIT", "PROCESSES", "FILES", "CALLS/S")
    rows = [heads, *map(_texts, samples)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    sides: list[Callable[[str, int], str]] = [str.ljust, str.ljust, *[str.rjust] * (len(heads) - 2)]
    return "\n".join(
        "  ".join(side(part, width) for side, part, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    )


def _texts(sample: Sample) -> tuple[str, ...]:
    memory = size(sample.memory) if sample.memory is not None else "-"
    return (
        sample.name, sample.state, str(sample.pid or "-"), _percent(sample.cpu, "-"),
        memory, size(sample.limit) if sample.limit else "-",
        _count(sample.processes, "-"), _count(sample.open_files, "-"), _rate(sample.calls, "-"),
    )  # fmt: skip


def clock() -> str:
    """Return the time of day, as a note may have it."""
    return time.strftime("%H:%M:%S")


def size(count: int) -> str:
    """Say a number of bytes in three or four digits."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if count >= unit:
            return (
                f"{count / unit:.0f} {name}"
                if count >= 100 * unit or name == "MiB"
                else f"{count / unit:.3g} {name}"
            )
    return f"{count / 2**10:.0f} KiB"


def _percent(value: float | None, missing: str = "") -> str:
    return f"{value:.0f} %" if value is not None else missing or _missing()


def _count(value: int | None, missing: str = "") -> str:
    return f"{value:,}" if value is not None else missing or _missing()


def _rate(value: float | None, missing: str = "") -> str:
    if value is None:
        return missing or _missing()
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _missing() -> str:
    return f'<span style="color:{DIM}">&ndash;</span>'
