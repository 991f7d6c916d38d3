"""Proxies that can be awaited, and slots of requests that no thread waits for (both sides).

`await proxy` must not block the event loop of the main session, so such a request has a `Pending` slot:
whoever reads its reply tells the loop. The companion answers when its own loop has finished the task.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

from isolate_magic.link.peer import Slot
from isolate_magic.link.proxy import Proxy

ERRORS = frozenset({
    "BrokenBarrierError", "CancelledError", "IncompleteReadError", "InvalidStateError", "LimitOverrunError",
    "QueueEmpty", "QueueFull", "QueueShutDown", "SendfileNotAvailableError",
})  # fmt: skip
"""Exceptions of asyncio that both sides have as their own, as they have the builtin ones."""


class Arrival:
    """Take the place of a slot's bell: call a function where a bell would wake a thread."""

    __slots__ = ("release",)

    def __init__(self, function: Callable[[], None]) -> None:
        self.release = function


class Aside(Slot):
    """Call a function with what arrives for a request that nothing waits for.

    Args:
        function: called in the thread that reads the reply, or when the other side is gone.
        what: as in `Slot`.
    """

    __slots__ = ()
    later = True

    def __init__(self, function: Callable[[], None], what: Any = None) -> None:
        super().__init__(what)
        self.bell = Arrival(function)


class Pending(Slot):
    """Hold what arrives for a request that no thread waits for.

    Args:
        loop: the event loop that shall hear of it.
        serve: called there with each request of the other side that belongs to this one.
        what: as in `Slot`.
    """

    __slots__ = ("future", "loop", "serve")
    later = True

    def __init__(self, loop: asyncio.AbstractEventLoop, serve: Callable[[Any], None], what: Any) -> None:
        super().__init__(what)
        self.loop = loop
        self.serve = serve
        self.future: asyncio.Future[None] = loop.create_future()
        self.bell: Any = Arrival(self._tell)

    def _tell(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self.come)
        except RuntimeError:  # the loop is closed: nobody awaits this any more
            return

    def come(self) -> None:
        """Serve what has come, then let go on whoever awaits this; call it in the loop."""
        while self.requests:
            self.serve(self.requests.popleft())
        if not self.future.done():
            self.future.set_result(None)

    async def turn(self) -> None:
        """Wait until something has come; a cancellation ends this wait only."""
        try:
            await self.future
        finally:
            self.future = self.loop.create_future()


def asynchronous(function: Any) -> bool:
    """Return whether calling a thing gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004  # the function itself is wanted
    )


def twin(cls: type) -> str:
    """Return the name of an asyncio exception that both sides have, or an empty text."""
    home = sys.modules.get("asyncio") if cls.__name__ in ERRORS else None
    return f"asyncio.{cls.__name__}" if getattr(home, cls.__name__, None) is cls else ""


# ---------------------------------------------------------------- what mirrors get


def _await(self: Any) -> Any:
    return _later(self).__await__()


async def _later(self: Any, name: str = "", *args: Any) -> Any:
    __tracebackhide__ = True
    return await self._isolate_.owner.awaits.result(self, name, args)


def _aiter(self: Any) -> Any:
    __tracebackhide__ = True
    claim = self._isolate_
    return claim.owner.call(claim, "__aiter__", (), {})


async def _anext(self: Any) -> Any:
    __tracebackhide__ = True
    return await _later(self, "__anext__")


async def _aenter(self: Any) -> Any:
    __tracebackhide__ = True
    return await _later(self, "__aenter__")


async def _aexit(self: Any, kind: Any, error: Any, _trace: Any) -> Any:
    __tracebackhide__ = True
    return await _later(self, "__aexit__", kind, error, None)


_METHODS = {
    "__await__": _await, "__aiter__": _aiter, "__anext__": _anext, "__aenter__": _aenter, "__aexit__": _aexit,
}  # fmt: skip


def methods(special: Iterable[str]) -> dict[str, Any]:
    """Return the special methods of asyncio that a mirror shall have.

    Args:
        special: those that the remote class defines; a leading `-` marks one set to None.
    """
    names = (name for name in special if name.lstrip("-") in _METHODS)
    return {name.lstrip("-"): None if name[0] == "-" else _METHODS[name] for name in names}


class Coroutine(Proxy):
    """Stand for a coroutine: a task here may drive it, which then awaits the one there."""

    __slots__ = ("_isolate_driver_",)

    def send(self, value: Any) -> Any:
        """Go on: in an event loop here as a task does, else step by step there."""
        return self._isolate_step_("send", value)

    def throw(self, *error: Any) -> Any:
        """Raise an exception where the coroutine waits."""
        return self._isolate_step_("throw", *error)

    def close(self) -> None:
        """End the coroutine."""
        self._isolate_step_("close")

    def _isolate_step_(self, name: str, *args: Any) -> Any:
        driver = getattr(self, "_isolate_driver_", None)
        if driver is None:
            if name == "close" or asyncio._get_running_loop() is None:
                claim = self._isolate_
                return claim.owner.call(claim, name, args, {})
            driver = _later(self)
            object.__setattr__(self, "_isolate_driver_", driver)
        return getattr(driver, name)(*args)


class AsyncGenerator(Proxy):
    """Stand for an async generator: one round trip for each step."""

    __slots__ = ()

    def __aiter__(self) -> Any:
        return self

    async def asend(self, value: Any) -> Any:
        """Go on with a value."""
        return await _later(self, "asend", value)

    async def athrow(self, *error: Any) -> Any:
        """Raise an exception where the generator waits."""
        return await _later(self, "athrow", *(part for part in error if not inspect.istraceback(part)))

    async def aclose(self) -> None:
        """End the generator."""
        await _later(self, "aclose")


BASES: dict[str, type[Proxy]] = {"builtins.coroutine": Coroutine, "builtins.async_generator": AsyncGenerator}
"""By the full name of a remote class, the base of its mirror."""
