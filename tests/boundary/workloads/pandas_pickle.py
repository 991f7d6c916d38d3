"""Keep a table in a pickle, in JSON and in sqlite."""

import sqlite3

import pandas as pd

frame = pd.DataFrame({"a": range(100), "b": [str(n) for n in range(100)]})
frame.to_pickle("frame.pkl")
assert pd.read_pickle("frame.pkl").equals(frame)
frame.to_json("frame.json", orient="records")
with sqlite3.connect("frame.db") as base:
    frame.to_sql("frame", base, index=False)
    assert pd.read_sql("select sum(a) as s from frame", base).s[0] == 4950
