"""The commands of `%isolate` for what has come of cells: result, crashes, replay (face)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as Late
from typing import Any

from IPython.core.error import UsageError

from isolate_magic.face import replaying
from isolate_magic.face.options import Option, seconds
from isolate_magic.face.orders import Command, Order
from isolate_magic.registry import crashes
from isolate_magic.report import CrashReport

TIMEOUT = Option(
    ("-t", "--timeout"),
    "wait no longer than that; the cell goes on",
    "SECONDS", "a number of seconds", seconds,
)  # fmt: skip


def _result(order: Order) -> Any:
    companion = order.existing()
    recent = companion.background.recent
    if not recent:
        raise UsageError(
            f"no cell has run in the background of companion {companion.name!r}; %%isolated -b does"
        )
    handle = recent[-1]
    try:
        value = handle.result(order.options.timeout)
    except Late:
        if handle.done():  # an error of the cell's own, of the same class
            raise
        raise UsageError(f"{handle.title} is still {handle.status}; it goes on") from None
    except CancelledError:
        raise UsageError(f"{handle.title} was {handle.status}, and has no value") from None
    if value is None:
        print(f"{handle.title} has ended without a value")
    return value


class Crashes:
    """Show how companions died, the newest last.

    Args:
        reports: their reports.
    """

    def __init__(self, reports: Sequence[CrashReport]) -> None:
        self._reports = reports

    def __repr__(self) -> str:
        if not self._reports:
            return "no companion has crashed"
        lines = []
        for number, report in enumerate(self._reports, 1):
            when = time.strftime("%H:%M:%S", time.localtime(report.time))
            lines.append(f"{number:>3}  {when}  {report.headline}")
        return "\n".join([*lines, "%isolate crashes N shows one"])


def _crashes(order: Order) -> Any:
    chosen = [report for report in crashes if order.name in (None, report.companion)]
    if not order.words:
        return Crashes(chosen)
    word = order.words[0]
    if not word.isdigit():
        raise UsageError(
            f"%isolate crashes takes the number of a crash, not {word!r}; -c NAME chooses a companion"
        )
    if not 0 < int(word) <= len(chosen):
        raise UsageError(f"there is no crash {word}; {len(chosen)} are known")
    report = chosen[int(word) - 1]
    shown = {"text/plain": str(report), "text/html": report._repr_html_()}
    order.shell.display_pub.publish(data=shown, metadata={})
    return None


def _replay(order: Order) -> None:
    replaying.replay(order.shell, order.existing())


COMMANDS = (
    Command("result", "wait for its last cell in the background, and show the value", _result,
            options=(TIMEOUT,)),
    Command("crashes", "list the last crashes, or show the report of one", _crashes, "[NUMBER]"),
    Command(
        "replay", "run the cells again that a crash or a restart has undone", _replay,
        more="The cells of the process before run in their order, with the names that they took along as\n"
        "they are bound now; their output is not shown again. The cell that killed it is left out.",
    ),
)  # fmt: skip
