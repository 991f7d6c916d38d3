"""Processes of multiprocessing."""

from joblib import Parallel, delayed

assert Parallel(n_jobs=2, backend="multiprocessing")(delayed(pow)(n, 2) for n in range(20))[-1] == 361
