"""Compile on the fly, keep it on disk, use threads."""

import numba
import numpy as np


@numba.njit
def total(a):
    s = 0.0
    for x in a:
        s += x
    return s


@numba.njit(parallel=True)
def squares(a):
    out = np.empty_like(a)
    for i in numba.prange(a.size):
        out[i] = a[i] ** 2
    return out


assert total(np.ones(1000)) == 1000
assert squares(np.arange(10.0))[3] == 9
