"""Processes that loky keeps."""

import numpy as np
from joblib import Parallel, delayed

big = np.ones(300_000)  # which joblib maps into memory for the workers
assert Parallel(n_jobs=2)(delayed(np.sum)(big * n) for n in range(4)) == [0, 3e5, 6e5, 9e5]
