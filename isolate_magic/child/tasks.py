"""What is awaited across the border: tasks that the host awaits, functions of the host (companion)."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isolate_magic.link.awaiting import Aside

LATER = object()
"""Returned by a request whose reply comes later."""

_request: contextvars.ContextVar[int] = contextvars.ContextVar("request", default=0)


class Tasks:
    """Run what the host awaits, and await what runs there.

    Args:
        talk: the conversation.
        keeper: runs the loop.

    Attributes:
        running: the tasks, by the request of the host that has started each.
        inner: those of them that the host awaits inside a callback of ours.
    """

    def __init__(self, talk: Any, keeper: Any) -> None:
        self.talk = talk
        self.keeper = keeper
        self.running: dict[int, asyncio.Task[Any]] = {}
        self.inner: set[int] = set()
        self._listening: dict[Any, int] = {}

    # ------------------------------------------------------------ what the host awaits

    def begin(self, number: int, target: Any, name: str, args: Any, inside: bool) -> Any:
        """Start a task for something that the host awaits; its reply comes when it is done.

        Args:
            number: the host's request.
            target: what is awaited, or has a method that gives it.
            name: the method, or "".
            args: the method's arguments.
            inside: whether the host is inside a callback of ours that our main thread waits for.
        """
        talk = self.talk
        if inside and self.keeper.loop.is_running():
            raise RuntimeError(
                "an object of the companion cannot be awaited inside a plain callback that its event loop "
                "waits for; make the callback an async function, and await it there"
            )
        if number in talk.due:
            talk.due.discard(number)
            raise asyncio.CancelledError
        context = contextvars.copy_context()
        context.run(_request.set, number)
        task = self.keeper.living().create_task(_awaited(target, name, args), context=context)
        self.running[number] = task
        if inside:
            self.inner.add(number)
        task.add_done_callback(lambda done: self._done(number, done))
        return LATER

    def cancel(self, request: int, number: int) -> Any:
        """Cancel the task of a request, also before it has begun, and wake the host to tell it so.

        Args:
            request: the host's request to do so.
            number: the request whose task it is.
        """
        talk = self.talk
        if number in self.running:
            self.running[number].cancel()
        elif number not in talk._recent:
            talk.due.add(number)
        talk._reply(request, None, None)
        talk._recent.append(request)
        talk.ring()
        return LATER

    def strikes(self, number: int) -> bool:
        """Cancel a task that waits; False where KeyboardInterrupt can be raised in it at once."""
        task, talk = self.running[number], self.talk
        if (
            self.keeper.loop.is_running()
            and talk.interruptible
            and asyncio.current_task(self.keeper.loop) is task
        ):
            return False
        self.keeper.loop.nudge(task.cancel)
        return True

    def _done(self, number: int, task: asyncio.Task[Any]) -> None:
        talk = self.talk
        del self.running[number]
        self.inner.discard(number)
        outer, talk.interruptible = talk.interruptible, False
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        talk._recent.append(number)
        talk._reply(number, None if error else task.result(), error)
        talk.ring()
        talk.interruptible = outer
        self.keeper.stop_inner()

    def within(self) -> int:
        """Return the host's request that the code under way belongs to, or 0."""
        stack: list[int] = self.talk._stack()
        here = threading.get_ident() == self.talk.main and len(stack) <= self.keeper.depth
        return (_request.get() if here else 0) or (stack[-1] if stack else 0)

    # ------------------------------------------------------------ functions of the host that are awaited

    async def call_host(self, target: int, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call an async function of the host; the loop goes on meanwhile."""
        talk = self.talk
        if threading.get_ident() != talk.main:
            return await asyncio.to_thread(talk.call_host, target, "", args, kwargs)
        loop = asyncio.get_running_loop()
        number, packet = talk.request(self.within(), target, "", args, kwargs)
        come = asyncio.Event()
        slot = talk.slots[number] = Aside(lambda: _ring(loop, come))
        try:
            with self._listen(loop):
                talk.sock.send(packet)
                talk.ring()
                while slot.frame is None:
                    try:
                        await come.wait()
                    except asyncio.CancelledError:
                        if slot.frame is not None:
                            raise
                        self.keeper.tell("cancel", number)
        finally:
            del talk.slots[number]
        return talk.outcome(slot.frame)

    @contextmanager
    def _listen(self, loop: Any) -> Iterator[None]:
        """Serve the channel in a loop that is not ours, such as that of `asyncio.run`."""
        if loop is self.keeper.loop:
            yield
            return
        fd = self.talk.sock.fileno()
        self._listening[loop] = self._listening.get(loop, 0) + 1
        loop.add_reader(fd, self.keeper.serve)
        try:
            yield
        finally:
            self._listening[loop] -= 1
            if not self._listening[loop]:
                del self._listening[loop]
                loop.remove_reader(fd)


def _ring(loop: Any, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


async def _awaited(target: Any, name: str, args: Any) -> Any:
    if name:
        target = getattr(type(target), name)(target, *args)
    return await target
