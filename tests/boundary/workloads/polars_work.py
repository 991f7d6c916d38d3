"""A lazy query over a CSV file."""

import polars as pl

frame = pl.DataFrame({"k": [n % 5 for n in range(20_000)], "v": list(range(20_000))})
frame.write_csv("p.csv")
frame.write_parquet("p.parquet")
got = pl.scan_csv("p.csv").group_by("k").agg(pl.col("v").sum()).sort("k").collect()
assert got["v"].sum() == 20_000 * 19_999 // 2
assert pl.scan_parquet("p.parquet").filter(pl.col("k") == 3).collect().height == 4000
