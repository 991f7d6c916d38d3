"""One cell under way: where its output goes, and how long it may take (host)."""

from __future__ import annotations

from typing import Any

from isolate_magic.errors import CellTimeout
from isolate_magic.output import Sink
from isolate_magic.process import Process
from isolate_magic.timelimit import Limit


def timed(process: Process, timeout: float, title: str, cell: tuple[str, int, int, bool]) -> Any:
    """Run a cell under a time limit; that of the policy holds anyway."""
    __tracebackhide__ = True
    wall = process.policy.wall
    if wall is not None and wall <= timeout:
        return process.talk.execute(title, cell)
    number = next(process.talk.numbers)
    limit = Limit(process, timeout, number)
    try:
        return process.talk.execute(title, cell, number)
    except KeyboardInterrupt:
        if not limit.struck:
            raise
        raise CellTimeout(f"{title} was interrupted after {timeout:g} s; the companion lives on") from None
    finally:
        limit.cancel()


class Shown:
    """Show output in a sink for the length of a cell."""

    def __init__(self, process: Process, sink: Sink | None) -> None:
        self.process = process
        self.sink = sink

    def __enter__(self) -> None:
        self.before = self.process.output.sink
        if self.sink is not None:
            self.process.output.sink = self.sink
        self.process.output.begin()

    def __exit__(self, *exc: object) -> None:
        self.process.output.finish()
        self.process.output.sink = self.before
