"""Threads, and a cache on disk."""

from joblib import Memory, Parallel, delayed

assert Parallel(n_jobs=2, backend="threading")(delayed(pow)(n, 2) for n in range(20))[-1] == 361
memory = Memory("cache", verbose=0)
slow = memory.cache(lambda n: n + 1)
assert slow(1) == slow(1) == 2
