"""Optimise, integrate, interpolate, filter, transform; sparse matrices."""

import numpy as np
from scipy import fft, integrate, interpolate, ndimage, optimize, signal, sparse, spatial, stats
from scipy.sparse.linalg import eigsh, spsolve

assert abs(optimize.minimize(lambda v: ((v - 3) ** 2).sum(), np.zeros(4)).x - 3).max() < 1e-4
assert abs(integrate.quad(np.sin, 0, np.pi)[0] - 2) < 1e-9
assert interpolate.CubicSpline([0, 1, 2], [0, 1, 4])(1.5) > 2
assert np.allclose(fft.ifft(fft.fft(np.ones(1 << 12), workers=2), workers=2), 1)
m = sparse.diags([2.0, -1.0, -1.0], [0, -1, 1], shape=(500, 500), format="csc")
assert np.allclose(m @ spsolve(m, np.ones(500)), 1)
assert eigsh(m, 2, which="LA")[0].max() < 4
assert stats.norm.fit(stats.norm.rvs(size=2000, random_state=1))[1] > 0.9
assert spatial.cKDTree(np.random.rand(1000, 3)).query(np.random.rand(10, 3), workers=2)[0].shape == (10,)
assert signal.welch(np.random.rand(1000))[0].size
assert ndimage.gaussian_filter(np.eye(50), 2).sum() > 0
r = optimize.differential_evolution(lambda v: (v**2).sum(), [(-1, 1)] * 2, seed=1, maxiter=20)
assert r.fun < 1e-3
