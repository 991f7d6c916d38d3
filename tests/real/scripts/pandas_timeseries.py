"""Resample, roll, shift and compare a year of measurements."""

import numpy as np
import pandas as pd

rng = np.random.default_rng(3)
index = pd.date_range("2023-01-01", periods=365, freq="D")
temperature = pd.Series(
    10 + 8 * np.sin(np.arange(365) / 58) + rng.normal(0, 1, 365), index=index, name="temperature"
)

monthly = temperature.resample("MS").agg(["mean", "min", "max"])
weekly = temperature.resample("W").mean()
smooth = temperature.rolling(7, center=True).mean().dropna()
ewm = temperature.ewm(span=10).mean()
change = temperature.diff().abs().nlargest(3)
lagged = temperature.corr(temperature.shift(1))
summer = temperature["2023-06":"2023-08"]
one_day = temperature.loc["2023-03-05"]
weekend = temperature[temperature.index.dayofweek >= 5].mean()
quarter = temperature.groupby(temperature.index.quarter).median()
heat = temperature.rolling(5).apply(lambda window: window.max() - window.min(), raw=True)

holes = temperature.copy()
holes.iloc[10:15] = np.nan
filled = holes.interpolate()
error = (filled - temperature).abs().max()
asof = temperature.asof(pd.Timestamp("2023-05-05 17:00"))

stamp = pd.Timestamp("2023-03-26 01:30", tz="Europe/Zurich")
later = stamp + pd.Timedelta(hours=1)
local = temperature.tz_localize("UTC").tz_convert("Asia/Tokyo").index[0]

frame = temperature.to_frame()
frame["month"] = frame.index.month_name().str[:3]
frame["high"] = np.where(frame.temperature > frame.temperature.mean(), "warm", "cold")
frame["rank"] = frame.groupby("month")["temperature"].rank(method="first").astype(int)
counts = frame.value_counts(["month", "high"]).sort_index()
frame["season"] = pd.cut(frame.index.month, [0, 2, 5, 8, 11, 12], labels=["w", "sp", "su", "a", "w2"])
table = pd.pivot_table(frame, index="month", columns="high", values="temperature", observed=True)
warmest = frame.nlargest(2, "temperature")["month"].tolist()

periods = pd.period_range("2023-01", periods=3, freq="M")
bounds = [(period.start_time.date(), period.days_in_month) for period in periods]
offsets = index[0] + pd.offsets.MonthEnd(2)
business = pd.bdate_range("2023-12-22", "2023-12-29")

streak = best = 0
for day, value in temperature.items():
    streak = streak + 1 if value > 12 else 0
    best = max(best, streak)

results = {
    "monthly": monthly,
    "weekly": weekly.head(),
    "smooth": smooth.iloc[:5].tolist(),
    "ewm": ewm.iloc[-1],
    "change": change,
    "lagged": lagged,
    "summer": len(summer),
    "one_day": one_day,
    "weekend": weekend,
    "quarter": quarter,
    "heat": heat.max(),
    "error": error,
    "asof": asof,
    "later": later.isoformat(),
    "is_later": later > stamp,
    "local": str(local),
    "frame": frame.head(10),
    "counts": counts,
    "table": table,
    "warmest": warmest,
    "bounds": bounds,
    "offset": offsets.strftime("%d.%m.%Y"),
    "business": [day.isoformat() for day in business],
    "python": index[0].to_pydatetime(),
    "streak": best,
    "numpy": temperature.to_numpy()[:3],
    "values": temperature.values[-2:],
    "freq": temperature.index.freqstr,
}
