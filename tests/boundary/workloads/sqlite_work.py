"""A database in memory and one in a file, with a journal and with a log."""

import sqlite3

for place in (":memory:", "base.db"):
    base = sqlite3.connect(place)
    base.execute("create table t (a integer primary key, b text)")
    base.executemany("insert into t (b) values (?)", [(str(n),) for n in range(1000)])
    base.commit()
    assert base.execute("select count(*), sum(a) from t").fetchone() == (1000, 500_500)
    base.close()
base = sqlite3.connect("wal.db")
assert base.execute("pragma journal_mode=wal").fetchone() == ("wal",)
base.execute("create table t (a)")
base.commit()
base.execute("vacuum")
base.close()
