"""Arrays with units: a subclass, a wrapper with operators, a cache, a memory of calls."""

import functools

import numpy as np


class Quantity(np.ndarray):
    """An array that knows its unit."""

    def __new__(cls, values, unit=""):
        made = np.asarray(values, dtype=float).view(cls)
        made.unit = unit
        return made

    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", "")

    def to(self, factor, unit):
        return Quantity(self * factor, unit)


class Logged(np.lib.mixins.NDArrayOperatorsMixin):
    """Forward arithmetic to an array and note it."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.log = []

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        inputs = [x.values if isinstance(x, Logged) else x for x in inputs]
        made = Logged(getattr(ufunc, method)(*inputs, **kwargs))
        made.log = [*self.log, ufunc.__name__]
        return made


@functools.cache
def basis(n):
    return np.eye(n)[::-1]


length = Quantity([1.0, 2.5, 4.0], "m")
doubled = length * 2
sliced = length[1:]
feet = length.to(3.28, "ft")
total = length.sum()

logged = Logged([1, 4, 9])
answer = np.sqrt(logged) + 1
both = 10 - logged

first = basis(3)
again = basis(3)


def newton(f, x, step=1e-6):
    for _ in range(20):
        slope = (f(x + step) - f(x - step)) / (2 * step)
        x = x - f(x) / slope
    return x


root = newton(lambda v: v**2 - 2, np.float64(1.0))
roots = newton(lambda v: v**2 - np.array([2.0, 3.0]), np.ones(2))
trapezoids = sum((a + b) / 2 * h for a, b, h in zip(roots[:-1], roots[1:], np.diff(roots)))


def gram_schmidt(rows):
    done = []
    for row in rows:
        for other in done:
            row = row - (row @ other) * other
        done.append(row / np.linalg.norm(row))
    return np.array(done)


orthogonal = gram_schmidt(np.random.default_rng(0).normal(size=(4, 4)))
queue = [np.array([0, 0])]
seen = set()
while queue:
    here = queue.pop()
    key = tuple(int(v) for v in here)
    if key in seen or np.abs(here).sum() > 2:
        continue
    seen.add(key)
    queue.extend(here + step for step in np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]))

matrix = np.zeros((3, 3))
for i in range(3):
    for j in range(3):
        matrix[i, j] = i * 10 + j
matrix[np.diag_indices(3)] = -1
np.fill_diagonal(matrix[:, ::-1], 7)
np.put(matrix, [0, 1], [5, 6])
np.copyto(matrix[2], [1, 2, 3])
view = matrix.T
view[0] += 100

results = {
    "doubled": (np.asarray(doubled), doubled.unit),
    "sliced": sliced.unit,
    "feet": (np.round(np.asarray(feet), 3), feet.unit),
    "total": float(total),
    "is": isinstance(doubled, Quantity) and isinstance(doubled, np.ndarray),
    "answer": (answer.values, answer.log),
    "both": both.values,
    "cached": first is again,
    "hits": basis.cache_info().hits,
    "root": root,
    "roots": roots,
    "trapezoids": trapezoids,
    "orthogonal": np.allclose(orthogonal @ orthogonal.T, np.eye(4)),
    "seen": sorted(seen),
    "matrix": matrix,
}
