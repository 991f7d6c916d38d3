"""Lazy queries, joins, reshaping and files."""

import io
import tempfile
from pathlib import Path

import polars as pl
from polars import col
from polars import selectors as cs

CSV = """id,name,team,points
1,Ada,blue,10
2,Bob,red,
3,Cyd,blue,7
4,Dan,green,12
"""

people = pl.read_csv(io.StringIO(CSV))
raw = pl.read_csv(CSV.encode(), schema_overrides={"points": pl.Float64})
teams = pl.DataFrame({"team": ["blue", "red", "black"], "city": ["Bern", "Basel", "Brig"]})

query = (
    people.lazy()
    .join(teams.lazy(), on="team", how="left")
    .with_columns(points=col("points").fill_null(strategy="zero"))
    .filter(col("points") >= 0)
    .group_by("team")
    .agg(col("points").sum(), col("name").sort().alias("names"), col("city").first())
    .sort("team")
)
plan = query.explain()
result = query.collect()

left = people.join(teams, on="team", how="left")
inner = people.join(teams, on="team")
anti = people.join(teams, on="team", how="anti")
full = people.join(teams, on="team", how="full", coalesce=True).sort("id", nulls_last=True)
stacked = pl.concat([people.head(1), people.tail(1)])
long = people.unpivot(on=["points"], index="name").sort("name")
exploded = result.explode("names").select("names", "team")
numbers = people.select(cs.numeric().sum())
structs = people.select(pl.struct("name", "points").alias("both"))["both"].to_list()
lists = result.select(col("names").list.len().alias("n"), col("names").list.join("+").alias("joined"))
unique = people["team"].unique().sort().to_list()
counts = people["team"].value_counts(sort=True).sort("team").rows()
piped = people.pipe(lambda frame, n: frame.head(n), 2)
sql = pl.SQLContext(people=people).execute(
    "SELECT team, COUNT(*) AS n FROM people GROUP BY team ORDER BY team"
)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "people.parquet"
    people.write_parquet(path)
    scanned = pl.scan_parquet(path).filter(col("points") > 8).select("name").collect()
    people.write_csv(Path(folder) / "people.csv", separator=";")
    text = (Path(folder) / "people.csv").read_text()

buffer = io.BytesIO()
people.write_ipc(buffer)
buffer.seek(0)
back = pl.read_ipc(buffer)
written = people.write_csv()

with pl.Config(tbl_rows=2, tbl_hide_dataframe_shape=True):
    shown = str(people)

results = {
    "people": people,
    "raw": raw.dtypes == [pl.Int64, pl.String, pl.String, pl.Float64],
    "plan": "JOIN" in plan,
    "result": result.to_dicts(),
    "left": left.rows(),
    "inner": inner.rows(),
    "anti": anti["name"].to_list(),
    "full": full.rows(),
    "stacked": stacked.rows(),
    "long": long.rows(),
    "exploded": exploded.rows(),
    "numbers": numbers.row(0),
    "structs": structs,
    "lists": lists.rows(),
    "unique": unique,
    "counts": counts,
    "piped": piped.height,
    "sql": sql.collect().rows(),
    "scanned": scanned.to_series().to_list(),
    "text": text,
    "back": back.equals(people),
    "written": written,
    "shown": shown,
    "lazy": isinstance(query, pl.LazyFrame),
    "row": people.row(1, named=True),
    "max": people.max().to_dicts(),
    "describe": people.describe().columns,
}
