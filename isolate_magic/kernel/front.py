"""The front of the isolated kernel: it speaks with Jupyter, and a companion does the work (host).

No code of the user's runs in this process, so no cell can end it. A cell whose companion dies shows the crash
report as its error, and the next cell finds everything as it was before that one.
"""

from __future__ import annotations

import json
import platform
import sys
import threading
from typing import Any

import comm
from ipykernel._version import kernel_protocol_version
from ipykernel.kernelbase import Kernel

from isolate_magic import frontend, output, spawner
from isolate_magic._version import __version__
from isolate_magic.companion import Companion
from isolate_magic.defaults import defaults
from isolate_magic.errors import IsolateError
from isolate_magic.kernel import replies
from isolate_magic.kernel.button import Button
from isolate_magic.kernel.frontend import FrontFrontend
from isolate_magic.kernel.history import History
from isolate_magic.kernel.sink import FrontSink
from isolate_magic.kernel.surroundings import environment
from isolate_magic.policy import Policy
from isolate_magic.process import Process
from isolate_magic.questions import ask
from isolate_magic.seen import Scope

NAME = "kernel"
"""What the companion is called in messages."""

_COMMS = ("comm_open", "comm_msg", "comm_close")


class Front(Kernel):
    """Answer Jupyter's requests with what the companion answers.

    Attributes:
        companion: runs the cells; None if it cannot be made.
        in_cell: whether a cell is under way.
    """

    implementation = "isolate_magic"
    implementation_version = __version__
    language_info = {
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.companion: Companion | None = None
        self.in_cell = False
        self._trouble: BaseException | None = None
        self._count = 1
        self._inputs = History()
        self.comm_manager = comm.get_comm_manager()
        self.button = Button()
        for kind in _COMMS:
            self.shell_handlers[kind] = self.button.guarded(getattr(self.comm_manager, kind))

    @property
    def banner(self) -> str:
        """Say what this is."""
        ours = f"isolate_magic {__version__}: what crashes in a cell does not end the kernel"
        return f"Python {sys.version}\n{ours}"

    @property
    def kernel_info(self) -> dict[str, Any]:
        """Tell what this kernel can do: all but debug, for which debugpy would be wanted there."""
        return {
            "protocol_version": kernel_protocol_version,
            "implementation": self.implementation,
            "implementation_version": self.implementation_version,
            "language_info": self.language_info,
            "banner": self.banner,
            "help_links": self.help_links,
            "supported_features": ["kernel subshells"] if self._supports_kernel_subshells else [],
        }

    @property
    def execution_count(self) -> int:
        """Tell the prompt number of the cell that runs or comes next; the companion's reply moves it on."""
        return self._count

    @execution_count.setter
    def execution_count(self, _value: int) -> None:
        """Ignore what the class above counts: it knows nothing of `store_history`."""

    def employ(self, policy: str, snapshots: str) -> None:
        """Make the companion, and start it in the background.

        Args:
            policy: what it may do: a preset or a TOML file.
            snapshots: `auto` lets a crash lose nothing but what its cell did, `off` everything.
        """
        sink = FrontSink(self)
        output.use(sink)
        frontend.use(FrontFrontend(self, sink))
        defaults.progress = False
        try:
            chosen = Policy.of(policy)
            self.companion = Companion(NAME, policy=chosen, env=environment(chosen), snapshots=snapshots)
        except (IsolateError, OSError) as error:  # every cell tells it, since nobody reads a kernel's log
            self._trouble = error
            return
        threading.Thread(target=self._begin, name="isolate_magic-start", daemon=True).start()

    def _begin(self) -> None:
        try:
            if self.companion is not None:
                self.companion.start()
        except (IsolateError, OSError):  # the first cell meets it again, and tells it
            return

    # ------------------------------------------------------------ messages

    def set_parent(self, ident: Any, parent: Any, channel: str = "shell") -> None:
        """Let output belong to a request from now on."""
        super().set_parent(ident, parent, channel)
        if channel == "shell":
            for stream in (sys.stdout, sys.stderr):
                if hasattr(stream, "set_parent"):
                    stream.set_parent(parent)

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Send a message to all who watch the notebook, under the request that is served."""
        parent = self.get_parent("shell")
        self.session.send(
            self.iopub_socket, kind, replies.sound(content), parent=parent, ident=self._topic(kind)
        )

    def pre_handler_hook(self) -> None:
        """Let SIGINT come in while a request is served, where it cannot take the reply along."""
        self.saved_sigint_handler = self.button.take()

    # ------------------------------------------------------------ cells

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: Any = None,
    ) -> dict[str, Any]:
        """Run a cell in the companion, as ipykernel's own method would here."""
        self._allow_stdin = allow_stdin
        number, store = self._count, store_history and not silent
        asked = {
            "silent": silent, "store_history": store, "user_expressions": user_expressions or {},
            "allow_stdin": allow_stdin,
        }  # fmt: skip
        if store:
            self._inputs.note(number, code)
        self.in_cell = True
        try:
            self.button.listen()
            reply = self._executed(code, number, asked)
            self.button.open = False
        except BaseException as error:  # border: whatever it is, it is the cell's, and the next one runs
            self.button.open = False
            reply = replies.failed(error, number)
        self.in_cell = False
        if store:
            self._count = int(reply["execution_count"]) + 1
        if reply.pop("shown") and reply["status"] == "error":
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            self.publish("error", {name: reply[name] for name in ("ename", "evalue", "traceback")})
        return reply

    def _executed(self, code: str, number: int, asked: dict[str, Any]) -> dict[str, Any]:
        companion = self.companion
        if companion is None:
            assert self._trouble is not None
            raise self._trouble
        try:
            told = companion.run_cell(code, number=number, request=json.dumps(asked))
        except KeyboardInterrupt as interrupt:
            # It has interrupted the cell over there; what has become of that is told by its reply.
            told = interrupt.__dict__.get("_isolate_told_")
            if told is None:
                raise
        process = companion._process
        assert process is not None
        try:
            reply = replies.executed(told, number, asked["user_expressions"], NAME, process.trusted)
        except ValueError as error:
            companion.snapshots.discard()  # they would go on talking nonsense
            raise process.talk.break_off(str(error)) from None
        return reply

    def finish_metadata(self, parent: Any, metadata: dict[str, Any], reply_content: Any) -> dict[str, Any]:
        """Say in the reply's metadata too what has become of the cell, as ipykernel does."""
        metadata["status"] = reply_content["status"]
        return metadata

    # ------------------------------------------------------------ questions

    def _process(self) -> Process | None:
        return self.companion._alive() if self.companion is not None else None

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        """Answer Tab with the names that the companion knows."""
        from isolate_magic.face import completion

        found = completion.in_cell(self._process(), code, len(code) if cursor_pos is None else cursor_pos)
        return completion.reply(found)

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Answer Shift-Tab with what the companion tells of an object."""
        from IPython.utils.tokenutil import token_at_cursor

        from isolate_magic.face import inspection

        token = token_at_cursor(code, cursor_pos)
        text = (
            inspection.soon(self._process(), (token, detail_level, token, "", None), Scope()) if token else ""
        )
        data = {"text/plain": text} if text else {}
        return {"status": "ok", "found": bool(text), "data": data, "metadata": {}}

    async def do_is_complete(self, code: str) -> dict[str, Any]:
        """Tell whether what was typed is a whole cell; `unknown` while the companion has no time."""
        process, answers = self._process(), list[dict[str, Any]]()
        if process is None or not ask(
            process, "is_complete", (code,), lambda told: answers.append(replies.completeness(told))
        ):
            return {"status": "unknown"}
        return answers[0]

    async def do_history(
        self,
        hist_access_type: str,
        output: Any,
        raw: Any,
        session: Any = None,
        start: Any = None,
        stop: Any = None,
        n: Any = None,
        pattern: Any = None,
        unique: bool = False,
    ) -> dict[str, Any]:
        """Tell what was entered in this kernel."""
        asked = {
            "output": output, "session": session, "start": start, "stop": stop, "n": n, "pattern": pattern,
            "unique": unique,
        }  # fmt: skip
        return {"status": "ok", "history": self._inputs.tell(hist_access_type, asked)}

    async def do_debug_request(self, msg: dict[str, Any]) -> dict[str, Any]:
        """Say that there is no debugger, to a page that asks all the same."""
        return {
            "type": "response",
            "request_seq": msg.get("seq", 0),
            "command": msg.get("command", ""),
            "success": False,
            "message": "the isolated kernel has no debugger; %debug and breakpoint() work in cells",
        }

    # ------------------------------------------------------------ the end

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the companion and its zygote, whatever a cell is doing."""
        if self.companion is not None:
            self.companion.close()
        spawner.stop_zygotes()
        return {"status": "ok", "restart": restart}
