"""`%isolate top`: all companions at a glance, live in a notebook, printed in a terminal (face)."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from isolate_magic.defaults import defaults
from isolate_magic.face import board
from isolate_magic.face.options import Option, seconds
from isolate_magic.face.orders import Command, Order
from isolate_magic.samples import Recorder

FRUGAL = 100
"""Between two updates the thread rests at least so many times as long as the last one has worked."""

_BRIEF = 0.3  # seconds between the two looks that tell a share of the processor
_UNSEEN = 10.0  # seconds after the last view has gone when the thread ends; the next view starts it again
_NEVER_SEEN = 600.0  # the same, before the first view: some front ends tell of it only when no cell runs
_PULSE = 30.0  # seconds between two signs of life of a page
_SILENT = 150.0  # the same, without one: browsers let pages in the background do something once a minute
_LONG = 1.0  # seconds of a cell that keep a page from being heard
_WIDGET = "application/vnd.jupyter.widget-view+json"
_log = logging.getLogger(__name__)


WATCH = Option(
    ("--watch",), "print a table every so many seconds, until the interrupt", "SECONDS",
    "a positive number of seconds, as in --watch 2", take=seconds,
)  # fmt: skip


def top(shell: Any, watch: float | None = None) -> None:
    """Show all companions: cpu, memory against its limit, processes, open files, calls, and the last minute.

    Args:
        shell: the main session's.
        watch: seconds between two tables that are printed, until the interrupt; without it a notebook
            shows one that updates itself, and a terminal prints one.
    """
    if watch is None and getattr(shell, "kernel", None) is not None:
        Panel(shell).show()
        return
    recorder = Recorder()
    recorder.look()
    time.sleep(_BRIEF)
    print(board.text(recorder.look()))
    while watch is not None:
        time.sleep(watch)
        print(f"\n{board.clock()}\n{board.text(recorder.look())}")


class Panel:
    """Show the table in a notebook, and keep it up to date until it is closed or nobody looks.

    Args:
        shell: the `InteractiveShell` of the main session.

    Attributes:
        spent: seconds of processor time that its thread has used.
    """

    def __init__(self, shell: Any) -> None:
        from ipywidgets import HTML, Button, HBox, Layout, Play

        self.shell = shell
        self.spent = 0.0
        self._recorder = Recorder()
        self._number = f"isolate-top-{id(self)}"
        self._change = threading.Condition()
        self._running = self._closed = False
        self._views = 0
        self._deadline = time.monotonic() + _NEVER_SEEN
        self._body = HTML(board.table(self._recorder.look(), _note()), layout=Layout(min_width="0"))
        self._button = Button(
            icon="times",
            tooltip="Close: keep the numbers as they are now",
            layout=Layout(width="28px", height="24px", padding="0", margin="0", flex="0 0 auto"),
        )
        self._button.style.button_color = "transparent"
        self._button.style.text_color = "var(--jp-ui-font-color2,inherit)"
        self._button.on_click(lambda _: self.close())
        # A page that is closed tells nobody. So one that is open plays this, unseen: it counts and tells us.
        self._pulse = Play(interval=int(1000 * _PULSE), max=1 << 30, layout=Layout(display="none"))
        self._pulse.observe(self._alive, "value")
        self._box = HBox(
            [self._body, self._button, self._pulse],
            layout=Layout(align_items="flex-start", width="max-content", max_width="100%", padding="4px 0"),
        )
        self._box._view_count = 0  # from now on the front end tells how many views there are
        self._box.observe(self._seen, "_view_count")

    def show(self) -> None:
        """Display it below the cell that runs, and start to update it."""
        self.shell.display_pub.publish(
            data={_WIDGET: self._box._repr_mimebundle_()[_WIDGET], **self._still("")},
            metadata={},
            transient={"display_id": self._number},
        )
        _panels.append(self)
        self._start()

    def close(self) -> None:
        """Update no more; what stands there stays, as a picture of this moment. Harmless twice."""
        with self._change:
            if self._closed:
                return
            self._closed = True
            self._change.notify_all()
        if self in _panels:
            _panels.remove(self)
        self.shell.display_pub.publish(
            data=self._still(f"closed at {board.clock()}"),
            metadata={},
            transient={"display_id": self._number},
            update=True,
        )
        for widget in (self._box, self._body, self._button, self._pulse):
            widget.close()

    def _still(self, note: str) -> dict[str, str]:
        samples = self._recorder.look()
        return {"text/html": board.table(samples, note or _note()), "text/plain": board.text(samples)}

    def _seen(self, change: Any) -> None:
        """Note how many views there are: the thread ends after the last, and starts with the next."""
        with self._change:
            self._views = change["new"]
            # Until the first sign of life nobody knows whether this front end gives any.
            self._deadline = time.monotonic() + (_UNSEEN if not self._views else _NEVER_SEEN)
        if self._views:
            self._pulse.playing = False  # a page that was loaded again begins when this changes
            self._pulse.playing = True
            self._start()

    def _alive(self, _: Any) -> None:
        """Note that a page is there."""
        with self._change:
            self._deadline = time.monotonic() + _SILENT
        self._start()

    def _start(self) -> None:
        with self._change:
            if self._running or self._closed:
                return
            self._running = True
            threading.Thread(target=self._run, name="isolate_magic-top", daemon=True).start()

    def _run(self) -> None:
        """Update it (thread `isolate_magic-top`)."""
        rest = defaults.top_interval
        while self._wait(rest):
            begin = time.thread_time()
            try:
                self._body.value = board.table(self._recorder.look(), _note())
            except Exception:  # border: a front end that went away must not fill the log once a second
                _log.debug("%%isolate top could not be updated", exc_info=True)
            cost = time.thread_time() - begin
            self.spent += cost
            rest = max(defaults.top_interval, FRUGAL * cost)

    def _wait(self, seconds: float) -> bool:
        """Rest; return whether to go on."""
        with self._change:
            self._change.wait_for(lambda: self._closed, seconds)
            late = time.monotonic() > max(self._deadline, _heard_from + _UNSEEN)
            over = self._closed or (late and not _deaf)
            self._running = not over
            return not over


_panels: list[Panel] = []
_deaf = 0.0  # since when a cell runs: meanwhile most kernels hear of no page; 0 if none does
_heard_from = 0.0  # when the last one was over that took long


def deafen(deaf: bool) -> None:
    """Note that a cell begins, or that it is over."""
    global _deaf, _heard_from
    now = time.monotonic()
    if not deaf and _deaf and now - _deaf > _LONG:
        _heard_from = now
    _deaf = now if deaf else 0.0


def _note() -> str:
    return f"updated {board.clock()}"


def close_all() -> None:
    """Close what is shown, when the extension is unloaded."""
    for panel in tuple(_panels):
        panel.close()


def _top(order: Order) -> None:
    top(order.shell, order.options.watch)


COMMANDS = (
    Command("top", "show what all companions use, live in a notebook", _top, words="", options=(WATCH,)),
)
