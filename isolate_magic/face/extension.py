"""What `%load_ext isolate_magic` puts in place, and `%unload_ext` takes back (face)."""

from __future__ import annotations

from typing import Any

from isolate_magic import following, frontend, output, progress, spawner
from isolate_magic.defaults import defaults
from isolate_magic.errors import ProcessTerminationError
from isolate_magic.face import autoisolate, card, completion, inspection
from isolate_magic.face.configuration import configure, withdraw
from isolate_magic.face.gauge import Gauge
from isolate_magic.face.magics import IsolateMagics
from isolate_magic.face.notebook import ShellFrontend
from isolate_magic.face.overrides import Override
from isolate_magic.face.sink import ShellSink
from isolate_magic.face.top import close_all, deafen
from isolate_magic.face.tracebacks import crash_renderer
from isolate_magic.session import byvalue, companions, import_isolated

_NAMES = {"import_isolated": import_isolated, "byvalue": byvalue}
_MAGICS = (("cell", "isolated"), ("cell", "autoisolated"), ("line", "isolate"), ("line", "autoisolate"))
_before: list[tuple[output.Sink, frontend.Frontend]] = []
_overrides: list[Override] = []


def _before_cell() -> None:
    following.hold()
    deafen(True)


def _after_cell() -> None:
    deafen(False)
    following.tell()
    for companion in companions():
        companion.after_cell()
    card.refresh_all()


def load_ipython_extension(shell: Any) -> None:
    """Load the magics, bind `import_isolated` and `byvalue`, and let a zygote import meanwhile."""
    unload_ipython_extension(shell, stop=False)
    configure(shell)
    shell.register_magics(IsolateMagics)
    shell.push(
        {name: thing for name, thing in _NAMES.items() if name not in shell.user_ns}, interactive=False
    )
    shell.events.register("pre_execute", _before_cell)
    shell.events.register("post_execute", _after_cell)
    autoisolate.install(shell)
    sink = ShellSink(shell)
    _before.append((output.use(sink), frontend.use(ShellFrontend(shell, sink))))
    _overrides.extend([*completion.overrides(shell), *inspection.overrides(shell)])
    progress.use((lambda: Gauge(shell)) if getattr(shell, "kernel", None) is not None else progress.Line)
    ProcessTerminationError._render_traceback_ = crash_renderer(shell)  # type: ignore[attr-defined]
    spawner.zygote(defaults.preload)


def unload_ipython_extension(shell: Any, stop: bool = True) -> None:
    """Take back all that loading has put in place, and end the companions."""
    card.retire_all(f"isolate_magic was {'unloaded' if stop else 'loaded again'}")
    if stop:
        close_all()
        for companion in companions():
            companion.close()
        spawner.stop_zygotes()
    for name, thing in _NAMES.items():
        if shell.user_ns.get(name) is thing:
            shell.drop_by_id({name: thing})
    for kind, name in _MAGICS:
        shell.magics_manager.magics[kind].pop(name, None)
    autoisolate.remove(shell)
    for event, callback in (("pre_execute", _before_cell), ("post_execute", _after_cell)):
        if callback in shell.events.callbacks[event]:
            shell.events.unregister(event, callback)
    following.tell()
    if stop:
        withdraw(shell)
    _take_back()
    progress.use(progress.Line)
    while _before:
        sink, before = _before.pop()
        output.use(sink)
        frontend.use(before)
        del ProcessTerminationError._render_traceback_  # type: ignore[attr-defined]


def _take_back() -> None:
    while _overrides:
        _overrides.pop().take_back()
