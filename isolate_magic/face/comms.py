"""Widgets and other comms of companions, in the main session's kernel: relayed both ways (face).

A comm of a companion has a twin here. What the companion says goes out under the message that the code there
belongs to; what the notebook says to the twin is put into the mailbox of the companion.
"""

from __future__ import annotations

import base64
import logging
from contextvars import Context
from typing import Any

from ipykernel.comm.comm import BaseComm

from isolate_magic.face import states, views
from isolate_magic.face.mailbox import Mailbox
from isolate_magic.process import Process

_COMPLAINTS = 5  # messages without sense that are told of, of one process
_WHY = 200  # letters of what is wrong with one
_log = logging.getLogger(__name__)


class Twin(BaseComm):
    """Stand in the main kernel for a comm of a companion.

    Attributes:
        state: what a widget's state is, None for other comms.
    """

    def __init__(self, relay: Relay, **told: Any) -> None:
        self.relay = relay
        self.kernel = relay.kernel
        self.state: dict[str, Any] | None = None
        super().__init__(**told)

    def handle_msg(self, msg: dict[str, Any]) -> None:
        """Pass on what the notebook says; the companion triggers its own events around the callbacks."""
        self.relay.hear("comm_msg", self, msg)

    def handle_close(self, msg: dict[str, Any]) -> None:
        """Pass on that the notebook has closed it."""
        self.relay.hear("comm_close", self, msg)

    def _reply_subshell_for(self, data: Any, default: Any) -> Any:
        """Let the notebook choose the thread: nothing of the main session's own runs in it."""
        return default


class Beside:
    """Show output in another context: below the widget whose message is being served.

    Args:
        context: the context.
        sink: shows it.
    """

    def __init__(self, context: Context, sink: Any) -> None:
        self._context = context
        self._sink = sink

    def stream(self, name: str, text: str) -> None:
        """Show text."""
        self._context.copy().run(self._sink.stream, name, text)

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show a display."""
        self._context.copy().run(self._sink.message, kind, content)


class Relay:
    """Relay the comms of one companion.

    Args:
        shell: the `InteractiveShell` of the main session, which has a kernel.
        sink: the `ShellSink` that shows output of companions there.
        process: the companion's.
    """

    def __init__(self, shell: Any, sink: Any, process: Process) -> None:
        self.kernel = shell.kernel
        self.shell = shell
        self.twins: dict[str, Twin] = {}
        self.views = views.Views(shell.kernel)
        self._sink = sink
        self._process = process
        self.mailbox = Mailbox(process)
        self._under: Context | None = None
        self._odd = 0  # messages that made no sense

    # ------------------------------------------------------------ from the companion

    def say(self, kind: str, content: dict[str, Any]) -> None:
        """Do what a message of the companion asks for, if it makes sense."""
        try:
            self._do(kind, content)
        except Exception as error:  # border: broken code there may say anything, and its other comms go on
            self._odd += 1
            if self._odd <= _COMPLAINTS:
                more = "" if self._odd < _COMPLAINTS else "; more of them are not told of"
                why = f"{type(error).__name__}: {error}"[:_WHY]
                _log.warning("a %s of companion %r is left out: %s%s", kind, self._process.name, why, more)

    def _do(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "comm_under":
            self._turn(content.get("message"))
        elif kind == "comm_target":
            self._offer(str(content.get("target_name")))
        elif self._under is not None:
            self._under.copy().run(self._say, kind, content)
        else:
            self._say(kind, content)

    def _turn(self, number: Any) -> None:
        """Let output belong to a message of the notebook from now on, or to none."""
        letter = self.mailbox.under_way
        if number and letter is not None and number == letter.number:
            letter.begun = True
            self._under = letter.context
            self._process.output.aside = Beside(letter.context, self._sink)
        else:
            self._under = self._process.output.aside = None

    def _say(self, kind: str, content: dict[str, Any]) -> None:
        told: dict[str, Any] = {
            "data": content.get("data") or {},
            "metadata": content.get("metadata"),
            "buffers": _buffers(content),
        }
        name = str(content["comm_id"])
        self._sink.flush()
        if kind == "comm_open":
            self._open(name, content, told)
            return
        twin = self.twins.get(name)
        if twin is None:
            return
        if kind == "comm_close":
            self._close(twin, told)
        else:
            if twin.state is not None:
                states.update(twin.state, told["data"], told["buffers"])
            twin.send(**told)

    def _open(self, name: str, content: dict[str, Any], told: dict[str, Any]) -> None:
        if name in self.kernel.comm_manager.comms:
            raise ValueError(f"there is a comm {name!r} already")
        target = str(content.get("target_name"))
        if target == states.WIDGET:
            states.answer_for_all(self.kernel, relays)
        twin = Twin(
            self, comm_id=name, target_name=target, target_module=content.get("target_module"), **told
        )
        if target == states.WIDGET:
            twin.state = states.first(told["data"], told["buffers"])
        self.twins[name] = twin

    def _offer(self, target: str) -> None:
        """Let the notebook open comms towards a target there; one of the main session's own stays."""
        targets = self.kernel.comm_manager.targets
        served = targets.get(target)
        if served is None or type(getattr(served, "__self__", None)) is Relay:
            targets[target] = self._opened

    def _opened(self, comm: BaseComm, message: dict[str, Any]) -> None:
        """Pass on that the notebook has opened a comm."""
        comm._closed = True  # so that its end does not close the twin, which takes its place
        twin = Twin(self, primary=False, comm_id=comm.comm_id, target_name=comm.target_name)
        self.kernel.comm_manager.register_comm(twin)
        self.twins[comm.comm_id] = twin
        self.mailbox.post("comm_open", message)

    def _close(self, twin: Twin, told: dict[str, Any]) -> None:
        self.twins.pop(twin.comm_id, None)
        self.views.forget(twin.comm_id)
        twin.close(**told)

    # ------------------------------------------------------------ from the notebook

    def hear(self, kind: str, twin: Twin, message: dict[str, Any]) -> None:
        """Pass a message of the notebook on."""
        if kind == "comm_close":
            self.twins.pop(twin.comm_id, None)
            self.views.forget(twin.comm_id)
        elif twin.state is not None:
            states.update(twin.state, message["content"].get("data"), message.get("buffers") or [])
        self.mailbox.post(kind, message)

    def go_on(self, process: Process) -> None:
        """Go on with a snapshot: what is younger is closed, the rest gets the state that it has there."""
        self._process, self.mailbox, self._under = process, Mailbox(process), None
        number = next(process.talk.numbers)
        there = process.talk.call(process.talk.service, "comm", (number, "resume", "", ()), {}, number)
        known = set(there) if type(there) is tuple else set()
        for name, twin in list(self.twins.items()):
            if name not in known:
                self.twins.pop(name)
                self.views.forget(name)
                twin.close()

    # ------------------------------------------------------------ the message under way, and the end

    def parent(self) -> dict[str, Any]:
        """Return the message that code of the companion belongs to just now."""
        if self._under is not None:
            return dict(self._under.copy().run(self.kernel.get_parent))
        return dict(_pinned(self._process.output.way()) or self.kernel.get_parent())

    def end(self) -> None:
        """Close all, and let the widgets that are shown say why."""
        self._under = self._process.output.aside = None
        report = self._process.report
        died = report is not None and report.kind != "stop"
        self.views.end(
            f"companion {self._process.name!r} {'died' if died else 'was stopped'}; run the cell again"
        )
        targets = self.kernel.comm_manager.targets
        for name in [name for name, served in targets.items() if getattr(served, "__self__", None) is self]:
            del targets[name]
        for twin in list(self.twins.values()):
            twin.close()
        self.twins.clear()


