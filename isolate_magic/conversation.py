"""The main session's end of the channel: send requests, trust no answer (host).

Frames of the companion are decoded as typed data; what they stand for is made here, from a fixed list
of types. Anything else is a protocol error: the companion is killed and the report says so.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections import deque
from typing import Any

import msgspec

from isolate_magic import watch as watches
from isolate_magic.errors import ProcessTerminationError, ProtocolError, StaleProxyError, TransferError
from isolate_magic.interrupts import Hold, in_main_thread
from isolate_magic.link import bulk, values
from isolate_magic.link import frames as f
from isolate_magic.link.packing import Travelling, pack
from isolate_magic.link.copying import UnknownClass
from isolate_magic.link.peer import Peer
from isolate_magic.link.proxy import claim_of, isproxy
from isolate_magic.link.refs import Claim, Lent, take
from isolate_magic.revival import Revival

_PLAIN = values.PLAIN
_NOTHING: dict[str, Any] = {}
_TRIES = 64


class Drops(deque[tuple[int, int]]):
    """Collect what the companion may free; ring the background thread at the first."""

    def __init__(self, flush: Any) -> None:
        super().__init__()
        self.flush = flush
        self.rung = False

    def append(self, drop: tuple[int, int]) -> None:
        """Add a pair of number and count; runs in finalizers, so it takes no lock."""
        super().append(drop)
        if not self.rung:
            self.rung = True
            watches.rung.add(self.flush)
            if watches._watch is not None:
                watches._watch.ring()


class Conversation(Peer):
    """Talk to one companion process.

    Args:
        process: the `Process` that it belongs to.
        sock: our end of the channel.
        door: our end of the socket that memfds go through.
    """

    def __init__(self, process: Any, sock: socket.socket, door: socket.socket) -> None:
        super().__init__(sock)
        self.process = process
        self.door = door
        self.name: str = process.name
        self.pid: int = process.pid
        self.death = ""
        self.direct = True
        self.drops: deque[tuple[int, int]] = Drops(self.flush)
        self.lent = Lent(object())
        self.revival = Revival(self)
        self.renew: Any = None
        self._fd = sock.fileno()
        self.poured: dict[int, int] = {}
        self._kept: deque[Claim] = deque(maxlen=4)
        self._tries = _TRIES
        self._hold: Hold | None = None
        self._tokens = 0
        self.service = Claim(self, 1, "service", 0)

    # ------------------------------------------------------------ what proxies ask for

    def call(self, claim: Claim, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call an object of the companion, or one of its methods, and return the result.

        Args:
            claim: the claim on the object.
            name: the method, or "" for the object itself.
            args, kwargs: the arguments; they travel as `docs/values.md` tells.

        Raises:
            StaleProxyError: the companion of the object is dead.
            ProcessTerminationError: the companion died under this call.
            Exception: whatever the call raised there.
        """
        if self.closed:
            raise self.stale(claim)
        held: list[Claim] = []
        wrapped, named = self._arguments(args, kwargs, held)
        number = next(self.numbers)
        drops = take(self.drops) if self.drops else ()
        packet = f.encode(f.Call(number, 0, claim.number, name, wrapped, named, drops))
        if len(packet) > f.PACKET:
            packed = self._pack((tuple(args), kwargs), held)
            packet = f.encode(f.Call(number, 0, claim.number, name, (packed,), {}, drops))
        return self.result(self.ask_for(number, packet, (claim, name)))

    def get(self, claim: Claim, name: str) -> Any:
        """Read an attribute of an object of the companion; raises as `call`."""
        if self.closed:
            raise self.stale(claim)
        number = next(self.numbers)
        drops = take(self.drops) if self.drops else ()
        packet = f.encode(f.Get(number, claim.number, name, drops))
        return self.result(self.ask_for(number, packet, (claim, name)))

    def ask(self, name: str, *args: Any) -> Any:
        """Call a method of the companion's service."""
        if args and self.closed:
            claim = claim_of(args[0])
            if claim is not None:
                raise self.stale(claim)
        return self.call(self.service, name, args, _NOTHING)

    def copy(self, proxy: Any) -> Any:
        """Return a copy of the object behind a proxy; raises TransferError where there can be none."""
        claim = claim_of(proxy)
        if claim is not None and self.closed:
            raise self.stale(claim)
        try:
            return self._copy(proxy, True)
        except UnknownClass:
            return self._copy(proxy, False)

    def _copy(self, proxy: Any, as_data: bool) -> Any:
        number = next(self.numbers)
        args, _ = self._arguments((proxy, as_data, True), _NOTHING, [])
        packet = f.encode(f.Call(number, 0, 1, "copy", args, _NOTHING, take(self.drops)))
        frame = self.ask_for(number, packet, (self.service, "copy"))
        if type(frame) is f.Reply:
            return self._guarded(self.revival.copy, frame.value)
        return self.result(frame)

    def execute(self, title: str, source: str, number: int, lines_before: int, silent: bool) -> Any:
        """Run a cell; `title` is what the crash report calls it."""
        what = Claim(self, 1, title, 0)
        return self.call(what, "execute", (source, number, lines_before, silent), _NOTHING)

    def run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function of ours there; it travels even if a callback would be the safer choice."""
        if isproxy(function):
            return function(*args, **kwargs)
        label = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
        return self.call(Claim(self, 1, label, 0), "run", (Travelling(function), tuple(args), kwargs), _NOTHING)

    def describe(self, number: int) -> Any:
        """Ask for the description of a class by its number."""
        wanted = f.Own(number)
        packet_number = next(self.numbers)
        packet = f.encode(f.Call(packet_number, 0, 1, "describe", (wanted,), _NOTHING))
        return self.result(self.ask_for(packet_number, packet, (self.service, "describe")))

    def show(self, proxy: Any) -> Any:
        """Return the displays of an object: data and metadata by MIME type."""
        data, metadata = json.loads(self.ask("show", proxy))
        return data, metadata

    def successor(self, module: Any) -> Claim:
        """Import the module of a stale proxy again, in the companion that replaced ours."""
        return self.renew(module)  # type: ignore[no-any-return]

    def stale(self, claim: Claim) -> Exception:
        """Return the error for the use of an object that is gone."""
        return StaleProxyError(
            f"{claim.label or 'this object'} is gone: {self.death}. Make the object again in the new companion"
        )

    def gone(self) -> Exception:
        """Return the error for a request that the companion did not live to answer."""
        report = self.process.report
        if report is None:
            return ProcessTerminationError(f"companion {self.name!r} was let go: {self.death}")
        kind = ProtocolError if report.kind == "protocol" else ProcessTerminationError
        return kind(report.headline, report)

    # ------------------------------------------------------------ requests

    def ask_for(self, number: int, packet: bytes, what: Any) -> Any:
        """Send a request and wait; SIGINT goes to the companion meanwhile."""
        if not in_main_thread():
            return self._exchange(number, packet, what)
        process = self.process
        hold = Hold(
            lambda: process.interrupt(number),
            lambda: process.kill("interrupt", "killed by the second interrupt", 0.1),
        )
        outer, self._hold = self._hold, hold
        hold.begin()
        try:
            frame = self._exchange(number, packet, what)
        finally:
            hold.end()
            self._hold = outer
        if hold.count:
            process.board[:8] = bytes(8)
            try:
                hold.deliver()
            except BaseException:
                if type(frame) is f.Reply:
                    self.revival.value(frame.value)  # adopt and drop what came after all
                raise
        return frame

    def _exchange(self, number: int, packet: bytes, what: Any) -> Any:
        try:
            return self.exchange(number, packet, what)
        except OSError:
            # The send failed: the companion is dying. Whoever reads next finds out how.
            self.find_death()
            raise self.gone() from None

    def result(self, frame: Any) -> Any:
        """Return the value of a reply, or raise the exception of a failure."""
        if type(frame) is f.Reply:
            value = frame.value
            if type(value) in _PLAIN:
                return value
            return self._guarded(self.revival.value, value)
        raise self._guarded(self.revival.fault, frame.fault)

    def _guarded(self, make: Any, value: Any) -> Any:
        """Make something of what the companion sent; kill the companion if it cannot be made."""
        try:
            return make(value)
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError, RecursionError) as error:
            if isinstance(error, TransferError):
                raise
            if self.closed:
                raise self.gone() from None
            self.break_off(f"it sent a value that makes no sense ({error})")
            raise self.gone() from None

    def break_off(self, reason: str) -> None:
        """Kill a companion that broke the protocol."""
        self.process.kill("protocol", f"protocol error: {reason}")
        self.find_death()

    def find_death(self) -> None:
        """Wait for the end of a companion that is dying, and bury it."""
        with self.reader:
            while not self.closed:
                self._end()
        self.left()

    # ------------------------------------------------------------ arguments

    def number_of(self, claim: Claim) -> int:
        """Return the number of an object in this companion.

        Raises:
            StaleProxyError, TransferError: it belongs to a dead companion, or to another one.
        """
        if claim.owner is self:
            return claim.number
        if claim.owner.death:
            raise claim.owner.stale(claim)
        raise TransferError(
            f"{claim.label or 'this object'} lives in companion {claim.owner.name!r}, not in {self.name!r}; "
            "byvalue(x) brings a copy here first"
        )

    def lend(self, function: Any) -> int:
        """Lend a function of ours to the companion and return its number."""
        return self.lent.lend(function)

    def _arguments(self, args: Any, kwargs: dict[str, Any], held: list[Claim]) -> tuple[Any, dict[str, Any]]:
        """Turn arguments into frame values: each by itself where that works, else all in one pickle."""
        for value in args:
            if type(value) not in _PLAIN:
                break
        else:
            if not kwargs:
                return tuple(map(values.plain, args)), kwargs
        try:
            wrapped = tuple([values.wrap(value, self._outgoing) for value in args])
            return wrapped, {name: values.wrap(value, self._outgoing) for name, value in kwargs.items()}
        except _NeedsPickle:
            return (self._pack((tuple(args), kwargs), held),), {}

    def _outgoing(self, value: Any, _depth: int) -> Any:
        claim = claim_of(value)
        if claim is None:
            raise _NeedsPickle
        return f.Own(self.number_of(claim))

    def _pack(self, value: Any, held: list[Claim]) -> f.Pickled:
        """Pickle a value; `held` gets the claim on memory that must last until it has been used."""
        data, beside = pack(value, self)
        parts = [data, *beside]
        sizes = [memoryview(part).nbytes for part in parts]
        if sum(sizes) <= f.INLINE:
            buffers: list[Any] = [f.Inline(bytes(part)) for part in parts]
        else:
            claim = Claim(self, self._store(parts, sizes), "memory for arguments")
            held.append(claim)
            buffers = [f.Reserved(claim.number, index) for index in range(len(parts))]
        return f.Pickled(buffers[0], tuple(buffers[1:]))

    def _store(self, parts: list[Any], sizes: list[int]) -> int:
        """Put large buffers into the companion's memory; return the number that holds them there."""
        if self.direct:
            owner, addresses = self.ask("reserve", tuple(sizes))
            try:
                for part, there, size in zip(parts, addresses, sizes, strict=True):
                    if size:
                        bulk.store(self.pid, there, part)
            except OSError as error:
                self.break_off(f"its memory cannot be written ({error})")
                raise self.gone() from None
        else:
            fd = bulk.make(sum(sizes))
            try:
                bulk.pour(fd, parts)
                bulk.seal(fd)
                socket.send_fds(self.door, [b"m"], [fd])
            finally:
                os.close(fd)
            owner = self.ask("accept", tuple(sizes))
        return int(owner)

    # ------------------------------------------------------------ reading

    def receive(self) -> Any:
        """Wait for the next frame and return it; None when output came instead, or the end.

        Output that was written before a reply is shown before the reply is taken.
        """
        ready = self.process.poll.poll()
        if len(ready) > 1 or ready[0][0] != self._fd:
            fds = {fd for fd, _ in ready}
            if self.process.pidfd in fds:
                return self._end()
            if self.process.pump() and self._tries:
                self._tries -= 1  # a flood of output may not hold back a reply for ever
                return None
            if self._fd not in fds:
                return None
        self._tries = _TRIES
        packet = self.sock.recv(f.PACKET)
        return self._decode(packet) if packet else self._end()

    def _decode(self, packet: bytes) -> Any:
        try:
            frame = f.decode(packet)
            if type(frame) is f.Spilled:
                frame = f.decode(self.revival.body(frame.body))
        except (msgspec.MsgspecError, ValueError, KeyError, RecursionError, TransferError) as error:
            self.process.kill("protocol", f"protocol error: a frame that cannot be read ({error})")
            return self._end()
        return frame

    def _end(self) -> None:
        """Take what the dead companion has left, and close; call it as the reader."""
        while True:
            try:
                packet = self.sock.recv(f.PACKET, socket.MSG_DONTWAIT)
                frame = f.decode(packet) if packet else None
            except (OSError, msgspec.MsgspecError):
                break
            if frame is None:
                break
            if type(frame) in (f.Reply, f.Failure, f.Event):
                self.route(frame, None)
        self.process.bury()
        self.let_go(self.process.report.headline)

    def let_go(self, death: str) -> None:
        """Close the conversation; `death` is what stale proxies say."""
        self.death = death
        self.revival.forget()
        self.close()

    def idle(self) -> None:
        """Take what has come while nobody waits (background thread, as the reader)."""
        for _ in range(100):
            if self.closed or not self.process.poll.poll(0):
                return
            frame = self.receive()
            if frame is not None:
                self.route(frame, None)

    def route(self, frame: Any, mine: Any) -> None:
        """Give a frame to the thread that it is for; None is no frame."""
        if frame is not None:
            super().route(frame, mine)

    def left(self) -> None:
        """Wake the next reader, and let the background thread watch again if it has stood back."""
        super().left()
        if self.process.looking:
            self.process.arm()

    def event(self, frame: Any) -> None:
        """Show an output, or take back what we lent."""
        try:
            if type(frame) is f.Event:
                self.process.output.event(frame.barrier, frame.kind, frame.content)
            elif type(frame) is f.Release:
                self.lent.drop(frame.drops)
            else:
                raise ValueError(f"a {type(frame).__name__} out of place")
        except (ValueError, KeyError, RecursionError) as error:
            self.process.kill("protocol", f"protocol error: {error}")

    def stray(self, frame: Any) -> None:
        """Take a reply that nobody asked for as what it is: an attack or a fault."""
        self.process.kill("protocol", f"protocol error: a reply to request {frame.number}, which was never made")

    def activity(self) -> str:
        """Tell what the companion was doing: the innermost request that has no reply."""
        open_slots = [(number, slot) for number, slot in list(self.slots.items()) if slot.frame is None]
        if not open_slots:
            return ""
        what = max(open_slots)[1].what
        claim, name = what
        if claim.number == 1:
            return str(claim.label) if name in ("execute", "run") else f"{name} of the service"
        return f"{claim.label}.{name}" if name else f"{claim.label}()"

    # ------------------------------------------------------------ callbacks

    def answer(self, frame: Any) -> None:
        """Run a function of ours for the companion, in this thread, and send the result."""
        held: list[Claim] = []
        try:
            if frame.drops:
                self.lent.drop(frame.drops)
            function = self._callable(frame)
            args = tuple(map(self.revival.value, frame.args))
            kwargs = {name: self.revival.value(value) for name, value in frame.kwargs.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.process.kill("protocol", f"protocol error: a call that makes no sense ({error})")
            return
        try:
            reply = f.Reply(frame.number, self._result(self._run(function, args, kwargs), held))
            packet = f.encode(reply)
            if len(packet) > f.PACKET:
                packet = f.encode(f.Reply(frame.number, self._pack(self.revival.value(reply.value), held)))
        except BaseException as error:  # border: the function's exception belongs to the companion's caller
            packet = f.encode(self._failure(frame.number, error, held))
        self._kept.extend(held)
        try:
            self.sock.send(packet)
        except OSError:
            self.find_death()

    def _callable(self, frame: Any) -> Any:
        if type(frame) is not f.Call:
            raise TypeError("only calls are served here")
        if frame.target == 0 and frame.name == "memfd":
            return self._memfd
        if frame.target < 2 or frame.name:
            raise TypeError(f"{frame.name[:60]!r} of {frame.target} is not on offer")
        return self.lent[frame.target]

    def _run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function of the user's with his own SIGINT handler in place."""
        hold = self._hold if in_main_thread() else None
        if hold is None:
            return function(*args, **kwargs)
        hold.end()
        try:
            return function(*args, **kwargs)
        finally:
            hold.begin()

    def _result(self, value: Any, held: list[Claim]) -> Any:
        try:
            return values.wrap(value, self._outgoing)
        except _NeedsPickle:
            return self._pack(value, held)

    def _failure(self, number: int, error: BaseException, held: list[Claim]) -> f.Failure:
        try:
            args: tuple[Any, ...] = (self._pack(error, held),)
        except TransferError:
            args = ()
        text = values.plain(f"{type(error).__name__}: {error}")
        ref = None if claim_of(error) else f.Ref(self.lent.lend(error), 0)
        return f.Failure(number, f.Fault("Exception", args, text if isinstance(text, str) else "", (), {}, ref))

    def orphan(self, frame: Any) -> None:
        """Serve a thread of the companion that calls back while nobody waits: in a thread of its own."""
        threading.Thread(target=self.answer, args=(frame,), name="isolate_magic-callback", daemon=True).start()

    def _memfd(self, size: int) -> int:
        """Make a memfd that the companion fills with a body, and hand it over."""
        if not isinstance(size, int) or not 0 <= size < 1 << 40 or len(self.poured) > 64:
            raise ValueError("no such memfd")
        self._tokens += 1
        fd = self.poured[self._tokens] = bulk.make(size)
        socket.send_fds(self.door, [b"m"], [fd])
        return self._tokens

    # ------------------------------------------------------------ giving back

    def flush(self) -> None:
        """Release what was dropped while no request was made (background thread)."""
        self.drops.rung = False  # type: ignore[attr-defined]
        if self.closed or not self.drops:
            return
        drops = take(self.drops)
        try:
            self.sock.send(f.encode(f.Release(drops)), socket.MSG_DONTWAIT)
        except OSError:  # a full socket: with the next request, then
            for number, times in zip(drops[::2], drops[1::2], strict=True):
                self.drops.append((number, times))


class _NeedsPickle(Exception):
    """Say that a value is no data and no proxy."""
