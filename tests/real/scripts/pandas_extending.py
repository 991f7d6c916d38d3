"""Accessors, subclasses, styled tables, plots and errors: what grows around pandas."""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd


@pd.api.extensions.register_dataframe_accessor("geo")
class Geo:
    """Tell where the points of a table are."""

    def __init__(self, frame):
        if not {"lat", "lon"} <= set(frame.columns):
            raise AttributeError("must have lat and lon")
        self._frame = frame

    @property
    def centre(self):
        return float(self._frame.lat.mean()), float(self._frame.lon.mean())

    def shifted(self, by):
        return self._frame.assign(lat=self._frame.lat + by)


class Ledger(pd.DataFrame):
    """A table with a balance."""

    @property
    def _constructor(self):
        return Ledger

    def balance(self):
        return self["in"].sum() - self["out"].sum()


places = pd.DataFrame({"lat": [46.9, 47.5], "lon": [7.4, 7.6]}, index=["Bern", "Basel"])
centre = places.geo.centre
shifted = places.geo.shifted(1)

ledger = Ledger({"in": [10, 20, 0], "out": [0, 5, 7]})
late = ledger[ledger["out"] > 0]

fig, ax = plt.subplots(figsize=(4, 3))
places.plot.scatter(x="lon", y="lat", ax=ax)
ledger.cumsum().plot(ax=ax, style=["-", "--"], legend=True)
buffer = io.BytesIO()
fig.savefig(buffer, dpi=40)
bars = ledger.plot.bar(figsize=(3, 2))
heights = [float(patch.get_height()) for patch in bars.patches]
plt.close("all")

styled = places.style.format("{:.1f}").map(lambda value: "color: red" if value > 47 else "").to_html(uuid="x")

problems = []
for attempt in (
    lambda: pd.DataFrame({"x": [1]}).geo,
    lambda: places.loc["Zug"],
    lambda: places.apply(lambda row: 1 / (row.lat - row.lat), axis=1).astype(int),
    lambda: pd.DataFrame({"a": [1, 2], "b": [1]}),
):
    try:
        attempt()
    except Exception as error:
        problems.append((type(error).__name__, str(error).splitlines()[0]))

for index in range(3):
    ledger.loc[len(ledger)] = {"in": index, "out": 1}
ledger["note"] = [f"n{i}" for i in range(len(ledger))]
text = ledger.to_string(index=False)
sections = {key: group.shape for key, group in ledger.groupby(ledger["in"] > 5)}
counts = ledger["note"].str[0].value_counts().to_dict()
table = ledger.set_index("note").transform(lambda column: column - column.min())
rolled = ledger["in"].rolling(2).apply(lambda window: sorted(window)[-1])
windows = [list(window) for window in ledger["in"].rolling(2)]
stacked = places.stack().reset_index(name="value").to_dict("list")
excel_like = places.to_csv(sep=";", float_format="%.2f").split("\n")
frame = pd.concat({"a": places, "b": places + 1}, names=["which"])
inner = frame.xs("b", level="which")

results = {
    "centre": centre,
    "shifted": shifted,
    "balance": ledger.balance(),
    "late": (type(late).__name__, late.balance()),
    "is": isinstance(late, Ledger) and isinstance(late, pd.DataFrame),
    "picture": buffer.getvalue(),
    "heights": heights,
    "styled": styled,
    "problems": problems,
    "text": text,
    "sections": sections,
    "counts": counts,
    "table": table.to_dict(),
    "rolled": rolled,
    "windows": windows,
    "stacked": stacked,
    "csv": excel_like,
    "inner": inner,
    "levels": frame.index.nlevels,
}
