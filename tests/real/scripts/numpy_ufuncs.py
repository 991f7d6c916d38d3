"""Ufuncs with out= and where=, functions of one's own, broadcasting and indexing."""

import math

import numpy as np

x = np.linspace(0, 2 * np.pi, 9)
y = np.empty_like(x)
returned = np.sin(x, out=y)
assert returned is y

safe = np.zeros(5)
np.divide(np.ones(5), np.arange(5), out=safe, where=np.arange(5) != 0)
running = np.add.accumulate([1, 2, 3, 4])
table = np.multiply.outer(range(1, 4), range(1, 5))
product = np.multiply.reduce([1, 2, 3, 4])
grown = np.zeros(4, dtype=int)
np.add.at(grown, [0, 1, 1, 3], 1)


# functions of the user's
def clip_or_fold(value, limit):
    """Fold at the limit."""
    return value if value < limit else limit - (value - limit)


calls = []


def noted(value):
    calls.append(value)
    return math.floor(value * 10) / 10


fold = np.vectorize(clip_or_fold)
folded = fold(np.arange(6.0), 3)
rounded = np.vectorize(noted, otypes=[float])(x)
spreads = np.apply_along_axis(lambda row: row.max() - row.min(), 1, np.arange(12).reshape(3, 4) ** 2)
text = np.frompyfunc(lambda n: "x" * n, 1, 1)(np.arange(3))
grid = np.fromfunction(lambda i, j: 10 * i + j, (2, 3))
pieces = np.piecewise(x, [x < 2, x >= 2], [lambda v: -v, lambda v: v**2])

# broadcasting
points = np.array([[0, 0], [3, 4], [6, 8]])
distances = np.sqrt(((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=-1))
normed = (points - points.mean(axis=0)) / points.std(axis=0)

# indexing
a = np.arange(24).reshape(2, 3, 4)
a[..., -1] = -1
a[a % 7 == 0] *= 100
picked = a[[0, 1], [2, 0]]
column = a[:, 1, ::2]
swapped = a.transpose(2, 0, 1).copy()
a += 1
a[0] -= 5
stacked = np.concatenate([np.zeros((1, 3, 4), dtype=int), a])
chosen = np.where(a > 10, a, -a)
largest = max(a.flat)
listed = [int(v) for v in a[0, 0]]

# arithmetic with the other side's numbers and lists
weights = [0.5, 0.25, 0.25]
score = np.dot(weights, [3.0, 4.0, 8.0])
half = 0.5 * x + 1
sums = [2, 3] + np.array([1, 1])
inverse = 1 / np.array([2.0, 4.0])
total = sum(x)
equal = np.array([1, 2]) == [1, 3]
numbers = range(10)[np.int64(2) : np.int64(5)]

results = {
    "y": y,
    "safe": safe,
    "running": running,
    "table": table,
    "product": product,
    "grown": grown,
    "folded": folded,
    "rounded": rounded,
    "calls": len(calls),
    "spreads": spreads,
    "text": text.tolist(),
    "grid": grid,
    "pieces": pieces,
    "distances": distances,
    "normed": normed,
    "picked": picked,
    "column": column,
    "swapped": swapped,
    "stacked": stacked.shape,
    "chosen": chosen,
    "largest": largest,
    "listed": listed,
    "score": score,
    "half": half,
    "sums": sums,
    "inverse": inverse,
    "total": total,
    "equal": equal,
    "numbers": list(numbers),
    "strides": a.strides,
    "flags": (a.flags.c_contiguous, a.T.flags["F_CONTIGUOUS"]),
    "info": (np.finfo(np.float32).eps, np.iinfo("int16").max),
    "dtype": a.dtype == np.int64,
    "poly": np.poly1d([1, -3, 2])(4),
    "roots": sorted(np.roots([1, -3, 2])),
}
