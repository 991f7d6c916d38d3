"""Cells that run in the background: a handle for each, and the queue of those of one companion (host)."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Generator
from concurrent import futures
from typing import Any

from isolate_magic import output
from isolate_magic.crew import Crew
from isolate_magic.errand import Errand
from isolate_magic.errors import text_of
from isolate_magic.interrupts import in_main_thread
from isolate_magic.link.peer import GLANCE
from isolate_magic.watch import watch

_QUIET = 1.0  # seconds that somebody waits in silence
_REASON = 200  # characters of an error in one line


class Background(futures.Future[Any]):
    """Stand for a cell that runs in the background; a `concurrent.futures.Future`, which can be awaited too.

    Args:
        companion: the companion's name.
        title: what it is called, as in "cell In[3]".
        work: runs it, in a thread.
        before: the one that it waits for, if there is one.
    """

    def __init__(
        self, companion: str, title: str, work: Callable[[], Any], before: Background | None = None
    ) -> None:
        super().__init__()
        self.before = before
        self.companion = companion
        self.title = title
        self._errand = Errand(work)
        self._since = time.time()
        self._took = 0.0

    def do(self) -> None:
        """Run it, unless it was cancelled before."""
        self.before = None
        if not self._errand.begin():
            return
        self._since = time.time()
        begun = time.monotonic()
        try:
            value = self._errand.do()
        except KeyboardInterrupt:
            self._took = time.monotonic() - begun
            self._give_up()
        except BaseException as error:  # border: it belongs to whoever asks for the result
            self._took = time.monotonic() - begun
            self.set_exception(error)
        else:
            self._took = time.monotonic() - begun
            self.set_result(value)

    def running(self) -> bool:
        """Tell whether it has begun and has not ended."""
        return self._errand.begun and not self.done()

    def cancel(self) -> bool:
        """Interrupt the cell, or keep it from ever beginning; return whether it had not ended before.

        A cell that takes no notice of the interrupt goes on; `companion.kill()` ends it.
        """
        if self.done():
            return self.cancelled()
        if not self._errand.cancel():
            self._give_up()
        return True

    def _give_up(self) -> None:
        # Such a future has never been told that it runs, so this holds at its end too.
        super().cancel()
        self.set_running_or_notify_cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    @property
    def status(self) -> str:
        """Say in a few words how it is."""
        if not self.done():
            before = self.before
            if before is not None and not before.done():
                return f"waits for {before.title}"
            return f"running since {time.strftime('%H:%M:%S', time.localtime(self._since))}"
        if self.cancelled():
            return f"interrupted after {_seconds(self._took)}" if self._errand.begun else "cancelled"
        error = self.exception()
        if error is None:
            return f"done in {_seconds(self._took)}"
        reason = " ".join(text_of(error).split())[:_REASON]
        return f"failed after {_seconds(self._took)}: {type(error).__name__}{f': {reason}' if reason else ''}"

    def __repr__(self) -> str:
        return f"<background {self.title} of companion {self.companion!r}: {self.status}>"

    def _repr_html_(self) -> str:
        kind, _, rest = self.status.partition(" ")
        colour = _COLOURS.get(kind, "var(--jp-ui-font-color2,#616161)")
        mark = f'<span style="color:{colour};font-weight:600">&#9679; {html.escape(kind)}</span>'
        where = f"background {html.escape(self.title)} of companion {html.escape(repr(self.companion))}"
        return f'<div class="isolate-background">{mark} {html.escape(rest)} &middot; {where}</div>'


_COLOURS = {
    "running": "var(--jp-info-color1,#1976d2)", "done": "var(--jp-success-color1,#2e7d32)",
    "failed": "var(--jp-error-color1,#d32f2f)",
}  # fmt: skip


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:,.1f} s"


class Queue:
    """Hold the background cells of one companion; they run one after the other.

    Args:
        name: the companion's.

    Attributes:
        recent: the handles of what has not ended, and the newest at the end; a handle holds its value.
        talk: the conversation with the process that there is now; told when others have to wait.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.talk: Any = None
        self.recent: list[Background] = []
        self._last: Background | None = None
        self._crew = Crew("isolate_magic-background", 1)

    def submit(self, title: str, work: Callable[[], Any]) -> Background:
        """Let some work be done after all that was submitted before, and return its handle."""
        handle = Background(self.name, title, work, self._last)
        self._last = handle
        self.keep(handle)
        self.note(self.talk)
        handle.add_done_callback(self._ended)
        self._crew.do(handle.do)
        return handle

    def keep(self, handle: Background) -> None:
        """Let a handle be the newest."""
        self.recent = [*(one for one in self.recent if not one.done()), handle]

    def note(self, talk: Any) -> None:
        """Tell a conversation whether there is anything to wait for."""
        self.talk = talk
        if talk is not None:
            talk.ahead = self if self._last is not None else None

    def _ended(self, handle: futures.Future[Any]) -> None:
        if self._last is handle:
            self._last = None
            self.note(self.talk)

    def wait(self, talk: Any = None) -> None:
        """Let the main thread wait until what was submitted before is done.

        Waiting here and not in the channel lets an interrupt end the wait and nothing else.

        Args:
            talk: the conversation of who waits; one that has ended gives no reason to.

        Raises:
            KeyboardInterrupt: the wait was interrupted.
        """
        handle = self._last
        if handle is None or not in_main_thread() or (talk is not None and talk is not self.talk):
            return
        alarm = watch().later(_QUIET, lambda: self._say(handle))
        try:
            while futures.wait([handle], GLANCE).not_done:
                pass
        finally:
            alarm.cancel()

    def _say(self, handle: Background) -> None:
        said = f"waiting for background {handle.title} of companion {self.name!r}"
        said += "; an interrupt ends this wait only\n"
        output.default.stream("stderr", said)
