"""A process that a fork server starts."""

import multiprocessing as mp
from pathlib import Path

Path("served_task.py").write_text("def work(end):\n    end.send(42)\n")
import served_task  # noqa: E402

ctx = mp.get_context("forkserver")
here, there = ctx.Pipe()
p = ctx.Process(target=served_task.work, args=(there,))
p.start()
assert here.recv() == 42
p.join(20)
assert p.exitcode == 0
