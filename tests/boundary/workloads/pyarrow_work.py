"""Datasets, compression and memory maps with pyarrow's own threads."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

table = pa.table({"n": list(range(50_000)), "s": ["x" * (n % 7) for n in range(50_000)]})
pq.write_table(table, "t.parquet", compression="zstd")
pq.write_to_dataset(table.slice(0, 1000), "parts")
assert pc.sum(pq.read_table("t.parquet", memory_map=True)["n"]).as_py() == 50_000 * 49_999 // 2
assert ds.dataset("parts").count_rows() == 1000
