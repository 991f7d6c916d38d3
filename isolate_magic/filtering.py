"""The filter between an untrusted companion and the notebook: a sink in front of another one (host).

JupyterLab trusts what a cell shows while it runs: a script in it can drive the main kernel. So nothing
reaches the sink behind but filtered text (`isolate_magic.escapes`) and filtered displays
(`isolate_magic.bundles`), within a limit per cell and a rate, under display ids of the host's. What was
left out is said in one line at the end of the cell. That line has no gutter, as the companion's have.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from isolate_magic.bundles import filter_bundle, mime
from isolate_magic.escapes import Text, filter_lines
from isolate_magic.output import Sink

__all__ = ["Filtered", "filter_bundle", "filter_lines"]

_PIECE = 4096  # what may be shown over the limit, since a line gets longer by its gutter and colours
_MESSAGE = 128  # what a display or a clearing costs beside its size
_MOST_IDS = 1000
_MOST_NAMED = 6
_DISPLAYS = ("display_data", "execute_result", "update_display_data")


class Filtered:
    """Show the output of one untrusted companion, filtered.

    Args:
        sink: shows what is left.
        name: how the companion is called.
        output: how many bytes a cell may show, None for no limit.
        rate: how many bytes a second it may show, None for no limit; it may save up those of one second.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        output: int | None,
        rate: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sink = sink
        self.name = name
        self.output = output
        self.rate = rate
        self.clock = clock
        self.dropped: Counter[str] = Counter()
        self._over: Counter[str] = Counter()  # bytes over the limit and over the rate
        self._texts = {name: Text(dropped=self.dropped) for name in ("stdout", "stderr")}
        self._last = ""  # the stream that showed last, empty after a display
        self._running = False
        self._used = 0
        self._tokens = float(rate or 0)
        self._filled = clock()
        self._prefix = f"isolate-{secrets.token_hex(8)}"
        self._ids: dict[str, str] = {}

    def begin(self) -> None:
        """Note that a cell of this companion begins: the limit counts from here."""
        self._end_lines()
        self._running, self._used = True, 0

    def finish(self) -> None:
        """Note that the cell is over: end its last line, and say what was left out."""
        self._running = False
        self._end_lines()
        said = self._said()
        self.dropped.clear()
        self._over.clear()
        if said:
            self.sink.stream("stderr", f"companion {self.name!r}: dropped {said}\n")

    def stream(self, name: str, text: str) -> None:
        """Show text of `stdout` or `stderr`."""
        if name not in self._texts or not isinstance(text, str):
            self.dropped["unknown message"] += 1
            return
        filtered = self._texts[name]
        if name != self._last:
            filtered.again()
            self._last = name
        for place in range(0, len(text), _PIECE):
            room = self._room()
            piece = text[place : place + _PIECE]
            if room <= 0:
                self._left_out(_size(text[place:]))
                break
            kept = (
                piece.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
                if _size(piece) > room
                else piece
            )
            shown = filtered.feed(kept) + filtered.pause()
            self._charge(max(_size(kept), _size(shown)))
            if shown:
                self.sink.stream(name, shown)
            if kept is not piece:
                self._left_out(_size(piece) - _size(kept))

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Show, update or clear a display."""
        content = content if isinstance(content, dict) else {}
        if kind == "clear_output":
            self._clear(content)
        elif (kind == "page" and self._running) or kind in _DISPLAYS:
            self._display(kind, content)
        else:
            self.dropped[f"{mime(kind)} message"] += 1

    def _clear(self, content: dict[str, Any]) -> None:
        """Clear the output of the cell that runs; outside of one it would be another's."""
        if not self._running:
            self.dropped["clear_output outside of its cell"] += 1
        elif self._room() > 0:
            self._charge(_MESSAGE)
            self._last = ""
            self.sink.message("clear_output", {"wait": content.get("wait") is True})

    def _display(self, kind: str, content: dict[str, Any]) -> None:
        came = _weight(content.get("data"))
        if came > self._room():
            self._left_out(came)
            return
        transient = content.get("transient")
        theirs = transient.get("display_id") if isinstance(transient, dict) else None
        if kind == "update_display_data" and (not isinstance(theirs, str) or theirs not in self._ids):
            self.dropped["update of a display not its own"] += 1
            return
        data, metadata = filter_bundle(content.get("data"), content.get("metadata"), self.name, self.dropped)
        if not data:
            return
        cost = _MESSAGE + max(came, _weight(data) // 2)  # a picture stands in it twice
        if cost > self._room():
            self._left_out(cost)
            return
        self._charge(cost)
        self._last = ""
        if kind == "execute_result" and not self._running:
            kind = "display_data"  # no value of the cell of the session that runs now
        shown: dict[str, Any] = {"data": data, "metadata": metadata, "transient": self._transient(theirs)}
        if kind == "execute_result":
            shown["execution_count"] = _count(content.get("execution_count"))
        self.sink.message(kind, shown)

    def _transient(self, theirs: object) -> dict[str, str]:
        """Return the host's id of a display; more than a thousand are shown without one."""
        if not isinstance(theirs, str) or not 0 < len(theirs) <= 200:
            return {}
        if theirs not in self._ids:
            if len(self._ids) >= _MOST_IDS:
                self.dropped["display id over 1000"] += 1
                return {}
            self._ids[theirs] = f"{self._prefix}-{len(self._ids)}"
        return {"display_id": self._ids[theirs]}

    # ------------------------------------------------------------ limits

    def _room(self) -> int:
        """Tell how many bytes may be shown now."""
        room = 1 << 62 if self.output is None else self.output - self._used
        if self.rate is None:
            return room
        now = self.clock()
        self._tokens = min(float(self.rate), self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        return min(room, int(self._tokens))

    def _charge(self, size: int) -> None:
        self._used += size
        self._tokens -= size if self.rate is not None else 0

    def _left_out(self, size: int) -> None:
        whole = self.output is not None and self._used + size > self.output
        self._over["output" if whole else "rate"] += size

    # ------------------------------------------------------------ the end of a cell

    def _end_lines(self) -> None:
        for name in sorted(self._texts, key=lambda name: name == self._last):
            if rest := self._texts[name].close():
                self.sink.stream(name, rest)
        self._last = ""

    def _said(self) -> str:
        """Say what was left out, or nothing."""
        counts = [(what, count) for what, count in self.dropped.most_common() if count]
        parts = [f"{count} {_many(what, count)}" for what, count in counts[:_MOST_NAMED]]
        if rest := sum(count for _, count in counts[_MOST_NAMED:]):
            parts.append(f"{rest} more")
        if size := self._over["output"]:
            parts.append(f"{_bytes(size)} over the limit of {_bytes(self.output or 0)} per cell")
        if size := self._over["rate"]:
            parts.append(f"{_bytes(size)} over the rate of {_bytes(self.rate or 0)} per second")
        return ", ".join(parts)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _weight(data: object) -> int:
    """Return how many characters the bodies of a display have."""
    if not isinstance(data, dict):
        return 0
    return sum(len(body) for body in data.values() if isinstance(body, str))


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 31 else None


def _many(what: str, count: int) -> str:
    plural = count > 1 and what.rsplit(maxsplit=1)[-1] in ("sequence", "character", "message")
    return f"{what}s" if plural else what


def _bytes(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
