"""A process that begins with a new interpreter."""

import multiprocessing as mp
from pathlib import Path

Path("spawned_task.py").write_text("def work(end):\n    end.send(42)\n")
import spawned_task  # noqa: E402

ctx = mp.get_context("spawn")
here, there = ctx.Pipe()
p = ctx.Process(target=spawned_task.work, args=(there,))
p.start()
assert here.recv() == 42
p.join(20)
assert p.exitcode == 0
