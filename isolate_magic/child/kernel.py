"""ipykernel's own IPythonKernel, with frames instead of ZMQ (built in the zygote, used in the companion).

One kernel is built per zygote and inherited by every companion. It has no socket, no port and no
thread: messages that it would publish become EVENT frames. The history thread and debugpy, which
would start threads, are off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.ipkernel import IPythonKernel
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.compilerop import CachingCompiler
from IPython.core.error import UsageError
from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session
from traitlets import Type
from traitlets.config import Config

from isolate_magic.child import asking, comms, imports, reserve

_NOTHING = object()
_UNSEEN = (imports.__file__, asking.__file__, os.path.join(os.path.dirname(__file__), "serving.py"))
"""What stands in a traceback where code of the user's was: import hook, `input`, the handler of SIGINT."""
OUTPUTS = frozenset({"display_data", "update_display_data", "execute_result", "clear_output"})
"""Messages that reach the cell. Status and input echo are the main session's own business."""


class FrameSession(Session):
    """Send messages as EVENT frames.

    Attributes:
        publish: called with a message type and JSON bytes; None until the companion is forked.
        error: the content of the last `error` message, which travels with the reply.
        hide_result: whether the value of a cell is only returned, not shown.
        relays: whether the main session relays comms and takes errors that end no cell.
        under: the host's number of the comm message that is being served, 0 for none.
        aside: whether what is shown as an error is not what a cell ends with.
    """

    publish: Callable[[str, bytes], None] | None = None
    error: dict[str, Any] | None = None
    hide_result = False
    relays = False
    under = 0
    aside = False

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Publish an output or what a comm says; drop what the main session says itself."""
        if isinstance(msg_or_type, dict):
            kind, content = msg_or_type["header"]["msg_type"], msg_or_type["content"]
        else:
            kind = msg_or_type
        if kind == "error" and self.aside:
            self._show_error(content)
        elif kind == "error":
            self.error = content
        elif kind in comms.OUTWARD and self.relays and self.publish is not None:
            self.publish(kind, comms.packed(content, kwargs.get("metadata"), kwargs.get("buffers")))
        elif kind == "execute_result" and self.hide_result:
            pass
        elif kind in OUTPUTS and self.publish is not None:
            self.publish(kind, json.dumps(content, default=json_default).encode("utf-8", "replace"))
        return {"content": content}

    def _show_error(self, content: dict[str, Any]) -> None:
        """Show an error that ends no cell: of a callback, or within `with Output():`."""
        if self.relays and self.publish is not None:
            self.publish("error", json.dumps(content).encode("utf-8", "replace"))
        else:
            print(*content["traceback"], sep="\n", file=sys.stderr)

    def tell_target(self, name: str) -> None:
        """Let the host know that the notebook may open comms towards a target here."""
        if self.relays and self.publish is not None and name not in comms.WIDGETS:
            self.publish("comm_target", json.dumps({"target_name": name}).encode())

    def now_under(self, number: int) -> None:
        """Let the host know which message of the notebook all output belongs to from now on."""
        self.under = number
        assert self.publish is not None
        self.publish("comm_under", json.dumps({"message": number}).encode())


class CompanionDisplayHook(ZMQShellDisplayHook):
    """Take the value of every silent cell: a semicolon says that it is not to be shown, which it is not."""

    def quiet(self) -> bool:
        """Tell whether the value is dropped; IPython would look at the last cell of its history."""
        return not self.session.hide_result and bool(super().quiet())


class CompanionShell(ZMQInteractiveShell):
    """The shell that cells run in.

    Attributes:
        lines_before: lines that stand before the code in the editor's cell, so that tracebacks
            count as the reader does.
        outcome: what came of the last cell, as IPython's `ExecutionResult`.
        gate: the conversation, which knows whether an interrupt may be raised.
        in_code: whether code of a cell is under way.
    """

    displayhook_class = Type(CompanionDisplayHook)
    lines_before = 0
    outcome: Any = None
    gate: Any = None
    in_code = False

    def transform_cell(self, raw_cell: str) -> str:
        """Transform IPython syntax, then move the code down to its place in the cell."""
        cell: str = super().transform_cell(raw_cell)
        return "\n" * (self.lines_before + _blank_lines(raw_cell)) + cell

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show where it failed, without the frames of what we have put in Python's place."""
        kind, value, trace = exc_tuple or sys.exc_info()
        ends_cell = kwargs.get("running_compiled_code") or kwargs.get("exception_only")
        session = self.displayhook.session
        before, session.aside = session.aside, bool(session.under or (self.in_code and not ends_cell))
        reserved = reserve.use(True)
        try:
            super().showtraceback((kind, value, imports.without(trace, _UNSEEN)), *args, **kwargs)
        finally:
            session.aside = before
            reserve.use(reserved)

    def get_parent(self) -> Any:
        """Return the message that the code under way belongs to, in the notebook; `Output` asks for it."""
        if self.gate is None or not self.displayhook.session.relays:
            return {}
        return json.loads(self.gate.ask_host("parent"))

    def enable_gui(self, gui: str | None = None) -> None:
        """Serve `%matplotlib inline` and `%gui`; no toolkit's own event loop runs in a companion."""
        if gui is not None:
            raise UsageError(f"a companion runs no event loop of {gui}; %matplotlib inline shows figures")

    def ask_exit(self) -> None:
        """Tell the host that the cell has said `exit`, which it heeds when the cell has ended."""
        super().ask_exit()
        wanted = not self.keepkernel_on_exit
        self.exit_now = False
        publish = self.displayhook.session.publish
        if wanted and self.in_code and publish is not None:
            publish("leave", b"{}")

    def _tee(self, channel: str) -> AbstractContextManager[None]:
        """Keep no copy of what is printed, which IPython 9 would, for ever, in case `%notebook` asks."""
        return nullcontext()

    def run_cell(self, *args: Any, **kwargs: Any) -> Any:
        """Run a cell and keep what came of it; `last_execution_result` misses early interrupts."""
        self.outcome = super().run_cell(*args, **kwargs)
        return self.outcome

    async def run_code(self, *args: Any, **kwargs: Any) -> Any:
        """Run code of the user's; only meanwhile may an interrupt come in, for IPython would swallow it."""
        gate = self.gate
        if gate is None or threading.get_ident() != gate.main:  # None: the zygote's own cell
            return await super().run_code(*args, **kwargs)
        before, inside = gate.interruptible, self.in_code
        self.in_code, reserved = True, reserve.use(False)
        try:
            gate.let_in()
            return await super().run_code(*args, **kwargs)
        finally:
            gate.interruptible, self.in_code = before, inside
            reserve.use(reserved)


