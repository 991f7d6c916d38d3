"""Output of a companion: two pipes and the displays put in order again, and where they go (host).

The companion writes marks into both pipes (`isolate_magic.child.streams`). Text before a mark is shown
before what the mark stands for: a turn from stdout to stderr, or a display. The marks are the
companion's word: they order its own output and do nothing else.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from isolate_magic.link.layout import MARK, TOKEN

_READ = 1 << 16
_PIPE = 1 << 20
_HOLD = 1 << 20
_TAIL = 1 << 16
_MOST = 64 << 20
_F_SETPIPE_SZ = 1031
_LAST_READS = 4 * _PIPE // _READ
_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Show output somewhere."""

    def stream(self, name: str, text: str) -> None:
        """Show text of `stdout` or `stderr`."""

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show a display message of the Jupyter protocol: its type and content."""


class Source(Protocol):
    """Be something that output comes from, and may have a place of its own for it."""

    sink: Sink | None

    def at_work(self) -> bool:
        """Tell whether what comes now is its output."""


class Gate(Sink, Protocol):
    """Stand in front of a sink and let through what may pass.

    Attributes:
        sink: shows what passes.
        output: how many bytes a cell may show.
        rate: how many bytes a second it may show.
    """

    sink: Sink
    output: int | None
    rate: int | None

    def begin(self) -> None:
        """Note that a cell begins."""

    def finish(self) -> None:
        """Note that it is over, and say what did not pass."""


class PlainSink:
    """Show output on this process's own stdout and stderr, displays as their plain text."""

    def stream(self, name: str, text: str) -> None:
        """Write to `sys.stdout` or `sys.stderr`."""
        target = getattr(sys, name)
        target.write(text)
        target.flush()

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Print the plain text of a display or an error; clearing has no meaning here."""
        if kind == "error":
            self.stream("stderr", "\n".join([*content.get("traceback", ()), ""]))
        text = content.get("data", {}).get("text/plain")
        if text:
            self.stream("stdout", f"{text}\n")


class NullSink:
    """Show nothing."""

    def stream(self, name: str, text: str) -> None:
        """Drop text."""

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Drop a display."""


default: Sink = PlainSink()


def use(sink: Sink) -> Sink:
    """Show the output of all companions in `sink` from now on; return the sink before."""
    global default
    before, default = default, sink
    return before


class Stream:
    """Read one pipe up to the next barrier."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.held = b""
        self.stopped = 0  # the barrier in front of `held`, 0 for none
        self.kind = b""
        self.closed = False
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        os.set_blocking(fd, False)
        try:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE)
        except OSError:  # over the user's pipe quota (pipe(7)): the usual 64 KiB do
            return

    def read(self) -> bool:
        """Take what is in the pipe; return whether there was anything."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return False
        self.closed = self.closed or not data
        self.held += data
        return bool(data)

    def take(self, token: bytes, passed: int, everything: bool) -> bytes:
        """Return the text up to the next barrier that has not been passed, and stop there."""
        text = b""
        self.stopped = 0
        while self.held:
            place = self.held.find(token)
            if place < 0 or len(self.held) < place + MARK:
                end = len(self.held) if everything else _beginning(self.held, token) if place < 0 else place
                text, self.held = text + self.held[:end], self.held[end:]
                break
            mark = self.held[place + TOKEN : place + MARK]
            text, self.held = text + self.held[:place], self.held[place:]
            try:
                number = int(mark[1:], 16)
            except ValueError:
                number = 0
            if number > passed and not everything:
                self.stopped, self.kind = number, mark[:1]
                break
            self.held = self.held[MARK:]
        return text


def _beginning(held: bytes, token: bytes) -> int:
    """Return where a token begins of which only a part has come, or the length if none does."""
    place = max(0, len(held) - len(token))
    while (place := held.find(token[:1], place)) >= 0:
        if token.startswith(held[place:]):
            return place
        place += 1
    return len(held)