def _pinned(sink: Any) -> Any:
    """Return the message of the cell in the background that a sink, or one behind it, shows output in."""
    while (inner := getattr(sink, "sink", None) or getattr(sink, "target", None)) is not None:
        sink = inner
    return getattr(sink, "parent", None)


def _buffers(content: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(part) for part in content.get("buffers") or ()]


relays: dict[Process, Relay] = {}
"""The relay of each process that has opened a comm."""


def relay(shell: Any, sink: Any, process: Process) -> Relay:
    """Return the relay of a process, made when it is first wanted."""
    found = relays.get(process)
    if found is None:
        found = relays.setdefault(process, Relay(shell, sink, process))
    return found


def settle(process: Process) -> None:
    """Wait until a process has taken what the notebook has told its comms."""
    found = relays.get(process)
    if found is not None:
        found.mailbox.settle()


def succeed(dead: Process, process: Process) -> None:
    """Let the comms of a dead process go on with a snapshot of it."""
    found = relays.pop(dead, None)
    if found is None:
        return
    relays[process] = found
    try:
        found.go_on(process)
    except Exception:  # border: as in `end`
        _log.warning("the widgets of companion %r could not be taken over", process.name, exc_info=True)


def end(process: Process) -> None:
    """Close the comms of a process that has ended."""
    found = relays.pop(process, None)
    if found is None:
        return
    try:
        found.end()
    except Exception:  # border: the kernel may be on its way out, and a death must be told all the same
        _log.warning("the widgets of companion %r could not be closed", process.name, exc_info=True)


def shown(view: Any, display: str | None, cell: dict[str, Any]) -> dict[str, str]:
    """Take note that a widget of a companion is shown; return the display's id as `transient` has it.

    Args:
        view: the body of the widget's MIME type; None if nothing of the kind is shown.
        display: the id of the display, empty to get one; None for the value of a cell, which has none.
        cell: the header of the message that the cell came with.
    """
    model = view.get("model_id") if isinstance(view, dict) else None
    if model is None:
        return {}
    for one in list(relays.values()):
        if model in one.twins:
            return {"display_id": one.views.shown(str(model), display, cell)}
    return {}
