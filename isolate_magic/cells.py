"""One cell under way: where its output goes, and how long it may take (host)."""

from __future__ import annotations

from typing import Any

from isolate_magic.errors import CellTimeout
from isolate_magic.output import Sink
from isolate_magic.process import Process
from isolate_magic.watch import watch

_GRACE = 2.0  # seconds between the interrupt and the kill


def timed(process: Process, timeout: float, title: str, cell: tuple[str, int, int, bool]) -> Any:
    """Run a cell under a time limit."""
    __tracebackhide__ = True
    number = next(process.talk.numbers)
    limit = _Limit(process, timeout, number)
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


class _Limit:
    """Interrupt a request after some seconds, and kill its process if that does not help."""

    def __init__(self, process: Process, seconds: float, number: int) -> None:
        self.process = process
        self.number = number
        self.seconds = seconds
        self.struck = False
        self.alarm = watch().later(seconds, self._strike)

    def _strike(self) -> None:
        self.struck = True
        self.process.interrupt(self.number)
        self.alarm = watch().later(_GRACE, self._kill)

    def _kill(self) -> None:
        self.process.kill("timeout", f"killed at its time limit of {self.seconds:g} s", 0.1)

    def cancel(self) -> None:
        """Forget the limit; the cell is over."""
        self.alarm.cancel()
