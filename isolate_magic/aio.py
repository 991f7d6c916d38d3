"""`companion.aio`: cells and calls that an event loop can await (host).

A companion has one main thread, so what is asked of it at once is done one after the other. The wait is
a thread's, which the cells and calls of one companion share; the event loop stays free.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from isolate_magic import awaits
from isolate_magic.crew import Crew, outcome_of, settle
from isolate_magic.errand import Errand

if TYPE_CHECKING:
    from isolate_magic.companion import Companion
    from isolate_magic.inventory import Checkpoint

_GRACE = 2.0  # seconds that a cancelled cell gets to end


class Job(Errand):
    """One piece of work for a companion that an event loop awaits.

    Args:
        work: does it, in a thread.
        loop: the event loop.
    """

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(work)
        self.loop = loop
        self.done: asyncio.Future[Callable[[], Any]] = loop.create_future()
        self._context = contextvars.copy_context()
        self._home = threading.get_ident()

    def tell(self) -> None:
        """Do the work and tell the loop what came of it."""
        if self.begin():
            settle(self.done, outcome_of(lambda: self._context.run(self._within)))

    def _within(self) -> Any:
        awaits.home.set((self.loop, self._home))
        return self.do()


class Aio:
    """Do in an event loop what the methods of the same names do in a thread; raise as they do.

    Cancelling a task that awaits one of these interrupts what it has set off in the companion, which
    lives on with all its names; what had not begun by then never runs.

    Args:
        companion: whose methods they are.

    >>> with Companion("awaited") as companion:
    ...     asyncio.run(companion.aio.run("6 * 7"))
    42
    """

    def __init__(self, companion: Companion) -> None:
        self._companion = companion
        self._crew = Crew("isolate_magic-aio", 1)
        self._others = Crew("isolate_magic-aio", 1)

    async def run(self, source: str, **options: Any) -> Any:
        """Run a cell and return the value of its last expression; see `Companion.run`."""
        __tracebackhide__ = True
        return await self._do(lambda: self._companion.run(source, **options))

    async def run_cell(self, source: str, **options: Any) -> Any:
        """Run a cell as part of a notebook; see `Companion.run_cell`."""
        __tracebackhide__ = True
        return await self._do(lambda: self._companion.run_cell(source, **options))

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function there; of an async one, the result too is awaited. See `Companion.call`."""
        __tracebackhide__ = True
        result = await self._do(lambda: self._companion.call(function, *args, **kwargs))
        return await result if isinstance(result, CoroutineType) else result

    async def load_module(self, name: str, path: str | Iterable[str] | None = None) -> Any:
        """Import a module there and return its proxy; see `Companion.load_module`."""
        __tracebackhide__ = True
        return await self._do(lambda: self._companion.load_module(name, path))

    async def push(self, names: Mapping[str, Any]) -> None:
        """Bind names for the cells."""
        __tracebackhide__ = True
        await self._do(lambda: self._companion.push(names))

    async def pull(self, name: str) -> Any:
        """Return what a name of the cells is bound to; see `Companion.pull`."""
        __tracebackhide__ = True
        return await self._do(lambda: self._companion.pull(name))

    async def checkpoint(self, path: str, *, key: str | bytes) -> Checkpoint:
        """Save what the cells have bound; see `Companion.checkpoint`."""
        __tracebackhide__ = True
        return await self._do(lambda: self._companion.checkpoint(path, key=key))  # type: ignore[no-any-return]

    async def resume(self, path: str, *, key: str | bytes) -> Checkpoint:
        """Bind what a checkpoint holds; see `Companion.resume`."""
        __tracebackhide__ = True
        return await self._do(lambda: self._companion.resume(path, key=key))  # type: ignore[no-any-return]

    async def start(self) -> Companion:
        """Start the process, if there is none, and return the companion."""
        return await self._do(self._companion.start, self._others)  # type: ignore[no-any-return]

    async def restart(self) -> Companion:
        """End the process and start a new one, also under what is being awaited."""
        return await self._do(self._companion.restart, self._others)  # type: ignore[no-any-return]

    async def stop(self) -> None:
        """End the process, also under what is being awaited."""
        await self._do(self._companion.stop, self._others)

    async def _do(self, work: Callable[[], Any], crew: Crew | None = None) -> Any:
        __tracebackhide__ = True
        job = Job(work, asyncio.get_running_loop())
        (crew or self._crew).do(job.tell)
        try:
            outcome = await asyncio.shield(job.done)
        except asyncio.CancelledError:
            if job.cancel():
                await asyncio.wait([job.done], timeout=_GRACE)
            raise
        return outcome()
