"""What the notebook tells the comms of a companion, delivered in order by a thread of its own (face).

Whoever brings a message waits until its callbacks have run, as in any kernel; that is what slows a dragged
slider down to what they can bear. But not for a companion that is at work on something else: then the
messages wait alone, and those that only set a widget's state are merged.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
from collections import deque
from typing import Any

from jupyter_client.jsonutil import json_default

from isolate_magic.crew import Crew
from isolate_magic.errors import IsolateError
from isolate_magic.link.peer import GLANCE
from isolate_magic.process import Process

_MOST = 1000  # messages that wait; merged ones count once
_PATIENCE = 0.1  # seconds for an idle companion to begin; it takes less than a millisecond
_log = logging.getLogger(__name__)


class Letter:
    """One message of the notebook.

    Attributes:
        number: that of the request that delivers it, by which the companion names it; 0 before.
        kind: `comm_open`, `comm_msg` or `comm_close`.
        message: as ipykernel hands it over.
        context: what code runs in whose output belongs to the message.
        begun: whether the companion has taken it up.
        done: is set when its callbacks have run, or never will.
    """

    def __init__(self, kind: str, message: dict[str, Any]) -> None:
        self.number = 0
        self.kind = kind
        self.message = message
        self.context = contextvars.copy_context()
        self.begun = False
        self.done = threading.Event()

    @property
    def comm(self) -> Any:
        """Tell which comm it is for."""
        return self.message["content"].get("comm_id")

    @property
    def sets_state(self) -> bool:
        """Tell whether all that it does is to set a widget's state, in which the last one counts."""
        data = self.message["content"].get("data")
        plain = isinstance(data, dict) and not data.get("buffer_paths") and not self.message.get("buffers")
        return self.kind == "comm_msg" and plain and data.get("method") == "update"


class Mailbox:
    """Deliver messages to one companion.

    Args:
        process: the companion's.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.under_way: Letter | None = None
        self._waiting: deque[Letter] = deque()
        self._late = False  # whether the letter under way has waited longer than an idle companion lets it
        self._lock = threading.Lock()
        self._crew = Crew("isolate_magic-comms", 1)

    def post(self, kind: str, message: dict[str, Any]) -> None:
        """Deliver a message, and wait for its callbacks unless the companion is at work on something else."""
        letter = Letter(kind, message)
        with self._lock:
            if self._late and self._merged(letter):
                return
            if len(self._waiting) >= _MOST:
                _log.warning(
                    "companion %r has not taken %d messages of its widgets; the rest is dropped",
                    self.process.name,
                    _MOST,
                )
                return
            self._waiting.append(letter)
            late = self._late
        self._crew.do(self._deliver)
        if not late:
            self._wait(letter)

    def _merged(self, letter: Letter) -> bool:
        """Put a letter into one that waits, where no order demands that both are delivered."""
        if not letter.sets_state:
            return False
        for earlier in reversed(self._waiting):
            if not earlier.sets_state:
                return False  # a click between two values wants to see the first one
            if earlier.comm == letter.comm:
                content = earlier.message["content"]
                state = {
                    **content["data"].get("state", {}),
                    **letter.message["content"]["data"].get("state", {}),
                }
                merged = {**content, "data": {**content["data"], "state": state}}
                earlier.message = {**letter.message, "content": merged}
                earlier.context = letter.context
                return True
        return False

    def _wait(self, letter: Letter) -> None:
        try:
            while not letter.done.wait(_PATIENCE):
                if not letter.begun:
                    self._late = self._late or self.under_way is letter
                    return
        except KeyboardInterrupt:
            if not letter.begun:
                raise
            self.process.interrupt(letter.number)
            while not letter.done.wait(GLANCE):
                pass  # the companion shows where it was; another interrupt ends this too

    def settle(self) -> None:
        """Wait until all that was posted is done; not inside a callback, which would wait for itself."""
        with self._lock:
            last = self._waiting[-1] if self._waiting else self.under_way
        if last is None or self.process.talk.desk.within()[0]:
            return
        try:
            while not last.done.wait(GLANCE):
                pass
        except KeyboardInterrupt:  # meant for what hangs
            if self.under_way is not None and self.under_way.begun:
                self.process.interrupt(self.under_way.number)
            raise

    def _deliver(self) -> None:
        """Deliver the oldest letter (thread of the mailbox)."""
        with self._lock:
            letter = self.under_way = self._waiting.popleft()
        try:
            letter.context.copy().run(self._send, letter)
        except IsolateError:  # the companion has died, which everybody is told elsewhere
            pass
        except Exception:  # border: a letter that cannot be delivered must not stop those after it
            _log.warning("a message of a widget could not be delivered", exc_info=True)
        finally:
            self._late = False
            self.under_way = None
            letter.done.set()

    def _send(self, letter: Letter) -> None:
        talk, message = self.process.talk, letter.message
        told = {key: message.get(key) for key in ("header", "parent_header", "metadata", "content")}
        text = json.dumps(told, default=json_default)
        buffers = tuple(bytes(part) for part in message.get("buffers") or ())
        if talk.unsaved is not None:
            talk.unsaved()  # a callback is as good as a call
        letter.number = next(talk.numbers)
        talk.call(talk.service, "comm", (letter.number, letter.kind, text, buffers), {}, letter.number)
