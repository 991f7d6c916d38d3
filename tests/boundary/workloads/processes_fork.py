"""A forked process that tells its result through a pipe."""

import multiprocessing as mp

ctx = mp.get_context("fork")
here, there = ctx.Pipe()


def work(end):
    end.send(sum(range(1000)))
    end.close()


p = ctx.Process(target=work, args=(there,))
p.start()
assert here.recv() == 499_500
p.join(10)
assert p.exitcode == 0
