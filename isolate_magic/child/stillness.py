"""Whether a fork of this process would live on, and how to make its thread pools ready for one (companion).

Of a process with threads, fork(2) copies the one that calls it. A copy then waits for ever for threads that
it does not have, unless the library that made them stops them before, or starts them anew. Which library does
what, tests/child/test_stillness.py finds out with the real ones.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from isolate_magic.child import strands
from isolate_magic.child.libraries import Libraries, function

_HARD = 2  # omp_pause_hard of OpenMP 5.0
_NOT_INITIALIZED = 3  # CUDA_ERROR_NOT_INITIALIZED
_PATIENCE = 0.02  # seconds for threads that work or spin just now
_STEP = 0.0005

_OPENMP = re.compile(r"lib(gomp|omp|iomp5)[-.]")
_OPENBLAS = re.compile(r"lib(scipy_)?openblas")
_MENDED = re.compile(
    r"(libarrow|lib(?:scipy_)?openblas(?:64_)?|pypocketfft|pyduccfft|workqueue|libtorch_cpu|cv2)[-.]"
)
"""Libraries that know about forks: they start their threads anew in a copy, or do without."""
_HARMLESS = frozenset({("tqdm._monitor", "TMonitor")})
"""Python's threads that nobody waits for, as long as they sleep."""
_SAID = {
    "_polars_runtime": "polars keeps threads that do not survive a fork",
    "libc10": "torch has started threads for torch.jit.fork or the like, which do not survive a fork",
    "libtbb": "TBB has started threads, which do not survive a fork",
}

_libraries = Libraries()
_pools: dict[str, Callable[[], Any]] = {}
_ending: set[str] = set()
"""Threads that `rest` ends; a thread stays what it is, so one look at each is enough."""
_staying: set[int] = set()
"""Threads of Python that did not end while they were waited for."""
_stubborn: set[str] = set()
"""Threads beside those that did not fall asleep."""


def obstacle() -> str:
    """Say why a fork of this process would not live on, "" if it would; call it in the main thread.

    Returns:
        one clause for the user.
    """
    return _python_threads() or _cuda() or _numba() or _native_threads()


def rest() -> None:
    """End the threads of OpenMP and OpenBLAS, which both start again when they are needed.

    OpenMP must be told. OpenBLAS would do so at the fork itself.
    """
    _learn()
    for end in _pools.values():
        end()


def _learn() -> None:
    """Find the pools that can be ended, if libraries have come or gone."""
    if not _libraries.look():
        return
    _pools.clear()
    for path in _libraries.paths:
        file = os.path.basename(path)
        if _OPENMP.match(file):
            pause = function(path, "omp_pause_resource_all")
            if pause is not None:
                _pools[path] = lambda pause=pause: pause(_HARD)  # type: ignore[misc]
        elif _OPENBLAS.match(file):
            shut = function(path, "blas_thread_shutdown_")
            if shut is not None:
                _pools[path] = shut


def _python_threads() -> str:
    """Look for other threads of Python; those that are just ending, as a pool's do, get a moment."""
    until = time.monotonic() + _PATIENCE
    while True:
        frames = sys._current_frames()
        _staying.intersection_update(frames)
        ident, name = _other(frames)
        if not name or ident in _staying:
            break
        if time.monotonic() > until:
            _staying.add(ident)
            break
        time.sleep(_STEP)
    return f"another Python thread runs ({name})" if name else ""


def _other(frames: dict[int, Any]) -> tuple[int, str]:
    """Return the number and name of a thread that would be missing in a copy, or "" for the name."""
    here, known = threading.get_ident(), set()
    for thread in threading.enumerate():
        known.add(thread.ident or 0)
        if thread.ident != here and not _sleeps_harmless(thread, frames):
            return thread.ident or 0, thread.name[:60] or "without a name"
    for ident in frames.keys() - known - {here}:
        return ident, "one that the module threading does not know"
    return 0, ""


def _sleeps_harmless(thread: threading.Thread, frames: dict[int, Any]) -> bool:
    """Return whether a thread may be missing in a copy, and holds no lock just now."""
    kind = type(thread)
    if (kind.__module__, kind.__name__) not in _HARMLESS:
        return False
    frame = frames.get(thread.ident or 0)
    return frame is None or frame.f_code is threading.Condition.wait.__code__


def _cuda() -> str:
    """Ask the driver itself, whoever has loaded it: PyTorch, CuPy, JAX, numba."""
    _learn()
    for path in _libraries.paths:
        if os.path.basename(path).startswith("libcuda.so"):
            count = function(path, "cuDeviceGetCount")
            if count is not None and count(ctypes.byref(ctypes.c_int())) != _NOT_INITIALIZED:
                return "CUDA is initialised"
    return ""


def _numba() -> str:
    """Numba's OpenMP layer ends forks on purpose, by a look at who their parent is."""
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if getattr(parallel, "_is_initialized", False) and "numba.np.ufunc.omppool" in sys.modules:
        return "numba's OpenMP layer has run, which may end a fork on purpose"
    return ""


def _native_threads() -> str:
    """Look at every thread that is not known to end at a fork, or to be started anew."""
    until = 0.0
    while True:
        try:
            wrong, busy = _sort()
        except OSError as error:
            return f"its native threads cannot be seen ({error.strerror})"
        if wrong or not busy:
            return wrong
        if _stubborn.issuperset(busy) or (until and time.monotonic() > until):
            _stubborn.update(busy)
            return f"a thread is at work that the module threading does not know ({strands.name(busy[0])})"
        if not until:
            rest()
            until = time.monotonic() + _PATIENCE
        time.sleep(_STEP)  # nothing tells when a thread falls asleep


def _sort() -> tuple[str, list[str]]:
    """Return what is wrong with a thread, if anything, and the threads that may still end or fall asleep."""
    _learn()
    numbers = strands.beside()
    _ending.intersection_update(numbers)
    _stubborn.intersection_update(numbers)
    busy, harmless = [], threading.active_count() - 1
    for number in numbers:
        if number in _ending:
            continue
        try:
            path = strands.waits_in(number, _libraries)
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if path == "" and harmless:
            harmless -= 1
        elif not path:
            busy.append(number)
        elif path in _pools:
            _ending.add(number)
        elif not _survives(path):
            return _said(path, number), []
    return "", busy


def _survives(path: str) -> bool:
    """Return whether a library gets along without this thread."""
    file = os.path.basename(path)
    if file.startswith("libtbb.") and "numba.np.ufunc.tbbpool" in sys.modules:
        return True  # which ends them before a fork
    return _MENDED.match(file) is not None


def _said(path: str, number: str) -> str:
    file = os.path.basename(path)
    for start, clause in _SAID.items():
        if file.startswith(start):
            return clause
    origin = "unknown origin" if file == "?" else file
    return f"a native thread does not survive a fork ({strands.name(number)}, of {origin})"
