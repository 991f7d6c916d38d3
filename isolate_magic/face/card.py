"""The crash card: the report of a death as a widget, with buttons that go on from there (face).

The report is shown as HTML and text, and below it a row of ipywidgets' own controls. They are two displays,
since a notebook that is opened again has no kernel that knows the widgets: JupyterLab shows an error in
place of a view whose model is gone, whatever stands beside it in the same bundle, and the report is to stay.
"""

from __future__ import annotations

import contextvars
import html
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from isolate_magic import registry, sheet, sparkline
from isolate_magic.crew import Crew
from isolate_magic.errors import ProcessTerminationError
from isolate_magic.face.area import AreaSink
from isolate_magic.output import Sink
from isolate_magic.report import CrashReport

Again = Callable[[Sink], Any]
_T = TypeVar("_T")
_MOST = 5  # live cards
_VIEW = "application/vnd.jupyter.widget-view+json"
_crew = Crew("isolate_magic-card", _MOST)
_log = logging.getLogger(__name__)
_live: list[Card] = []
_told: list[CrashReport] = []  # those that have had their card


def show(shell: Any, error: Any) -> None:
    """Show the report of a ProcessTerminationError in the current cell; once, however often it is raised.

    Args:
        shell: the `InteractiveShell`.
        error: the error; `_isolate_again_` on it runs its cell again.
    """
    report = error.report
    if not is_new(report):
        return
    shell.display_pub.publish(data=displayed(report), metadata={})
    if getattr(shell, "kernel", None) is None:
        return
    again = error.__dict__.get("_isolate_again_")
    try:
        card = Card(shell, report, registry.registered().get(report.companion), again)
        card.show()
    except Exception:  # border: whatever ails the widgets here, the report is shown and the error comes next
        _log.warning("the buttons below a crash report cannot be shown", exc_info=True)
        return
    _live.append(card)
    while len(_live) > _MOST:
        _live.pop(0).retire(f"there are {_MOST} newer cards")


def is_new(report: CrashReport) -> bool:
    """Tell whether a report has not been shown yet; it counts as shown from now on."""
    if any(known is report for known in _told):
        return False
    _told[:] = [*_told[-20:], report]
    return True


def displayed(report: CrashReport) -> dict[str, Any]:
    """Return the display of a report, by MIME type."""
    return {"text/plain": str(report), "text/html": sheet.page(report)}


def refresh_all() -> None:
    """Let the buttons say what is possible now; called after every cell."""
    for card in tuple(_live):
        _unparented(card.shell, card.refresh)


def retire_all(why: str) -> None:
    """Take the buttons of every card away; called when the extension is unloaded."""
    while _live:
        _live.pop().retire(why)


