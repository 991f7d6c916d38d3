"""Numbers in memory that forks share, without a lock."""

import multiprocessing as mp

ctx = mp.get_context("fork")
shared = ctx.Array("d", 10, lock=False)


def fill():
    shared[:] = [1.5] * 10


p = ctx.Process(target=fill)
p.start()
p.join(10)
assert sum(shared) == 15
