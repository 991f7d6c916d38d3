"""Structured arrays, dates and masked values of a weather station."""

import datetime

import numpy as np

kind = np.dtype([("station", "U8"), ("when", "datetime64[D]"), ("low", "f4"), ("high", "f4")])
rows = [
    ("north", "2024-02-27", -3.5, 4.0),
    ("south", "2024-02-28", 1.0, 9.25),
    ("north", "2024-02-29", np.nan, 6.5),
    ("south", "2024-03-01", 2.5, 11.0),
]
table = np.array(rows, dtype=kind)
table["high"][table["station"] == "north"] += 0.5
table[1]["low"] = 1.5
by_high = np.sort(table, order="high")
north = table[table["station"] == "north"]
names = [name for name in table.dtype.names if name != "when"]
spread = table["high"] - table["low"]

# dates
days = np.arange("2024-02-26", "2024-03-04", dtype="datetime64[D]")
weekday = np.is_busday(days)
gaps = np.diff(table["when"]).astype(int)
first = table["when"].min()
today = np.datetime64(datetime.date(2024, 3, 10))
ages = (today - table["when"]) / np.timedelta64(1, "W")
as_python = table["when"].tolist()
late = table["when"] > np.datetime64("2024-02-28")

# masked
readings = np.ma.masked_invalid(table["low"])
filled = readings.filled(-999)
average = readings.mean()
masked = np.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 0])
masked[0] = np.ma.masked
is_masked = masked[0] is np.ma.masked

# the rows one by one
lines = []
for record in table:
    lines.append(f"{record['station']:>6} {record['when']} {record['high']:6.2f}")
totals = {}
for station, high in zip(table["station"], table["high"]):
    totals[station] = totals.get(station, 0) + high

unique, counts = np.unique(table["station"], return_counts=True)
texts = np.char.upper(table["station"])
view = table.view(np.recarray)

results = {
    "by_high": by_high,
    "north": north,
    "names": names,
    "spread": spread,
    "weekday": weekday,
    "gaps": gaps,
    "first": first,
    "ages": ages,
    "python": as_python,
    "late": late,
    "filled": filled,
    "average": average,
    "masked": masked.filled(0),
    "count": masked.count(),
    "is_masked": is_masked,
    "lines": lines,
    "totals": {str(name): float(total) for name, total in totals.items()},
    "stations": dict(zip(unique.tolist(), counts.tolist())),
    "texts": texts,
    "attribute": view.high,
    "kind": str(table.dtype),
    "nan": np.isnan(table["low"]).sum(),
    "record": table[0].item(),
}
