"""Tables from and to CSV and Parquet, groups, time zones."""

import numpy as np
import pandas as pd

frame = pd.DataFrame(
    {
        "city": np.array(["Bern", "Köln", "Łódź"])[np.arange(30_000) % 3],
        "value": np.random.default_rng(0).normal(size=30_000),
        "time": pd.date_range("2024-01-01", periods=30_000, freq="min", tz="Europe/Berlin"),
    }
)
frame.to_csv("frame.csv", index=False)
read = pd.read_csv("frame.csv", parse_dates=["time"])
assert np.allclose(read.value, frame.value)
frame.to_parquet("frame.parquet")
back = pd.read_parquet("frame.parquet")
assert back.equals(frame)
means = frame.groupby("city").value.agg(["mean", "std", "count"])
assert means["count"].sum() == 30_000
assert len(frame.set_index("time").value.resample("D").mean()) == 21
assert frame.merge(means, left_on="city", right_index=True).shape == (30_000, 6)
