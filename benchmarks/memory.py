"""Memory: what one more companion costs that it shares with nobody (USS), numpy and pandas preloaded."""

from __future__ import annotations

import time

import psutil

from benchmarks import things
from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn


class Ours(Contestant):
    """Weigh one more companion, while another one is there."""

    measures_itself = True

    def __init__(self) -> None:
        from isolate_magic import Companion

        self.first = Companion("first", preload=["numpy", "pandas"])
        self.second = Companion("second", preload=["numpy", "pandas"])
        self.first.call(things.use_both)

    def idle(self, _number: int) -> float:
        """Weigh a companion that has run one small cell."""
        return self._weigh("1+1")

    def used(self, _number: int) -> float:
        """Weigh a companion that has worked with pandas."""
        return self._weigh("from benchmarks.things import work_a_little as work; work()")

    def _weigh(self, code: str) -> float:
        self.second.restart()
        self.second.run(code)
        time.sleep(0.5)
        return _uss(self.second.pid or 0)

    def zygote(self, _number: int) -> float:
        """Weigh the zygote, which is paid for once."""
        return _uss(psutil.Process(self.first.pid).ppid())

    def stop(self) -> None:
        """End both."""
        self.first.close()
        self.second.close()


def _uss(pid: int) -> float:
    return float(psutil.Process(pid).memory_full_info().uss)


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section; a weight does not scatter, so a few rounds will do."""
    field.enter({"ours": ("memory:Ours", {}), "ipykernel": ("kernels:Memory", {})})
    turns = [
        Turn("idle ours", "ours", "idle"),
        Turn("idle ipykernel", "ipykernel", "idle"),
        Turn("used ours", "ours", "used"),
        Turn("used ipykernel", "ipykernel", "used"),
        Turn("zygote ours", "ours", "zygote"),
    ]
    return field.rounds(turns, 1 if quick else 3, warm_up=False)
