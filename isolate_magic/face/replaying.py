"""What cells have run in a companion, so that they can run again in the next one (face)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from isolate_magic.companion import Companion
from isolate_magic.errors import CellTimeout, ProcessTerminationError

if TYPE_CHECKING:
    from isolate_magic.face.cell import Order

_MOST = 1000  # cells that are remembered of one companion


@dataclass
class Ran:
    """One cell that has run.

    Attributes:
        order: what it asked for.
        life: which process of its companion it ran in.
        outcome: `ran`, `failed`, `stopped` or `killed`; empty while it runs.
        error: the name of the exception's class, or "".
    """

    order: Order
    life: int
    outcome: str = ""
    error: str = ""

    @property
    def title(self) -> str:
        """Tell what it is called."""
        if not self.order.source:
            return f"push {','.join(self.order.inputs)}"
        return f"Cell In[{self.order.number}]"


_ran: WeakKeyDictionary[Companion, deque[Ran]] = WeakKeyDictionary()


@contextmanager
def noted(companion: Companion, order: Order) -> Iterator[None]:
    """Remember a cell for as long as its companion is there, with what has come of it."""
    companion.start()
    if not order.source.strip() and not order.inputs:
        yield
        return
    one = Ran(order, companion.restarts)
    _ran.setdefault(companion, deque(maxlen=_MOST)).append(one)
    try:
        yield
    except ProcessTerminationError as error:
        one.outcome, one.error = "killed", type(error).__name__
        raise
    except (KeyboardInterrupt, CellTimeout) as error:
        one.outcome, one.error = "stopped", type(error).__name__
        raise
    except BaseException as error:
        one.outcome, one.error = "failed", type(error).__name__
        raise
    else:
        one.outcome = "ran"


def lost(companion: Companion) -> list[Ran]:
    """Return the cells whose effects are gone with their process, oldest first.

    Those are the cells, and the names that `%isolate push` has bound, of the last process before the one
    that there is now, and, where that came after a crash, of the one before; what has run again since then is
    left out.
    """
    now = companion.restarts if companion.pid else companion.restarts + 1
    before = [one for one in _ran.get(companion, ()) if one.outcome and one.life < now]
    found: list[Ran] = []
    for life in sorted({one.life for one in before}, reverse=True):
        cells = [one for one in before if one.life == life]
        if found and not any(one.outcome == "killed" for one in cells):
            break
        seen = {(one.order.source, *one.order.inputs) for one in found}
        found = [one for one in cells if (one.order.source, *one.order.inputs) not in seen] + found
    return found


def forget(companion: Companion, done: Ran) -> None:
    """Forget a cell that has run again."""
    cells = _ran.get(companion, deque())
    if done in cells:
        cells.remove(done)


def replay(shell: Any, companion: Companion) -> None:
    """Run lost cells again in their order, and say how it goes; stop where one fails that did not before.

    Args:
        shell: the main session's.
        companion: where they have run and shall run.

    Raises:
        Exception: what that one has raised.
    """
    from isolate_magic.face import cell

    cells = lost(companion)
    if not cells:
        print(f"{companion.name}: nothing to replay; no cell is lost")
        return
    left_out = [one for one in cells if one.outcome in ("killed", "stopped")]
    for one in left_out:
        why = "it killed the companion" if one.outcome == "killed" else "it was interrupted"
        print(f"{one.title} left out: {why}")
        forget(companion, one)
    cells = [one for one in cells if one not in left_out]
    companion.start()
    for place, one in enumerate(cells, 1):
        print(f"[{place}/{len(cells)}] {one.title} ", end="", flush=True)
        begun = time.monotonic()
        try:
            cell.again(shell, companion, one.order)
        except ProcessTerminationError:
            print("killed the companion")
            raise
        except Exception as error:  # border: a cell may raise anything, and may have done so before
            if one.outcome != "failed" or one.error != type(error).__name__:
                print(f"failed: {type(error).__name__}; stopped here, `%isolate replay` goes on from it")
                raise
            print(f"failed as before: {one.error}")
        else:
            print(f"{time.monotonic() - begun:.1f} s")
        forget(companion, one)
