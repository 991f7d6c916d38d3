"""What is awaited across the border, in both directions, without blocking an event loop (host)."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from typing import Any

from isolate_magic.crew import Crew, outcome_of, raising, returning, settle
from isolate_magic.errors import TransferError
from isolate_magic.link import copying, values
from isolate_magic.link import frames as f
from isolate_magic.link.awaiting import Aside, Pending, asynchronous
from isolate_magic.link.proxy import claim_of
from isolate_magic.link.refs import Claim, take
from isolate_magic.timelimit import Limit

_GRACE = 1.0  # seconds for a companion to take note of a cancellation
_MOST_HOMES = 256
_MOST_UNDER_WAY = 10_000  # coroutines that a companion awaits at a time
_MOST_LOOPS = 500  # of them with a thread of their own
_MOST_LATE = 10_000  # replies that wait until the companion reads
_LATE_BYTES = 256 << 20  # in them

home: contextvars.ContextVar[Any] = contextvars.ContextVar("home", default=None)
"""The event loop that the code under way works for, and its thread, where a thread does so by proxy."""

jobs: dict[int, Any] = {}
"""By thread, the `isolate_magic.aio.Job` that it is doing."""


class Awaits:
    """Await objects of one companion, and run async functions that it awaits.

    Args:
        talk: the conversation with it.
    """

    def __init__(self, talk: Any) -> None:
        self.talk = talk
        self._homes: dict[int, tuple[asyncio.AbstractEventLoop, int]] = {}
        self._running: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None] = {}
        self._late = self._late_bytes = 0
        self._lock = threading.Lock()
        self._crew = Crew("isolate_magic-await", 8)  # none of another companion's, which may never answer

    def inherit(self, old: Awaits) -> None:
        """Know the async functions that a snapshot has been lent."""
        self._homes = {key: home for key, home in old._homes.items() if key in self.talk.lent}

    # ------------------------------------------------------------ objects of the companion

    async def result(self, target: Any, name: str, args: tuple[Any, ...]) -> Any:
        """Await an object of the companion, or what one of its methods returns.

        Args:
            target: a proxy.
            name: the method, or "".
            args: the method's arguments.

        Raises:
            StaleProxyError, ProcessTerminationError, Exception: as for a call.
        """
        __tracebackhide__ = True
        talk, claim = self.talk, claim_of(target)
        assert claim is not None
        if talk.closed:
            talk.refuse(claim)
        held: list[Claim] = []
        number = next(talk.numbers)
        within, outer = talk.desk.within()
        given = (target, name, args, bool(within))
        wrapped, named = talk.arguments.wrap(given, {}, held)
        packet = f.encode(f.Call(number, within, 1, "begin", wrapped, named, take(talk.drops)))
        if len(packet) > f.PACKET:
            wrapped = (talk.arguments.packed((given, {}), held),)
            packet = f.encode(f.Call(number, within, 1, "begin", wrapped, {}))
        what = (claim, name or "__await__", outer)
        pending = Pending(asyncio.get_running_loop(), self._serve, what)
        wall = talk.process.policy.wall
        limit = Limit(talk.process, wall, number) if wall is not None else None
        talk.slots[number] = pending
        try:
            self.send(packet)
            await self._reply(number, pending)
        finally:
            del talk.slots[number]
            if limit is not None:
                limit.cancel()
            if pending.frame is None and not talk.closed:
                talk.abandon(number, pending)
        if pending.frame is None:
            talk.fail()
        try:
            return await self._revived(pending.frame)
        except (KeyboardInterrupt, asyncio.CancelledError):
            if limit is None or not limit.struck:
                raise
            raise talk.wall.late(f"{claim.label or 'what was awaited'}") from None

    async def _reply(self, number: int, pending: Pending) -> None:
        """Wait for the reply; a cancellation cancels the task over there, and waits for its end."""
        talk, acknowledged = self.talk, None
        while pending.frame is None and not talk.closed:
            try:
                await pending.turn()
            except asyncio.CancelledError:
                if pending.frame is not None:
                    talk.put_away(pending.frame)
                    raise
                acknowledged = acknowledged or self._cancel(number, pending)
            if acknowledged and acknowledged[1]() and pending.frame is None:
                raise asyncio.CancelledError

    def _cancel(self, number: int, pending: Pending) -> Any:
        """Ask for a cancellation; return the alarm that ends our patience, and whether it has rung."""
        talk, own = self.talk, next(self.talk.numbers)
        seen, late = [], []

        def acknowledge() -> None:
            talk.slots.pop(own, None)
            seen.append(True)

        def lose_patience() -> None:
            if not seen:  # it is stuck in a task, perhaps this one, or in a call
                late.append(True)
                pending.come()

        talk.slots[own] = Aside(acknowledge, (talk.service, "cancel", 0))
        self.send(f.encode(f.Call(own, 0, 1, "cancel", (number,), {})))
        return pending.loop.call_later(_GRACE, lose_patience), lambda: bool(late)

    def send(self, packet: bytes) -> None:
        """Send a frame without waiting for room on the channel."""
        if not self._sent(packet):
            self._crew.do(lambda: self._send_late(packet))

    def reply(self, packet: bytes) -> None:
        """Send a reply as `send` does; a companion that asks and asks and never reads is ended."""
        if self._sent(packet):
            return
        with self._lock:
            self._late += 1
            self._late_bytes += len(packet)
        if self._late > _MOST_LATE or self._late_bytes > _LATE_BYTES:
            self.talk.process.kill("protocol", "protocol error: it does not read what it has asked for")
        else:
            self._crew.do(lambda: self._reply_late(packet))

    def _sent(self, packet: bytes) -> bool:
        try:
            self.talk.sock.send(packet, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:  # it is dying, and the background thread finds out how
            return True
        return True

    def _send_late(self, packet: bytes) -> None:
        self.talk.deliver(packet, 0)

    def _reply_late(self, packet: bytes) -> None:
        self._send_late(packet)
        with self._lock:
            self._late -= 1
            self._late_bytes -= len(packet)

    async def _revived(self, frame: Any) -> Any:
        """Return what a reply stands for; where the companion must be asked for more, a thread asks."""
        __tracebackhide__ = True
        talk = self.talk
        if _known(frame.value if type(frame) is f.Reply else frame.fault, talk.revival.mirrors):
            return talk.result(frame)
        done = asyncio.get_running_loop().create_future()
        self._crew.do(lambda: settle(done, outcome_of(lambda: talk.result(frame))))
        return (await done)()

    # ------------------------------------------------------------ functions of ours that it calls or awaits

    def _serve(self, frame: Any) -> None:
        """Serve a request in the loop; where the companion must be asked for a class, a thread asks first."""
        mirrors = self.talk.revival.mirrors
        parts = copying.parts((getattr(frame, "args", ()), getattr(frame, "kwargs", ())))
        unknown = [n for part in parts if (n := _class_in(part)) is not None and n not in mirrors]
        if unknown:
            loop = asyncio.get_running_loop()
            self._crew.do(lambda: self._serve_late(loop, frame, unknown))
        else:
            self.talk.desk.answer(frame)

    def _serve_late(self, loop: asyncio.AbstractEventLoop, frame: Any, unknown: list[int]) -> None:
        talk = self.talk
        try:
            for number in unknown:
                talk._guarded(talk.revival.mirror, number)
        except BaseException as error:  # border: what the companion has raised instead of an answer
            talk.desk.fail(frame.number, error)
            return
        try:
            loop.call_soon_threadsafe(talk.desk.answer, frame)
        except RuntimeError as error:  # the loop is closed
            talk.desk.fail(frame.number, error)

    def note(self, number: int, function: Any) -> None:
        """Remember the loop that an async function works in: the one that runs where it is handed over."""
        if not asynchronous(function):
            return
        loop = asyncio._get_running_loop()
        found = home.get() if loop is None else (loop, threading.get_ident())
        if found is not None:
            if len(self._homes) > _MOST_HOMES:
                self._homes = {key: value for key, value in self._homes.items() if key in self.talk.lent}
            self._homes[number] = found

    def answer(self, frame: Any, function: Any, coroutine: Any) -> None:
        """Run the coroutine that a function of ours has returned, and reply when it is done.

        It runs in the loop that awaits the companion, else in the loop that the function was handed
        over in; where that loop waits for the companion itself, or there is none, in one of its own.
        """
        if not asynchronous(function):
            coroutine.close()
            name = getattr(function, "__name__", type(function).__name__)
            raise TransferError(
                f"the function {name} returned a coroutine, which cannot travel; declare it with "
                "`async def`, then the companion can await it"
            )
        try:
            self._go(frame, coroutine)
        except BaseException:
            coroutine.close()
            raise

    def _go(self, frame: Any, coroutine: Any) -> None:
        slot = self.talk.slots.get(frame.within)
        loop, thread = self._homes.get(frame.target, (None, 0))
        if type(slot) is Pending:
            loop = slot.loop
        elif loop is not None and (self._waits(thread) or not loop.is_running()):
            loop = None
        with self._lock:
            most = _MOST_LOOPS if loop is None else _MOST_UNDER_WAY
            if len(self._running) >= most or frame.number in self._running:
                raise TransferError(f"more than {most} async functions of the main session at a time")
            self._running[frame.number] = None
        if loop is None:
            context = contextvars.copy_context()
            threading.Thread(
                target=lambda: context.run(self._run_alone, frame.number, coroutine),
                name="isolate_magic-callback",
                daemon=True,
            ).start()
        else:
            loop.call_soon_threadsafe(self._start, loop, frame.number, coroutine)

    def _waits(self, thread: int) -> bool:
        """Return whether a thread waits for this companion, so that no loop of its runs."""
        main = thread == threading.main_thread().ident and self.talk.hold is not None
        return main or thread == threading.get_ident()

    def _start(self, loop: asyncio.AbstractEventLoop, number: int, coroutine: Any) -> None:
        # Held there, because a loop holds its tasks weakly.
        task = loop.create_task(self._run(number, coroutine))
        self._running[number] = (loop, task)
        task.add_done_callback(lambda _: self._running.pop(number, None))

    def _run_alone(self, number: int, coroutine: Any) -> None:
        try:
            asyncio.run(self._run(number, coroutine))
        finally:
            self._running.pop(number, None)

    async def _run(self, number: int, coroutine: Any) -> None:
        """Run a coroutine to its end and reply, however it ends."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._running[number] = (loop, task)
        try:
            outcome = returning(await coroutine)
        except BaseException as error:  # border: the function's exception belongs to the companion's caller
            outcome = raising(error)
        self.talk.desk.reply(number, outcome)

    def cancel(self, number: int) -> None:
        """Cancel an async function that the companion has called; of number 0 there is none."""
        found = self._running.get(number) if type(number) is int else None
        if found is not None:
            loop, task = found
            loop.call_soon_threadsafe(task.cancel)


def _class_in(part: Any) -> int | None:
    """Return the number of the class that a part of a value names, not what is inside it; None for most."""
    kind = type(part)
    if kind is f.Ref and part.kind not in (2, 4):
        return int(part.id if part.kind == 1 else part.cls)
    if kind is f.Record or (kind is f.Fault and type(part.cls) is int):
        return int(part.cls)
    return None


def _known(value: Any, mirrors: dict[int, type]) -> bool:
    """Return whether a value can be revived without asking the companion for a class."""
    kind = type(value)
    if kind in values.PLAIN:
        return True
    if kind is f.Ref:
        return value.kind in (2, 4) or (value.id if value.kind == 1 else value.cls) in mirrors
    if kind is f.Fault:
        return (type(value.cls) is str or value.cls in mirrors) and not value.args and not value.fields
    return kind in (f.Tuple, f.FrozenSet) and all(_known(item, mirrors) for item in value.items)