class Card:
    """The buttons below one report.

    Args:
        shell: the `InteractiveShell`.
        report: how the companion died.
        companion: the `Companion`, or None if there is none of that name any more.
        again: runs the cell again and shows its output in a sink; None if it did not die in a cell.
    """

    def __init__(self, shell: Any, report: CrashReport, companion: Any, again: Again | None) -> None:
        self.shell, self._report, self._companion, self._again = shell, report, companion, again
        self._id = f"isolate-card-{secrets.token_hex(8)}"
        self._working = self._running = False
        self._why = ""  # the cell cannot run again
        _unparented(shell, self._build)
        _unparented(shell, self.refresh)

    def _build(self) -> None:
        import ipywidgets as widgets

        def button(text: str, icon: str, act: Callable[[], None]) -> Any:
            made = widgets.Button(description=text, icon=icon, layout=widgets.Layout(width="auto"))
            made.on_click(lambda _button: act())
            return made

        self._restart = button("Restart", "refresh", self._on_restart)
        self._rerun = button("Rerun the cell", "play", self._on_rerun)
        self._copy = button("Report as text", "file-text-o", self._on_copy)
        self._status = widgets.HTML(layout=widgets.Layout(margin="0 0 0 8px"))
        self._text = widgets.Textarea(layout=widgets.Layout(width="auto", height="12em", display="none"))
        self._area = widgets.Output()
        row = widgets.HBox(
            [self._restart, self._rerun, self._copy, self._status],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center", margin="6px 0 0 -2px"),
        )
        self._box = widgets.VBox(
            [row, self._text, self._area],
            layout=widgets.Layout(border_left=_EDGE, padding="2px 0 6px 14px"),
        )

    def show(self) -> None:
        """Show them in the current cell; what cannot show them shows nothing, for the report is there."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        self._publish({_VIEW: view, "text/html": "<span></span>", "text/plain": ""}, False)

    def retire(self, why: str) -> None:
        """Say why they are gone in their place, and let go of the widgets."""
        told = f"The buttons are gone: {why}."
        self._publish({"text/html": sheet.note(told), "text/plain": told}, True)
        _unparented(self.shell, lambda: [widget.close() for widget in _tree(self._box)])

    def _publish(self, data: dict[str, Any], update: bool) -> None:
        transient = {"display_id": self._id}
        self.shell.display_pub.publish(data=data, metadata={}, transient=transient, update=update)

    def refresh(self) -> None:
        """Let the buttons say what is possible now."""
        companion, pid = self._companion, self._companion.pid if self._companion else None
        closed = "its companion was closed" if companion is None or companion.closed else ""
        died_in = self._report.during or "no cell"
        uncalled = "" if self._again else f"it died in {died_in}, not in an %%isolated cell"
        runs = "it was rewound and runs" if self._report.rewound else "it runs"
        running = f"{runs}: pid {pid}" if pid else ""
        if not self._running:
            self._able(self._rerun, closed or uncalled, "Run the source of the cell again, with its options")
        self._able(self._restart, closed or running, "Start the companion now; the next use would do so too")
        if (why := closed or uncalled) != self._why:
            self._why = why
            self._say(f"It cannot be run again from here: {why}." if why else "")

    def _able(self, button: Any, reason: str, tooltip: str) -> None:
        button.disabled = bool(reason) or self._working
        button.tooltip = f"Not possible: {reason}" if reason else tooltip

    def _say(self, text: str, wrong: bool = False) -> None:
        colour = "var(--jp-error-color1,#d32f2f)" if wrong else "inherit"
        style = f"color:{colour};opacity:.85;line-height:1.4"
        self._status.value = f'<span style="{style}">{html.escape(text)}</span>'

    # ------------------------------------------------------------ buttons

    def _on_restart(self) -> None:
        self._work("starting ...", self._start)

    def _on_rerun(self) -> None:
        if self._running:
            self._companion.interrupt()
        else:
            self._work("running ...", self._run)

    def _on_copy(self) -> None:
        """Show the report as text: no control of a kernel's can write to the clipboard of a browser."""
        shown = self._text.layout.display == "none"
        self._text.value = str(self._report)
        self._text.layout.display = "" if shown else "none"
        self._copy.description = "Hide the text" if shown else "Report as text"

    def _work(self, saying: str, job: Callable[[], str]) -> None:
        """Do in a thread what takes time, so that the other buttons go on working; errors are shown."""
        if self._working:
            return
        self._working = True
        self._restart.disabled = self._rerun.disabled = True
        self._say(saying)

        def work() -> None:
            try:
                told, wrong = job(), False
            except BaseException as error:  # border: the card shows whatever it was
                told, wrong = f"{type(error).__name__}: {error}", True
            self._working = False
            self._say(told, wrong)
            self.refresh()

        _crew.do(work)

    def _start(self) -> str:
        if self._companion.closed:
            return ""
        before = self._companion.pid
        _start_quietly(self._companion)
        return f"started, pid {self._companion.pid}" if before is None else f"runs already, pid {before}"

    def _run(self) -> str:
        assert self._again is not None
        _start_quietly(self._companion)
        sink, begin = AreaSink(self._area), time.monotonic()
        self._switch(True)
        try:
            self._again(sink)
            ended = "ran"
        except ProcessTerminationError as error:
            is_new(error.report)
            sink.error(error)
            ended = "died again"
        except BaseException as error:  # border: what the cell raised belongs below it
            sink.error(error)
            ended = "failed"
        finally:
            sink.finish()
            self._switch(False)
        pid = self._companion.pid
        return f"{ended} after {sparkline.seconds(time.monotonic() - begin)}" + (
            f", pid {pid}" if pid else ""
        )

    def _switch(self, running: bool) -> None:
        """Let the button interrupt while the cell runs."""
        self._running = running
        self._rerun.description = "Interrupt" if running else "Rerun the cell"
        self._rerun.icon = "stop" if running else "play"
        self._rerun.disabled = not running
        self._rerun.tooltip = "Interrupt the cell" if running else ""


def _start_quietly(companion: Any) -> None:
    """Start a companion without saying in some cell that the last one has died; the card says so."""
    process = companion._process
    if process is not None:
        process.told = True
    companion.start()


def _unparented(shell: Any, make: Callable[[], _T]) -> _T:
    """Do something whose messages belong to no cell.

    Who executes a notebook to save it (nbclient, papermill) would store the state of the widgets of a cell,
    and nbconvert would show these alone, by scripts from the network, and not the report.
    """
    parent = getattr(shell.kernel, "_shell_parent", None)  # a ContextVar since ipykernel 7
    context = contextvars.copy_context()
    if isinstance(parent, contextvars.ContextVar):
        context.run(parent.set, {})
    return context.run(make)


def _tree(widget: Any) -> list[Any]:
    """Return a widget and all that it is made of."""
    parts = [part for part in (widget.layout, getattr(widget, "style", None)) if part is not None]
    return [widget, *parts, *(inner for child in getattr(widget, "children", ()) for inner in _tree(child))]


_EDGE = "3px solid var(--jp-error-color1,#d32f2f)"