def _blank_lines(cell: str) -> int:
    """Count the blank lines that a cell begins with, which IPython takes away."""
    code = cell.lstrip()
    return cell[: len(cell) - len(code)].count("\n") if code else 0


class CompanionKernel(IPythonKernel):
    """The kernel of one companion."""

    shell_class = CompanionShell
    compiler_class = CachingCompiler


def build() -> CompanionKernel:
    """Build the kernel; call it in the zygote, before any fork."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "Neutral"
    config.Completer.use_jedi = False  # see `isolate_magic.child.completing`
    hidden = {name: sys.modules.pop(name, None) for name in ("debugpy", "debugpy.server")}
    sys.modules["debugpy"] = sys.modules["debugpy.server"] = None  # type: ignore[assignment]
    try:
        kernel: CompanionKernel = CompanionKernel.instance(
            config=config,
            session=FrameSession(key=b""),
            iopub_socket=object(),
            log=logging.getLogger(__name__),
        )
    finally:
        for name, module in hidden.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module
    _warm(kernel)
    return kernel


def settle_behind_wall(kernel: CompanionKernel) -> None:
    """Let the shell do without what a confined companion cannot have: a terminal, and the user's profile."""
    shell: Any = kernel.shell
    shell.system = shell.system_raw  # the other one wants a pseudo-terminal, and there is no /dev/pts
    shell.db = {}  # what %bookmark and %cd keep; the profile's own lies in a home that is not there


def _warm(kernel: CompanionKernel) -> None:
    """Run one silent cell, so that no companion pays for what IPython does the first time."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    finish(kernel.do_execute("None", silent=True, store_history=False))
    kernel.shell.display_formatter.format(0)
    asyncio.get_event_loop().close()
    asyncio.set_event_loop(None)


def run_cell(kernel: CompanionKernel, code: str, number: int, lines_before: int, silent: bool) -> Any:
    """Run one cell as the kernel does.

    Args:
        kernel: the kernel.
        code: the source.
        number: the prompt number of the visible cell.
        lines_before: how many lines of the visible cell stand before the code.
        silent: whether the value of the last expression stays unshown.

    Returns:
        IPython's `ExecutionResult`; its errors are what the cell raised.
    """
    shell: Any = kernel.shell
    shell.lines_before = lines_before
    session: Any = kernel.session
    count_to(shell, number)
    before, session.error, session.hide_result = session.hide_result, None, silent
    outer = shell.displayhook.exec_result  # of a cell that this one runs inside of
    try:
        with _unremembered(shell) if silent else nullcontext():
            reply = finish(kernel.do_execute(code, silent=False, store_history=not silent))
        for page in (part for part in reply.get("payload", ()) if part.get("source") == "page"):
            session.publish("page", json.dumps(page, default=json_default).encode("utf-8", "replace"))
    finally:
        session.hide_result = before
        shell.displayhook.exec_result = outer
    result, shell.outcome, shell.last_execution_result = shell.outcome, None, None
    return result


@contextmanager
def _unremembered(shell: Any) -> Iterator[None]:
    """Keep the value of a cell out of `_` and `Out`, so that only whoever asked for it holds it."""
    hook, values = shell.displayhook, shell.user_ns
    number = shell.execution_count
    unders = {name: getattr(hook, name) for name in ("_", "__", "___")}
    names = (*unders, f"_{number - 1}", f"_{number}")
    places = [(table, name) for table in (values, shell.user_ns_hidden) for name in names]
    places += [(values["_oh"], number - 1), (values["_oh"], number)]
    before = [(table, key, table.get(key, _NOTHING)) for table, key in places]
    try:
        yield
    finally:
        for name, value in unders.items():
            setattr(hook, name, value)
        for table, key, value in before:
            if value is _NOTHING:
                table.pop(key, None)
            else:
                table[key] = value


def finish(coroutine: Any) -> Any:
    """Run a coroutine of the kernel to its end; it hardly ever waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the kernel waited inside a cell")


def count_to(shell: Any, number: int) -> None:
    """Set the prompt number, and fill `In` so that `In[number]` is this cell."""
    if number > 0:
        shell.execution_count = number
    history = shell.history_manager
    for inputs in (history.input_hist_parsed, history.input_hist_raw):
        inputs.extend([""] * (shell.execution_count - len(inputs)))
