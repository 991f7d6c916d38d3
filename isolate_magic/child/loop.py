"""The event loop of a companion: what cells leave behind, and what the host awaits (companion).

The loop is the running one wherever code of the user's runs in the main thread, as in any kernel, so
`asyncio.create_task` works in every cell and call. It really runs while a cell awaits something, and
between requests, as long as it has something to do; then the main thread waits for the host through it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import types
from asyncio import events
from collections.abc import Callable
from typing import Any

from isolate_magic.child import renewal
from isolate_magic.link import frames as f
from isolate_magic.link.awaiting import Aside

REST = f.Release(())
"""Stands among the requests where the main thread shall run the loop instead of reading."""

_really_running = events._get_running_loop
_run_really = events._set_running_loop


class CompanionLoop(asyncio.SelectorEventLoop):
    """Note that there may be something to do, so that a companion without tasks pays nothing."""

    touched = False
    wake: Callable[[], None]

    def call_soon(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Call a function in the next round."""
        self.touched = True
        return super().call_soon(*args, **kwargs)

    def call_at(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Call a function at a time."""
        self.touched = True
        return super().call_at(*args, **kwargs)

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Call a function in the next round, also while the main thread waits for the host alone."""
        handle = super().call_soon_threadsafe(*args, **kwargs)
        self.touched = True
        if not self.is_running():
            self.wake()
        return handle

    def add_reader(self, *args: Any) -> Any:  # type: ignore[override]
        """Call a function when a descriptor can be read."""
        self.touched = True
        return super().add_reader(*args)

    def add_writer(self, *args: Any) -> Any:  # type: ignore[override]
        """Call a function when a descriptor can be written."""
        self.touched = True
        return super().add_writer(*args)

    def add_signal_handler(self, *args: Any) -> None:  # type: ignore[override]
        """Call a function when a signal comes."""
        self.touched = True
        super().add_signal_handler(*args)

    def close(self) -> None:
        """Close; the companion makes a new one before it is needed."""
        super().close()
        self.touched = True

    def nudge(self, function: Callable[[], Any]) -> None:
        """Call a function in the next round, if the loop runs just now; safe in a signal handler."""
        super().call_soon_threadsafe(function)

    def has_work(self) -> bool:
        """Return whether anything can happen in a round; two descriptors are the loop's and the channel."""
        parts: Any = self
        return bool(
            parts._ready or parts._scheduled or len(parts._selector.get_map()) > 2 or parts._signal_handlers
        )


class Bell:
    """Wake the main thread while another thread reads; its tasks go on until then."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._count = threading.Semaphore(0)

    def release(self) -> None:
        """Ring; from any thread."""
        self._count.release()
        if self._keeper.loop.touched:
            self._keeper.loop.nudge(self._keeper.rung)

    def acquire(self, timeout: float) -> bool:
        """Wait for a ring in the main thread, or for something to do for its tasks; tell whether it rang."""
        if self._count.acquire(False):
            return True
        if self._keeper.loop.touched and self._keeper.wants_to_run():
            self._keeper.round("bell")
            return self._count.acquire(False)
        return self._count.acquire(timeout=timeout)


class Keeper:
    """Run the loop of one companion whenever it may run.

    Args:
        talk: the conversation.
        shell: the shell, whose cells may await.
    """

    def __init__(self, talk: Any, shell: Any) -> None:
        self.talk = talk
        self.bell = Bell(self)
        self.readable = False
        self._mode = ""
        self._cell: Any = None
        self._struck = False
        self._woken = False
        self.depth = 0
        self._renew()
        shell.loop_runner = self.finish
        events._get_running_loop = _startable
        events._set_running_loop = self._set_running
        _run_really(self.loop)
        os.register_at_fork(after_in_child=self._in_fork)

    def living(self) -> CompanionLoop:
        """Return the loop, or a new one where code of the user's has closed it."""
        if self.loop.is_closed():
            self._renew()
            _run_really(self.loop)
        return self.loop

    def _renew(self) -> None:
        self.loop = CompanionLoop()
        self.loop.wake = self._wake
        self.loop.add_reader(self.talk.sock.fileno(), self._came)
        self.loop.touched = False
        asyncio.set_event_loop(self.loop)

    def _set_running(self, loop: Any) -> None:
        """Do as asyncio does at the end of a run, but leave our own loop in place in the main thread."""
        here = threading.get_ident() == self.talk.main and not self.talk.forked
        _run_really(self.loop if loop is None and here else loop)

    def _in_fork(self) -> None:
        """Leave the loop to the original; asyncio in the copy starts from nothing."""
        _run_really(None)

    def resume(self) -> None:
        """Take the loop up in a copy that goes on in place of the original."""
        if not self.loop.is_closed():
            renewal.renew(self.loop)
        _run_really(self.loop)

    # ------------------------------------------------------------ between requests

    def wants_to_run(self) -> bool:
        """Return whether the loop has something to do that may be done now; the main thread asks."""
        talk, loop = self.talk, self.loop
        if threading.get_ident() != talk.main or loop.is_running() or (talk.active and not talk.tasks.inner):
            return False
        loop = self.living()
        loop.touched = False  # before the look: another thread may touch it any moment
        loop.touched = loop.has_work() or loop.touched
        return loop.touched

    def idle(self) -> None:
        """Run the loop until the host has sent something; call it while nobody reads in this thread."""
        while self.wants_to_run() and self.round("idle"):
            pass

    def round(self, mode: str) -> bool:
        """Run the loop until what `mode` names has come; return whether it has to be run once more.

        Args:
            mode: `idle` (a frame of the host) or `bell` (a ring of another thread).
        """
        talk, loop = self.talk, self.loop
        outer, self._mode = (talk.interruptible, self.depth, self._mode), mode
        talk.interruptible, self.depth = True, len(talk.active)
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):  # of a task, which keeps it
            return True
        finally:
            done = self._mode == "over"
            talk.interruptible, self.depth, self._mode = outer
        return not done

    def _came(self) -> None:
        """Act on a frame of the host: stop, where nothing but the loop ran, else serve it right here."""
        if not self._mode:
            self.serve()
        elif self._mode == "idle" and not self.talk.reader.locked():  # else another thread reads
            self.readable = True
            self._stop()

    def rung(self) -> None:
        """Act on a ring: another thread has read something for this one."""
        if self._mode:
            self._stop()
        elif self.loop.is_running():
            self._attend()

    def _stop(self) -> None:
        self._mode = "over"
        self.loop.stop()

    def serve(self) -> None:
        """Read one frame and serve it, while code of the user's awaits something."""
        talk = self.talk
        outer, talk.interruptible = talk.interruptible, False  # no frame may get lost
        try:
            if talk.reader.acquire(False):
                try:
                    frame = talk.receive_now()
                    if frame is not None:
                        talk.route(frame, talk.home)
                finally:
                    talk.reader.release()
                    talk.left()
            self._attend()
        finally:
            talk.interruptible = outer
        if outer and talk.due and not talk.due.isdisjoint(talk.active) and self.strikes():
            talk.due.difference_update(talk.active)

    def _attend(self) -> None:
        """Serve what waits for the main thread; cells of other threads wait for the end of this one."""
        talk, waiting = self.talk, self.talk.unclaimed
        outer = talk.interruptible, self.depth
        try:
            for _ in range(len(waiting)):
                frame = waiting.popleft()
                cell = type(frame) is f.Call and frame.target == 1 and frame.name == "execute"
                if cell and not frame.within and self._cell is not None:
                    waiting.append(frame)
                else:
                    talk.answer(frame)
        finally:
            talk.interruptible, self.depth = outer

    def _wake(self) -> None:
        """Wake the main thread, which waits for the host alone: let the host send it something."""
        if self._woken or threading.get_ident() == self.talk.main:
            return
        self._woken = True
        self.tell("cancel", 0)

    def tell(self, name: str, number: int) -> None:
        """Ask the host's own service for something, and do not wait for the answer."""
        talk, own = self.talk, next(self.talk.numbers)

        def answered() -> None:
            self._woken = False
            talk.slots.pop(own, None)

        talk.slots[own] = Aside(answered)
        talk.sock.send(f.encode(f.Call(own, 0, 0, name, (number,), {})))
        talk.ring()

    # ------------------------------------------------------------ cells that await

    def finish(self, coroutine: Any) -> Any:
        """Run a cell that awaits something to its end."""
        if self.loop.is_running():
            return self._apart(coroutine)
        task = self.living().create_task(self._driven(coroutine))
        outer = self._cell, self._struck, self.depth
        self._cell, self._struck, self.depth = task, False, len(self.talk.active)
        try:
            while True:
                try:
                    return self.loop.run_until_complete(task)
                except KeyboardInterrupt:
                    if task.done():
                        raise
                    self._struck = True  # it has hit another task, or the loop itself
                    task.cancel()
                except SystemExit:
                    if task.done():
                        raise
        finally:
            self._cell, self._struck, self.depth = outer

    def _apart(self, coroutine: Any) -> Any:
        """Run a cell inside a callback that the loop waits for: in a loop of its own."""
        loop, task = asyncio.new_event_loop(), asyncio.current_task(self.loop)
        _run_really(None)
        try:
            return loop.run_until_complete(self._driven(coroutine))
        finally:
            loop.close()
            _run_really(self.loop)
            assert asyncio.current_task(self.loop) is task

    async def _driven(self, coroutine: Any) -> Any:
        return await self._drive(coroutine)

    @types.coroutine
    def _drive(self, coroutine: Any) -> Any:
        """Await a coroutine; an interrupt is a KeyboardInterrupt in it, where it waits."""
        step, given = coroutine.send, None
        while True:
            try:
                wanted = step(given)
            except StopIteration as done:
                return done.value
            try:
                step, given = coroutine.send, (yield wanted)
            except GeneratorExit:
                coroutine.close()
                raise
            except asyncio.CancelledError as error:
                step, given = coroutine.throw, KeyboardInterrupt() if self._struck else error
            except BaseException as error:  # border: whatever the future holds
                step, given = coroutine.throw, error

    def stop_inner(self) -> None:
        """Stop when nothing is awaited inside a request any more: only then it may go on."""
        if self._mode == "idle" and self.talk.active and not self.talk.tasks.inner:
            self._stop()

    def strikes(self) -> bool:
        """Interrupt a cell that waits in the loop; False where KeyboardInterrupt can be raised at once."""
        cell = self._cell
        if cell is None or self._struck or not self.loop.is_running():
            return False
        if asyncio.current_task(self.loop) is cell:
            return False
        self._struck = True
        self.loop.nudge(cell.cancel)
        return True


def _startable() -> Any:
    """Return the running loop, but not ours where it only stands ready: another may start there."""
    loop = _really_running()
    return None if type(loop) is CompanionLoop and not loop.is_running() else loop