class Output:
    """Put the output of one companion in order and show it.

    Args:
        token: what every mark begins with.
        out, err: read ends of the pipes.

    Attributes:
        cells: the cells under way, the innermost last.
        leaving: whether a cell has said `exit`.
    """

    def __init__(self, token: bytes, out: int, err: int) -> None:
        self.token = token
        self.streams = (Stream("stdout", out), Stream("stderr", err))
        self.passed = 0
        self.events: dict[
            int, tuple[str, bytes]
        ] = {}  # as they came: read, they may be twenty times as large
        self.cells: list[Source] = []
        self.leaving = False
        self.gate: Gate | None = None
        self.relay: Callable[[str, dict[str, Any]], None] | None = None  # takes what comms say
        self.aside: Sink | None = None  # in place of `sink`, for what answers a message of the notebook
        self.tail: deque[tuple[str, str]] = deque()
        self._tail_size = 0
        self._waiting = 0  # bytes in `events`

    def pump(self) -> bool:
        """Read both pipes once and show what is due; return whether there was anything to read."""
        found = False
        for stream in self.streams:
            if not stream.read():
                continue
            found = True
            if len(stream.held) > _HOLD:
                self.passed = max(self.passed, stream.stopped)  # no honest companion gets here
        self._advance()
        return found

    @property
    def closed(self) -> set[int]:
        """Tell which pipes the companion has closed."""
        return {stream.fd for stream in self.streams if stream.closed}

    def event(self, number: int, kind: str, content: bytes) -> None:
        """Take a display and show it at its place."""
        parsed = json.loads(content)
        if not isinstance(parsed, dict):
            raise ValueError("a display that is no JSON object")
        if number <= self.passed:
            self._message(kind, parsed)
            return
        self.events[number] = (kind, content)
        self._waiting += len(content)
        if len(self.events) > 1000 or self._waiting > _MOST:
            self.settle()
        for _ in range(1 + 2 * _PIPE // _READ):
            self.pump()
            if number <= self.passed or not sum(stream.read() for stream in self.streams):
                break
        self._advance()

    def settle(self) -> None:
        """Show all that has arrived, whether its barrier has come or not."""
        self._advance()
        if self.events or any(stream.held for stream in self.streams):
            for stream in self.streams:
                self._text(stream, stream.take(self.token, self.passed, True), True)
            for number in sorted(self.events):
                self._due(number)
                self.passed = max(self.passed, number)
        self._waiting = 0

    def drain(self) -> None:
        """Read the pipes to their end after a death, and show everything."""
        for _ in range(_LAST_READS):  # a process that it has left behind may write for ever
            if not sum(stream.read() for stream in self.streams):
                break
            self._advance()
        self.settle()

    def _advance(self) -> None:
        out, err = self.streams
        while True:
            for stream in self.streams:
                self._text(stream, stream.take(self.token, self.passed, False))
            if not out.stopped or not err.stopped:
                return
            number = min(out.stopped, err.stopped)
            kind = out.kind if out.stopped == number else err.kind
            if kind == b"e":
                if number not in self.events:
                    return
                self._due(number)
                self._waiting = 0 if not self.events else self._waiting
            self.passed = number

    def _text(self, stream: Stream, data: bytes, final: bool = False) -> None:
        text = stream.decode(data, final)
        if text:
            self._remember(stream.name, text)
            try:
                self.way().stream(stream.name, text)
            except Exception:  # border: the sink is the user's, and its trouble is none of the companion's
                _log.warning("output of a companion could not be shown", exc_info=True)

    def _due(self, number: int) -> None:
        """Show a display that has waited for its place."""
        kind, content = self.events.pop(number)
        self._message(kind, json.loads(content))

    def _message(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "leave":
            self.leaving = True
            return
        try:
            if self.relay is not None and kind.startswith("comm_"):
                self.relay(kind, content)
            else:
                self.way().message(kind, content)
        except Exception:  # border: as above
            _log.warning("a display of a companion could not be shown", exc_info=True)

    def way(self) -> Sink:
        """Return what shows the companion's output now."""
        found = (cell.sink for cell in reversed(self.cells) if cell.sink is not None and cell.at_work())
        return self._through(self.aside or next(found, None) or default)

    def _through(self, target: Sink) -> Sink:
        if self.gate is None:
            return target
        self.gate.sink = target
        return self.gate

    def _remember(self, name: str, text: str) -> None:
        """Keep the last output for the crash report and the logs."""
        text = text[-_TAIL:]
        self.tail.append((name, text))
        self._tail_size += len(text)
        while self._tail_size > _TAIL and len(self.tail) > 1:
            self._tail_size -= len(self.tail.popleft()[1])

    def begin(self) -> None:
        """Note that a cell begins; its crash report shows nothing of earlier ones."""
        self.tail.append(("", ""))
        self.way()
        if self.gate is not None:
            self.gate.begin()

    def finish(self, sink: Sink | None = None) -> None:
        """Note that a cell is over, whose output went to `sink`, or to where it goes by default."""
        self._through(sink or default)
        if self.gate is not None:
            self.gate.finish()

    def last(self, name: str | None = None, of_cell: bool = False) -> str:
        """Return the last output, at most some 64 KiB.

        Args:
            name: one stream; both as they came by default.
            of_cell: whether what came before the last cell began is left out.
        """
        texts: list[str] = []
        for stream, text in self.tail:
            if of_cell and not stream:
                texts.clear()
            elif name in (None, stream):
                texts.append(text)
        return "".join(texts)
