"""The companion's stdout and stderr, and their place among the displays (companion).

Text goes straight into the same pipes that C code writes to, so the order within a stream is that of
the writes and nothing is lost at a crash. Between streams a *barrier* keeps the order: a short mark
written into both pipes whenever Python turns from one stream to the other or shows an output. The
host shows what stands before a barrier before what stands behind it (`isolate_magic.output`).
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any


class Order:
    """Number the barriers of one companion.

    Args:
        token: what opens every mark (`isolate_magic.link.layout`); drawn by the host for this companion.
        out, err: descriptors of the two pipes, for us alone: user code may redirect 1 and 2.
    """

    def __init__(self, token: bytes, out: int, err: int) -> None:
        self.token = token
        self.pipes = (out, err)
        self.last = out
        self.number = 0
        self.alone = True
        self.lock = threading.RLock()
        # A forked child of the user's writes into the same pipes, but numbers no barriers.
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.alone = False
        self.lock = threading.RLock()

    def turn(self, pipe: int) -> None:
        """Put a barrier where Python turns to another stream."""
        if pipe != self.last and self.alone:
            with self.lock:
                self.last = pipe
                self._mark(b"s")

    def show(self, send: Callable[[int], None]) -> None:
        """Put a barrier and send the event that belongs to it; `send` gets its number."""
        with self.lock:
            self._mark(b"e")
            send(self.number)

    def ring(self) -> None:
        """Wake the host, which reads the pipes also while it waits for nothing of ours."""
        with self.lock:
            self._mark(b"s")

    def _mark(self, kind: bytes) -> None:
        self.number += 1
        mark = self.token + kind + b"%08x" % (self.number & 0xFFFFFFFF)
        for pipe in self.pipes:
            put(pipe, mark)  # shorter than PIPE_BUF, so never split (pipe(7))


class Pipe(io.FileIO):
    """Write to one of the two pipes, whole, and keep the order."""

    def __init__(self, fd: int, order: Order) -> None:
        super().__init__(fd, "wb", closefd=False)
        self.order = order
        self.fd = fd

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of `data`; a pipe takes part of it when a signal comes."""
        self.order.turn(self.fd)
        return put(self.fd, data)

    def close(self) -> None:
        """Stay open: later cells write here too."""


class Console(io.TextIOWrapper):
    """Be `sys.stdout` or `sys.stderr`: each write goes straight to the pipe, and closing does nothing."""

    mode = "w"

    def close(self) -> None:
        """Stay open, as `Pipe`."""
        self.flush()


def put(fd: int, data: Any) -> int:
    """Write all of `data`; a pipe takes a part of it when a signal comes, or when user code unblocked it."""
    view = memoryview(data).cast("B")
    size = len(view)
    while len(view):
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()
    return size


def install(order: Order) -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams on the pipes."""
    for name, pipe in zip(("stdout", "stderr"), order.pipes, strict=True):
        raw = Pipe(pipe, order)
        stream = Console(raw, "utf-8", "backslashreplace", write_through=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
