"""One cell under way: where its output goes, and how long it may take (host)."""

from __future__ import annotations

from typing import Any

from isolate_magic.errors import CellTimeout
from isolate_magic.output import Sink
from isolate_magic.process import Process
from isolate_magic.timelimit import Limit


def check(source: object, timeout: float | None) -> None:
    """Raise TypeError or ValueError for what cannot be run."""
    if not isinstance(source, str):
        raise TypeError(f"a cell is text, not {type(source).__name__}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"a timeout of {timeout} s leaves no time; give a positive number of seconds")


def execute(
    process: Process,
    title: str,
    cell: tuple[str, int, int, bool, str],
    timeout: float | None,
    sink: Sink | None,
) -> Any:
    """Run a cell, and show its output meanwhile.

    Args:
        process: the companion's process.
        title: what the crash report calls it.
        cell: source, prompt number, lines before the source, whether the value stays unshown, and the
            request of a kernel that it answers, if it does.
        timeout: seconds after which it is interrupted; the limit of the policy holds anyway.
        sink: where its output goes; None for where that of everything goes.
    """
    __tracebackhide__ = True
    number = next(process.talk.numbers)
    with Shown(process, number, sink):
        wall = process.policy.wall
        if timeout is None or (wall is not None and wall <= timeout):
            return process.talk.execute(title, cell, number)
        limit = Limit(process, timeout, number)
        try:
            return process.talk.execute(title, cell, number)
        except KeyboardInterrupt:
            if not limit.struck:
                raise
            raise CellTimeout(
                f"{title} was interrupted after {timeout:g} s; the companion lives on"
            ) from None
        finally:
            limit.cancel()


class Shown:
    """Show output in a sink for as long as the companion is at work on a cell.

    Several threads may each wait for a cell of theirs, or for a call; the companion is at work on one.

    Args:
        process: the companion's process.
        number: the request that runs the cell.
        sink: shows its output; None leaves that to the cell around it, or the default.
    """

    def __init__(self, process: Process, number: int, sink: Sink | None) -> None:
        self.process = process
        self.number = number
        self.sink = sink

    def __enter__(self) -> None:
        self.process.output.cells.append(self)
        self.process.output.begin()

    def __exit__(self, *exc: object) -> None:
        self.process.output.finish(self.sink)
        self.process.output.cells.remove(self)

    def at_work(self) -> bool:
        """Tell whether what comes now is this cell's output, or that of a request inside it."""
        slots = self.process.talk.slots
        slot = slots.get(self.number)
        if slot is None or slot.frame is not None:  # not asked for yet, or answered
            return False
        return len(slots) == 1 or self.number in self.process.talk.chain()
