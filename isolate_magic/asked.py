"""What a companion is asked for beside cells: calls, modules, names (host)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from isolate_magic.errors import ProcessTerminationError
from isolate_magic.tracing import Trace, tracing
from isolate_magic.variables import Variable, variables

if TYPE_CHECKING:
    from isolate_magic.process import Process

_log = logging.getLogger(__name__)


class Asked:
    """Be the part of `Companion` that asks a living process."""

    _process: Process | None

    def _living(self) -> Process:
        raise NotImplementedError

    def _alive(self) -> Process | None:
        raise NotImplementedError

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function there and return its result.

        Args:
            function: any function that pickles, also a lambda, or a proxy of one. It always runs in
                the companion, so `companion.call(os.getpid)` is the companion's pid.
            *args: its arguments by place.
            **kwargs: its arguments by name.

        Raises:
            TransferError: the function or an argument cannot travel.
            ProcessTerminationError: the companion died.
            Exception: what the function raised, as its own class.
        """
        __tracebackhide__ = True
        return self._living().talk.run(function, args, kwargs)

    def load_module(self, name: str, path: str | Iterable[str] | None = None) -> Any:
        """Import a module there and return its proxy.

        Args:
            name: the module's full name.
            path: folders to look in instead of `sys.path`; relative ones count from its own directory.

        Raises:
            ModuleNotFoundError: there is no such module.
        """
        __tracebackhide__ = True
        folders = None if path is None else [path] if isinstance(path, str) else list(path)
        return self._living().talk.ask("load_module", name, folders)

    def push(self, names: Mapping[str, Any]) -> None:
        """Bind names for the cells."""
        __tracebackhide__ = True
        self._living().talk.ask("push", dict(names))

    def pull(self, name: str) -> Any:
        """Return what a name of the cells is bound to, by value or as a proxy.

        Raises:
            NameError: no cell has bound it.
        """
        __tracebackhide__ = True
        return self._living().talk.ask("pull", name)

    def vars(self) -> list[Variable]:
        """Return the names that cells have bound, each with type, size and a short text of the value."""
        __tracebackhide__ = True
        return variables(self._living().talk)

    def tracing(self) -> AbstractContextManager[Trace]:
        """Find out what it tries meanwhile; see `isolate_magic.tracing.tracing`."""
        return tracing(self)  # type: ignore[arg-type]

    def after_cell(self) -> None:
        """Let it do what follows a cell there, when one here has used it: pyplot's figures are shown then."""
        process = self._alive()
        if process is None or process.talk.slots or process.talk.latest == process.rested:
            return  # dead, at work for another thread, or unused since the last time
        if process.talk.ahead is not None:  # a cell in the background begins in this very moment
            return
        try:
            process.seen.name(process.talk.ask("after_cell"))
        except ProcessTerminationError:  # whoever uses it next is told
            return
        except BaseException:  # border: its word, or the user's interrupt, which is for this one alone
            _log.warning("companion %r has failed in what follows a cell", process.name)
        finally:
            process.rested = process.talk.latest  # whatever came of it, it is not asked for the same again

    def logs(self) -> str:
        """Return its last output, at most some 64 KiB."""
        return self._process.logs() if self._process else ""
