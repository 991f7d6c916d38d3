"""Fit a line, solve a system, take matrices apart."""

import numpy as np
from numpy.linalg import norm, solve

rng = np.random.default_rng(7)
a = rng.normal(size=(6, 4))
b = rng.normal(size=6)

# least squares, three ways
x, residuals, rank, singular = np.linalg.lstsq(a, b, rcond=None)
normal = solve(a.T @ a, a.T @ b)
pseudo = np.linalg.pinv(a) @ b
assert np.allclose(x, normal)
assert np.allclose(x, pseudo)

# decompositions
u, s, vh = np.linalg.svd(a, full_matrices=False)
rebuilt = u @ np.diag(s) @ vh
decomposition = np.linalg.qr(a)
values, vectors = np.linalg.eigh(a.T @ a)
order = values.argsort()[::-1]
values, vectors = values[order], vectors[:, order]

# a power iteration in a loop, as in a lecture
v = np.ones(4)
matrix = a.T @ a
for step in range(50):
    w = matrix @ v
    v = w / norm(w)
largest = v @ matrix @ v

try:
    np.linalg.inv(np.zeros((3, 3)))
except np.linalg.LinAlgError as error:
    singular_message = str(error)

with np.errstate(divide="ignore", invalid="ignore"):
    odd = np.array([1.0, -1.0, 0.0]) / np.zeros(3)

blocks = np.block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 2)), np.array([[5.0]])]])
c = np.einsum("ij,ik->jk", a, a)
outer = np.einsum("i,j->ij", np.arange(3), np.arange(4))
trace = np.einsum("ii", matrix)

rank_text = f"rank {rank}, largest singular value {s[0]:.4f}"
print(rank_text)

results = {
    "x": x,
    "residuals": residuals,
    "singular": singular.tolist(),
    "rank": int(rank),
    "rebuilt": np.abs(rebuilt - a).max() < 1e-12,
    "q": decomposition.Q.shape,
    "r": np.triu(decomposition.R),
    "values": values,
    "largest": float(largest),
    "message": singular_message,
    "odd": odd,
    "blocks": blocks,
    "determinant": np.linalg.det(blocks),
    "c": c,
    "outer": outer,
    "trace": trace,
    "text": rank_text,
    "sum_of_rows": [row.sum() for row in a],
    "shape": a.shape,
    "first": a[0, 0].item(),
    "norms": [norm(row) for row in a],
}
