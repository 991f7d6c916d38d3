"""The end of this process in good order, as any Python session ends that nobody kills (companion)."""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import threading
from _io import _IOBase
from typing import Any, NoReturn

_BUFFERED = (io.BufferedWriter, io.BufferedRandom)
_HOLDING_NOTHING = (io.FileIO, io.BufferedReader, io.BytesIO, io.StringIO)


def leave(names: dict[str, object]) -> NoReturn:
    """Do what a Python session does at its end, and end.

    Threads that are no daemons are waited for, what was registered with `atexit` runs, the cells' names are
    deleted, open files are written, and C libraries clean up (exit(3)). What Python does beyond, it takes all
    modules apart, would take several times as long.

    Args:
        names: the namespace of the cells.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    files = _open_files()
    gc.freeze()  # IPython's and matplotlib's handlers collect garbage, which takes longer than all the rest
    atexit._run_exitfuncs()
    names.clear()
    _write(files)
    ctypes.PyDLL(None).exit(0)  # keeps the GIL, so that no other thread runs meanwhile
    raise SystemExit  # for the type checker: exit(3) does not return


def _write(files: list[Any]) -> None:
    """Write what files still hold back, from the outside to the inside.

    Some are only whole when they are closed, such as gzip's.
    """
    kinds = [type(file) for file in files]
    for file, kind in zip(files, kinds, strict=True):
        if kind is io.TextIOWrapper:
            _try(file.flush)
    for file, kind in zip(files, kinds, strict=True):
        if kind is not io.TextIOWrapper and kind not in _BUFFERED:
            _try(file.close)
    for file, kind in zip(files, kinds, strict=True):
        if kind in _BUFFERED:
            _try(file.flush)


def _open_files() -> list[Any]:
    """Find files that may hold something, by their types: what `__class__` says may be anything."""
    wanted: dict[type, bool] = {}
    files = []
    for thing in gc.get_objects():
        cls = type(thing)
        if cls not in wanted:
            wanted[cls] = _IOBase in cls.__mro__ and cls not in _HOLDING_NOTHING
        if wanted[cls]:
            files.append(thing)
    return files


def _try(act: Any) -> None:
    try:
        act()
    except Exception:  # border: a file that was closed already, a disk that is full, a class of the user's
        return
