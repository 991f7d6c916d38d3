"""The table: what was measured, the ratios, the targets, as text, as Markdown and as data."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection, Iterable, Mapping
from importlib import metadata
from itertools import count, groupby, repeat
from statistics import median
from typing import Any

from benchmarks.harness import Figure
from benchmarks.targets import ROWS, Row, Target

_DISTURBED = 0.15
_SCALES = {"us": 1e6, "ms": 1e3, "MB": 1e-6, "%": 1e2}
_PACKAGES = ("isolate_magic", "ipykernel", "jupyter_client", "rpyc", "numpy", "pandas")
_UNITS = {"us": "µs"}
_NOTED = "ours, none alive"  # stands in the row above already; the ratio names it

Figures = Mapping[str, Figure]


def rows(figures: Figures, sections: Collection[str]) -> list[dict[str, Any]]:
    """Return the rows of these sections as data: numbers in the row's unit, None where there is none."""
    return [_row(row, figures) for row in ROWS if row.section.split()[0].lower() in sections]


def _row(row: Row, figures: Figures) -> dict[str, Any]:
    names = row.peers | {"ours": row.ours}
    values = {column: _value(row, figures.get(name)) for column, name in names.items()}
    foreign = [load for name in names.values() if name in figures for load in figures[name].foreign]
    return {
        "section": row.section, "title": row.title, "unit": row.unit, "values": values,
        "checks": [_check(row, target, values) for target in row.targets],
        "foreign_cpus": round(median(foreign), 2) if foreign else None,
    }  # fmt: skip


def _value(row: Row, figure: Figure | None) -> float | None:
    if figure is None:
        return None
    return row.size / figure.value / 1e9 if row.unit == "GB/s" else figure.value * _SCALES[row.unit]


def _check(row: Row, target: Target, values: Mapping[str, float | None]) -> dict[str, Any]:
    ours, other = values["ours"], values.get(target.peer, 1.0)
    reached = None
    if ours and other:
        # For a speed, more is better: a ratio of speeds has to be turned round.
        better = ours / other if row.unit == "GB/s" else other / ours
        reached = {"value": ours, "times": 1 / better, "faster": better, "above": ours - other}[target.kind]
    met = None
    if reached is not None and target.bound is not None:
        met = reached >= target.bound if target.kind == "faster" else reached <= target.bound
    return {
        "reached": reached, "bound": target.bound, "met": met, "kind": target.kind,
        "at_least": target.kind == "faster", "peer": target.peer,
        "unit": row.unit if target.kind in ("value", "above") else "speed" if row.unit == "GB/s" else "x",
    }  # fmt: skip


# ---------------------------------------------------------------- words


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _quantity(check: Mapping[str, Any], value: float) -> str:
    if check["kind"] == "above":
        sign = "+" if value >= 0 else "-"
        return f"{sign}{_number(abs(value))} {_UNITS.get(check['unit'], check['unit'])}"
    if check["unit"] == "speed":
        return f"{_number(value)} x the speed of the {check['peer']}"
    return f"{_number(value)} x {'faster than ' if check['at_least'] else ''}{check['peer']}"


def _verdict(check: Mapping[str, Any]) -> str:
    if check["bound"] is None:
        return ""
    sign = "at least" if check["at_least"] else "at most"
    bound = f"{sign} {check['bound']:g}" + (
        f" {check['unit']}" if check["kind"] in ("value", "above") else " x"
    )
    return f"{bound}: {'not measured' if check['met'] is None else 'met' if check['met'] else 'missed'}"


def _cells(row: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    checks = row["checks"]
    ratios = [_quantity(check, check["reached"]) for check in checks if check["reached"] and check["peer"]]
    mark = " ~" if (row["foreign_cpus"] or 0) > _DISTURBED else ""
    return [
        row["title"] + mark,
        *(_number(row["values"].get(column)) if column in row["values"] else "" for column in columns),
        "; ".join(ratios),
        "; ".join(filter(None, map(_verdict, checks))),
    ]


def _tables(data: list[dict[str, Any]]) -> Iterable[tuple[str, list[list[str]]]]:
    for section, group in groupby(data, key=lambda row: str(row["section"])):
        found = list(group)
        columns = list(dict.fromkeys(name for row in found for name in row["values"]))
        columns = [name for name in columns if name not in ("ours", _NOTED)]
        unit = _UNITS.get(found[0]["unit"], found[0]["unit"])
        head = [f"{section} ({unit})", *columns, "ours", "ratio", "target"]
        yield section, [head, *(_cells(row, [*columns, "ours"]) for row in found)]


def text(data: list[dict[str, Any]]) -> str:
    """Return the tables as plain text."""
    blocks = []
    for _, table in _tables(data):
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(map(_aligned, count(), line, widths, repeat(len(widths) - 2))).rstrip()
            for line in table
        ]
        blocks.append("\n".join([lines[0], "-" * len(lines[0]), *lines[1:]]))
    return "\n\n".join(blocks) + "\n"


def _aligned(place: int, cell: str, width: int, last: int) -> str:
    return cell.rjust(width) if 0 < place < last else cell.ljust(width)


def markdown(data: list[dict[str, Any]]) -> str:
    """Return the tables in Markdown, as they stand in docs/performance.md."""
    blocks = []
    for _, table in _tables(data):
        ruler = ["---", *["---:"] * (len(table[0]) - 3), "---", "---"]
        blocks.append("\n".join("| " + " | ".join(line) + " |" for line in [table[0], ruler, *table[1:]]))
    return "\n\n".join(blocks) + "\n"


def circumstances(data: list[dict[str, Any]], notes: list[str], seconds: float) -> list[str]:
    """Return sentences about the machine, the versions, and what disturbed or failed."""
    versions = ", ".join(f"{name} {version}" for name in _PACKAGES if (version := _version(name)))
    loads = [row["foreign_cpus"] for row in data if row["foreign_cpus"] is not None] or [0.0]
    disturbed = sum(load > _DISTURBED for load in loads)
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    marked = f"The {disturbed} rows with a ~ were disturbed" if disturbed else "No row was disturbed"
    return [
        f"{time.strftime('%Y-%m-%d %H:%M')}, {seconds:.0f} s; {machine}, {versions}.",
        f"Other programs used {median(loads):.2f} CPUs in the median row and {max(loads):.2f} in the worst.",
        f"{marked} (by more than {_DISTURBED} CPUs).",
        *(f"Not measured: {note.rstrip('.')}." for note in notes),
    ]


def _version(name: str) -> str:
    if name == "isolate_magic":
        from isolate_magic import __version__

        return __version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
