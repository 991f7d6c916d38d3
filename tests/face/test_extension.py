"""Loading, loading twice, reloading, unloading: what was there before is there afterwards, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel

_LOOK = """
def _look():
    import sys, threading
    shell = get_ipython()
    kernel, completer = getattr(shell, "kernel", None), shell.Completer
    known = {
        "events": {name: list(found) for name, found in shell.events.callbacks.items()},
        "magics": {kind: sorted(found) for kind, found in shell.magics_manager.magics.items()},
        "transformers": [shell.input_transformers_cleanup[:], shell.input_transformers_post[:],
                         shell.input_transformer_manager.line_transforms[:], shell.ast_transformers[:]],
        "matchers": [completer.custom_matchers[:], completer.disable_matchers[:]],
        "shell": sorted(vars(shell)), "completer": sorted(vars(completer)),
        "display": [shell.displayhook, shell.display_pub, sys.displayhook, sys.excepthook],
        "configurables": [type(part).__name__ for part in shell.configurables],
        "handlers": shell.custom_exceptions, "names": sorted(n for n in shell.user_ns if n[0] != "_"),
        "formatters": [sorted(map(str, f.type_printers)) for f in shell.display_formatter.formatters.values()],
        "threads": sorted(t.name for t in threading.enumerate() if "isolate" in t.name),
    }
    if kernel is not None:
        known["kernel"] = sorted(vars(kernel))
        known["comms"] = [sorted(kernel.comm_manager.targets), sorted(kernel.comm_manager.comms)]
    return known

def _children():
    import os, psutil
    return [p.name() for p in psutil.Process(os.getpid()).children(recursive=True)]
"""


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    made.run(_LOOK)
    made.run(
        "import isolate_magic, psutil, traitlets, ipywidgets; del isolate_magic, psutil, traitlets, ipywidgets"
    )
    # What IPython itself keeps of an extension stays: that it was loaded once.
    made.run("_before = _look()")
    yield made
    made.close()


_USED = """%%isolated -o there
there = [1]
there"""
_CRASHED = """%%isolated
import ctypes; ctypes.string_at(0)"""


def used(kernel: Kernel) -> None:
    """Let a companion run, answer, show and crash."""
    assert kernel.run(_USED).status == "ok"
    assert kernel.run(_CRASHED).status == "error"
    assert kernel.run("import_isolated('math').sqrt(4.0); del there").status == "ok"


def differences(kernel: Kernel) -> str:
    """Return what is not as it was before."""
    return kernel.run(
        "_now = _look()\\nfor _k in _now:\\n    if _now[_k] != _before[_k]: print(_k, _before[_k], _now[_k])"
    ).stream()


def test_unloading_leaves_nothing_behind(kernel: Kernel) -> None:
    assert kernel.run("%load_ext isolate_magic").status == "ok"
    used(kernel)
    assert kernel.run("%unload_ext isolate_magic").status == "ok"
    assert differences(kernel) == ""
    assert kernel.run("%%isolated\\n1").status == "error"


def test_loading_twice_and_reloading_is_loading_once(kernel: Kernel) -> None:
    kernel.run("%load_ext isolate_magic")
    once = kernel.run("print(_look())").stream()
    assert "already loaded" in kernel.run("%load_ext isolate_magic").stream()
    assert kernel.run("%reload_ext isolate_magic").status == "ok"
    counts = kernel.run("_l = _look(); print([len(v) for v in _l['events'].values()], _l['magics'])").stream()
    used(kernel)
    assert kernel.run("%reload_ext isolate_magic").status == "ok"
    assert (
        kernel.run("_l = _look(); print([len(v) for v in _l['events'].values()], _l['magics'])").stream()
        == counts
    )
    used(kernel)
    assert len(once) > 100
    assert kernel.run("%unload_ext isolate_magic").status == "ok"
    assert differences(kernel) == ""


def test_the_processes_of_the_companions_end_with_it(kernel: Kernel) -> None:
    kernel.run("%load_ext isolate_magic")
    used(kernel)
    assert "isolate" in kernel.run("print(_children())").stream()
    kernel.run("%unload_ext isolate_magic")
    assert kernel.run("print(_children())").stream().strip() == "[]"
