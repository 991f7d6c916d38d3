"""Expressions, groups, windows and functions of one's own."""

import datetime as dt

import polars as pl

df = pl.DataFrame(
    {
        "city": ["Bern", "Basel", "Bern", "Zug", "Basel", "Bern"],
        "day": [dt.date(2024, 5, n) for n in range(1, 7)],
        "rain": [1.5, 0.0, None, 3.25, 2.0, 0.5],
        "visitors": [120, 80, 95, 20, 60, 150],
    }
)

wet = df.filter((pl.col("rain") > 0.4) & (pl.col("city") != "Zug"))
summed = (
    df.group_by("city", maintain_order=True)
    .agg(
        pl.len().alias("days"),
        pl.col("visitors").sum(),
        pl.col("rain").mean().round(2).alias("mean rain"),
        pl.col("visitors").filter(pl.col("rain") > 1).max().alias("best wet"),
    )
    .sort("visitors", descending=True)
)
extended = df.with_columns(
    pl.col("rain").fill_null(0.0),
    (pl.col("visitors") / pl.col("visitors").sum().over("city")).alias("share"),
    pl.col("visitors").rank("dense").cast(pl.Int64).alias("rank"),
    pl.when(pl.col("visitors") > 90).then(pl.lit("busy")).otherwise(pl.lit("quiet")).alias("mood"),
    weekday=pl.col("day").dt.weekday(),
    short=pl.col("city").str.slice(0, 2).str.to_uppercase(),
)
mapped = df.select(pl.col("visitors").map_elements(lambda n: n // 10 * 10, return_dtype=pl.Int64))
labels = {"Bern": "BE", "Basel": "BS"}
named = df.select(
    pl.col("city").map_elements(lambda city: labels.get(city, "?"), return_dtype=pl.String).alias("canton")
)
batched = df.select(pl.col("visitors").map_batches(lambda series: series * 2, return_dtype=pl.Int64))
pivoted = df.pivot(on="city", index="day", values="visitors")
rolled = df.select(pl.col("visitors").rolling_mean(window_size=2))
ranges = df.group_by_dynamic("day", every="3d").agg(pl.col("visitors").sum())

rows = [f"{row['city']}: {row['visitors']}" for row in df.iter_rows(named=True)]
tuples = [row for row in df.head(2).iter_rows()]
parts = {key[0]: part.height for key, part in df.group_by("city", maintain_order=True)}
total = 0
for value in df["visitors"]:
    total += value
series = pl.Series("n", [3, 1, 2])
doubled = (series * 2 + 1).sort()
first = df[0, "city"]
column = df["rain"].to_list()
ends = df[-2:, ["city", "visitors"]]

try:
    df.select("nothing")
except pl.exceptions.ColumnNotFoundError as error:
    missing = "nothing" in str(error)

print(df)

results = {
    "wet": wet.to_dicts(),
    "summed": summed.to_dict(as_series=False),
    "extended": extended.to_dicts(),
    "mapped": mapped["visitors"].to_list(),
    "named": named.to_series().to_list(),
    "batched": batched.to_dict(as_series=False),
    "pivoted": pivoted.rows(),
    "rolled": rolled.to_series().to_list(),
    "ranges": ranges.rows(),
    "rows": rows,
    "tuples": tuples,
    "parts": parts,
    "total": total,
    "doubled": doubled.to_list(),
    "first": first,
    "column": column,
    "ends": ends.rows(),
    "missing": missing,
    "schema": {name: str(kind) for name, kind in df.schema.items()},
    "is_int": df.schema["visitors"] == pl.Int64,
    "text": str(df.head(2)),
    "shape": df.shape,
    "numpy": df["visitors"].to_numpy(),
    "null": df["rain"].null_count(),
    "equal": df.equals(df.clone()),
    "columns": df.columns,
    "sum": df["visitors"].sum(),
}
