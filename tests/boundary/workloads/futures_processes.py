"""A pool of processes."""

import math
from concurrent.futures import ProcessPoolExecutor

with ProcessPoolExecutor(2) as pool:
    assert list(pool.map(math.factorial, range(5))) == [1, 1, 2, 6, 24]
