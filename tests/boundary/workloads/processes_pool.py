"""A pool and a queue."""

import math
import multiprocessing as mp

ctx = mp.get_context("fork")
with ctx.Pool(2) as pool:
    assert pool.map(math.factorial, range(10))[-1] == 362_880
queue = ctx.Queue()
p = ctx.Process(target=lambda: queue.put({"n": list(range(1000))}))
p.start()
assert len(queue.get(timeout=10)["n"]) == 1000
p.join(10)
lock = ctx.Lock()
with lock:
    pass
