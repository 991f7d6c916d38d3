"""Save and load arrays through files, buffers and texts."""

import io
import tempfile
from pathlib import Path

import numpy as np

rng = np.random.default_rng(0)
a = rng.normal(size=(5, 3))
b = np.arange(10, dtype=np.int16)

# .npy and .npz in memory
buffer = io.BytesIO()
np.save(buffer, a)
buffer.seek(0)
again = np.load(buffer)

archive = io.BytesIO()
np.savez(archive, first=a, second=b)
archive.seek(0)
with np.load(archive) as loaded:
    members = sorted(loaded.files)
    second = loaded["second"]

# text
csv = io.StringIO("# made by hand\n1,2.5\n3,4.5\n5,6.5\n")
numbers = np.loadtxt(csv, delimiter=",")
named = np.genfromtxt(io.StringIO("a,b\n1,x\n2,y\n"), delimiter=",", names=True, dtype=None, encoding="utf-8")
out = io.StringIO()
np.savetxt(out, numbers, fmt="%.2f", delimiter=";", header="a;b")
lines = out.getvalue().splitlines()

# files
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "a.npy"
    np.save(path, a)
    mapped = np.load(path, mmap_mode="r")
    mapped_sum = mapped[:, 0].sum()
    with open(path, "rb") as file:
        magic = file.read(6)
    a.tofile(Path(folder) / "raw.bin")
    raw = np.fromfile(Path(folder) / "raw.bin").reshape(a.shape)
    np.savetxt(Path(folder) / "b.txt", b, fmt="%d")
    text = (Path(folder) / "b.txt").read_text()

# bytes
packed = b.tobytes()
unpacked = np.frombuffer(packed, dtype=np.int16)
memory = bytes(b)
shown = np.array2string(a, precision=2, suppress_small=True)
with np.printoptions(precision=3):
    short = repr(a[0])

results = {
    "again": again,
    "members": members,
    "second": second,
    "numbers": numbers,
    "named": named["a"],
    "names": named.dtype.names,
    "lines": lines,
    "mapped": mapped_sum,
    "magic": magic,
    "raw": raw,
    "text": text,
    "packed": packed,
    "unpacked": unpacked,
    "memory": memory,
    "shown": shown,
    "short": short,
    "str": str(b),
    "format": f"{a[0, 0]:.3f}",
    "nbytes": a.nbytes,
}
