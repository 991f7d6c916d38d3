"""Multiply with as many threads as there are CPUs, and ask for more."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

a = np.random.rand(800, 800)
want = a @ a
with threadpool_limits(8):
    assert np.allclose(a @ a, want)
assert threadpool_info()
