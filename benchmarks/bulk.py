"""Arrays: out of a companion by `byvalue` and into it as an argument, beside the bare system calls."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from typing import Any

from benchmarks import things
from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn
from benchmarks.peers import end, fork, receive_pickle, send_pickle

SIZES = (8, 80, 800)
"""In millions of bytes."""
KINDS = {
    ("two", 80): "in a list of two", ("two", 800): "in a list of two",
    ("table", 80): "as a data frame", ("table", 800): "as a data frame",
    ("gaps", 80): "every other thousand columns",
}  # fmt: skip
"""Other arguments than one array, by operation and size."""
SHARING = {"share": "`share`", "first": "first hand-over", "again": "every other hand-over"}
"""The steps of sharing, by operation, in their order."""

_CHUNK = 1 << 30
_M_MMAP_THRESHOLD = -3


def length(megabytes: int) -> int:
    """Return how many float64 items an array of this size has."""
    return megabytes * 1_000_000 // 8


def take_fresh_memory() -> None:
    """Let malloc map every large block anew.

    By itself it raises its threshold when the first block is freed (mallopt(3)), up to 32 MB, and hands out
    warm pages from then on: an array of 8 MB would be fresh or not by accident.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


class Ours(Contestant):
    """Copy arrays out of a companion and into it."""

    measures_itself = True

    def __init__(self) -> None:
        from isolate_magic import Companion

        take_fresh_memory()
        self.companion = Companion("benchmark", preload=["numpy", "pandas"]).start()
        self.module = self.companion.load_module("benchmarks.things")
        self.shared: Any = None

    def out(self, _number: int, megabytes: int) -> float:
        """Copy an array out."""
        from isolate_magic import byvalue

        lent = self.module.ones(length(megabytes))
        begin = time.perf_counter()
        array = byvalue(lent)
        took = time.perf_counter() - begin
        _check(array, megabytes)
        return took

    def into(self, _number: int, megabytes: int) -> float:
        """Call a function with an array."""
        array = things.ones(length(megabytes))
        last = self.module.last
        begin = time.perf_counter()
        found = last(array)
        took = time.perf_counter() - begin
        _check([found], megabytes)
        return took

    def two(self, _number: int, megabytes: int) -> float:
        """Call a function with a list of two arrays."""
        halves = [things.ones(length(megabytes) // 2) for _ in range(2)]
        return self._given(self.module.last_of_last, halves)

    def table(self, _number: int, megabytes: int) -> float:
        """Call a function with a data frame of ten columns."""
        import pandas as pd

        return self._given(
            self.module.last_cell, pd.DataFrame(things.ones(length(megabytes)).reshape(-1, 10))
        )

    def gaps(self, _number: int, megabytes: int) -> float:
        """Call a function with every other column of an array."""
        wide = things.ones(length(megabytes) * 2).reshape(-1, 2000)
        return self._given(self.module.last_cell_of, wide[:, :1000])

    def _given(self, function: Any, thing: Any) -> float:
        begin = time.perf_counter()
        found = function(thing)
        took = time.perf_counter() - begin
        _check([found], 0)
        return took

    def share(self, _number: int, megabytes: int) -> float:
        """Put an array into shared memory."""
        from isolate_magic import share

        array = things.ones(length(megabytes))
        self.shared = None
        for _ in range(2):  # the companion lets go of the last one after the first of these
            self.module.last(array[:1])
        begin = time.perf_counter()
        self.shared = share(array)
        took = time.perf_counter() - begin
        _check(self.shared, megabytes)
        return took

    def first(self, _number: int, _megabytes: int) -> float:
        """Hand the array over that `share` has made last, which the companion has not seen."""
        return self._given(self.module.last, self.shared)

    def again(self, _number: int, _megabytes: int) -> float:
        """Hand it over once more."""
        return self._given(self.module.last, self.shared)

    def stop(self) -> None:
        """End the companion."""
        self.companion.close()


def _check(array: Any, megabytes: int) -> None:
    if array[-1] != 1.0 or getattr(array, "nbytes", megabytes * 1_000_000) != megabytes * 1_000_000:
        raise RuntimeError("wrong data")


class Bare(Contestant):
    """Make the system calls and nothing else: no request, no reply, no check of what came."""

    measures_itself = True

    def __init__(self) -> None:
        take_fresh_memory()
        # The fork comes before anything else: numpy's import starts threads.
        self.sock, theirs = socket.socketpair()
        self.pid = fork(lambda: _hold_arrays(self.sock, theirs))
        theirs.close()
        self.libc = ctypes.CDLL(None, use_errno=True)

    def out(self, _number: int, megabytes: int) -> float:
        """Read an array of the child into a fresh one: `process_vm_readv`."""
        import numpy as np

        there = self._ask("ones", megabytes)
        begin = time.perf_counter()
        array = np.empty(length(megabytes))
        self._move("process_vm_readv", array.ctypes.data, there, array.nbytes)
        took = time.perf_counter() - begin
        _check(array, megabytes)
        return took

    def into(self, _number: int, megabytes: int) -> float:
        """Write an array into fresh memory of the child: `process_vm_writev`."""
        array = things.ones(length(megabytes))
        there = self._ask("room", megabytes)
        begin = time.perf_counter()
        self._move("process_vm_writev", array.ctypes.data, there, array.nbytes)
        return time.perf_counter() - begin

    def memcpy(self, _number: int, megabytes: int) -> float:
        """Copy between two arrays of ours whose pages are all there."""
        import numpy as np

        source, target = things.ones(length(megabytes)), things.ones(length(megabytes))
        begin = time.perf_counter()
        np.copyto(target, source)
        return time.perf_counter() - begin

    def _ask(self, what: str, megabytes: int) -> int:
        send_pickle(self.sock, (what, megabytes))
        return int(receive_pickle(self.sock))

    def _move(self, call: str, here: int, there: int, size: int) -> None:
        done = 0
        while done < size:
            count = min(_CHUNK, size - done)
            local, remote = (_Piece(start + done, count) for start in (here, there))
            one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
            moved = getattr(self.libc, call)(
                self.pid, ctypes.byref(local), one, ctypes.byref(remote), one, none
            )
            if moved <= 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done += moved

    def stop(self) -> None:
        """End the child."""
        end(self.pid)


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _hold_arrays(ours: socket.socket, theirs: socket.socket) -> None:
    ours.close()
    import numpy as np

    array: Any = None
    while True:
        what, megabytes = receive_pickle(theirs)
        array = None
        array = things.ones(length(megabytes)) if what == "ones" else np.empty(length(megabytes))
        send_pickle(theirs, array.ctypes.data)


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section; the quick run leaves the largest size out."""
    field.enter({"bare": ("bulk:Bare", {}), "ours": ("bulk:Ours", {})})
    figures = {}
    for megabytes in SIZES[: 2 if quick else 3]:
        turns = [Turn(f"memcpy {megabytes}", "bare", "memcpy", 1, (megabytes,))]
        turns += [
            Turn(f"{operation} {megabytes} {name}", name, operation, 1, (megabytes,))
            for operation in ("out", "into")
            for name in ("bare", "ours")
        ]
        turns += [
            Turn(f"{kind} {megabytes} ours", "ours", kind, 1, (megabytes,))
            for kind, size in KINDS
            if size == megabytes
        ]
        turns += [Turn(f"{step} {megabytes} ours", "ours", step, 1, (megabytes,)) for step in SHARING]
        figures |= field.rounds(turns, 2 if quick else {8: 15, 80: 9, 800: 5}[megabytes])
    return figures
