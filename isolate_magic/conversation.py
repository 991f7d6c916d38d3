"""The main session's end of the channel: send requests, trust no answer (host).

Frames of the companion are decoded as typed data; what they stand for is made here, from a fixed list
of types. Anything else is a protocol error: the companion is killed and the report says so.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from threading import get_ident
from typing import Any, NoReturn

from isolate_magic import explanation, ration
from isolate_magic.arguments import Arguments
from isolate_magic.awaits import Awaits, jobs
from isolate_magic.bundles import displays
from isolate_magic.deadlines import ANSWER, SEND, Deadline
from isolate_magic.desk import Desk
from isolate_magic.drops import Drops
from isolate_magic.errors import StaleProxyError, TransferError
from isolate_magic.filtering import filter_bundle
from isolate_magic.inbox import Inbox, title
from isolate_magic.interrupts import Hold, in_main_thread
from isolate_magic.link import frames as f
from isolate_magic.link import values
from isolate_magic.link.copying import UnknownClass
from isolate_magic.link.descriptors import refuse
from isolate_magic.link.packing import Travelling
from isolate_magic.link.proxy import claim_of, isproxy
from isolate_magic.link.refs import Claim, Lent, take
from isolate_magic.link.restoring import Given
from isolate_magic.questions import hushed
from isolate_magic.revival import Revival
from isolate_magic.timelimit import Wall

_PLAIN = values.PLAIN
_NOTHING: dict[str, Any] = {}
_NONSENSE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
_OUTERMOST = (0, 0)
_ADVICE = (
    "Companion {!r} is not trusted, so only plain data is copied out of it and never a pickle: make plain "
    "data of it there (a dict, a list, an array, a DataFrame), or start it with Policy(trusted=True)"
)


class Conversation(Inbox):
    """Talk to one companion process.

    Args:
        process: the `Process` that it belongs to.
        sock: our end of the channel.
        door: our end of the socket that memfds go through.
    """

    def __init__(self, process: Any, sock: socket.socket, door: socket.socket) -> None:
        super().__init__(process, sock)
        # A send to a companion that does not read returns after a while (socket(7)), and who sends looks why.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND), 0))
        for end in (sock, door):
            refuse(end)
        self.door = door
        self.name: str = process.name
        self.pid: int = process.pid
        self.drops = Drops(self.flush)
        self.lent = Lent(object())
        self.revival = Revival(self)
        self.arguments = Arguments(self)
        self.desk = Desk(self)
        self.awaits = Awaits(self)
        self.wall = Wall(process)
        self.poured = self.desk.poured
        self.renew: Any = None
        self.latest = 0  # the request made last: what was looked at before it may have changed
        self.pouring = 0  # copies under way that come in a memfd of ours
        self.hold: Hold | None = None
        self.ahead: Any = None  # the queue of cells in the background, while there is one
        self.kin: Conversation | None = None  # whose fork a scout is: it has what was lent up to `mark`
        self.mark = 0
        self.unsaved: Callable[[], None] | None = None  # takes the snapshot that the next use is due
        self.service = Claim(self, 1, "service", 0)

    # ------------------------------------------------------------ what proxies ask for

    def call(
        self, claim: Claim, name: str, args: Any, kwargs: dict[str, Any], number: int | None = None
    ) -> Any:
        """Call an object of the companion, or one of its methods, and return the result.

        Args:
            claim: the claim on the object.
            name: the method, or "" for the object itself.
            args: the arguments by place; they travel as `docs/values.md` tells.
            kwargs: the arguments by name.
            number: the request's number, if the caller has drawn it from `numbers` already.

        Raises:
            StaleProxyError: the companion of the object is dead.
            ProcessTerminationError: the companion died under this call.
            Exception: whatever the call raised there.
        """
        __tracebackhide__ = True
        if self.closed or (hushed and get_ident() in hushed):
            self.refuse(claim)
        if self.ahead is not None:
            self._take_turn()
        if self.unsaved is not None and claim is not self.service:
            self.unsaved()
        held: list[Claim] = []
        wrapped, named = self.arguments.wrap(args, kwargs, held)
        if number is None:
            number = next(self.numbers)
        within, outer = self.desk.within() if self.desk.serving else _OUTERMOST
        drops = take(self.drops) if self.drops else ()
        packet = f.encode(f.Call(number, within, claim.number, name, wrapped, named, drops))
        if len(packet) > f.PACKET:
            packed = self.arguments.packed((tuple(args), kwargs), held)
            packet = f.encode(f.Call(number, within, claim.number, name, (packed,), {}, drops))
        if wrapped and type(wrapped[0]) is f.Pickled and not (name == "push" and claim is self.service):
            given = Given((tuple(args), kwargs))
            frame = self.ask_for(number, packet, (claim, name, outer))
            if frame.changes is not None:
                self._guarded(lambda changes: self._restore(given, changes), frame.changes)
            return self.result(frame)
        return self.result(self.ask_for(number, packet, (claim, name, outer)))

    def get(self, claim: Claim, name: str) -> Any:
        """Read an attribute of an object of the companion; raises as `call`."""
        __tracebackhide__ = True
        if self.closed or (hushed and get_ident() in hushed):
            self.refuse(claim)
        if self.ahead is not None:
            self._take_turn()
        if self.unsaved is not None:
            self.unsaved()
        number = next(self.numbers)
        within, outer = self.desk.within() if self.desk.serving else _OUTERMOST
        drops = take(self.drops) if self.drops else ()
        packet = f.encode(f.Get(number, within, claim.number, name, drops))
        return self.result(self.ask_for(number, packet, (claim, name, outer)))

    def ask(self, name: str, *args: Any) -> Any:
        """Call a method of the companion's service."""
        __tracebackhide__ = True
        if args and self.closed:
            claim = claim_of(args[0])
            if claim is not None:
                self.refuse(claim)
        return self.call(self.service, name, args, _NOTHING)

    def copy(self, proxy: Any, pickles: bool = True) -> Any:
        """Return a copy of the object behind a proxy; raises TransferError where there can be none.

        Args:
            proxy: stands for it.
            pickles: whether the copy may come as a pickle, which the user must have asked for.
        """
        __tracebackhide__ = True
        claim = claim_of(proxy)
        if claim is not None and self.closed:
            self.refuse(claim)
        if not self.process.trusted:
            return self._copy(self.revival.data, proxy, True, False)
        try:
            return self._copy(self.revival.copy if pickles else self.revival.data, proxy, True, pickles)
        except UnknownClass:
            if not pickles:
                raise
            return self._copy(self.revival.copy, proxy, False, True)

    def shared_copy(self, proxy: Any) -> Any:
        """Return a copy as `copy` does, but by no pickle; that of an array lies in shared memory."""
        __tracebackhide__ = True
        claim = claim_of(proxy)
        if claim is not None and self.closed:
            self.refuse(claim)
        self.pouring += 1
        try:
            return self._copy(self.revival.shared_copy, proxy, True, False, True)
        finally:
            self.pouring -= 1

    def _copy(self, make: Callable[[Any], Any], *what: Any) -> Any:
        __tracebackhide__ = True
        if self.ahead is not None:
            self._take_turn()
        number = next(self.numbers)
        within, outer = self.desk.within()
        args, _ = self.arguments.wrap(what, _NOTHING, [])
        packet = f.encode(f.Call(number, within, 1, "copy", args, _NOTHING, take(self.drops)))
        frame = self.ask_for(number, packet, (self.service, "copy", outer))
        if type(frame) is f.Reply:
            return self._guarded(lambda value: self.revival.followed(make, value), frame.value)
        if not self.process.trusted and frame.fault.cls == "isolate_magic.TransferError":
            reason = self._guarded(self.revival.fault, frame.fault)
            raise TransferError(f"{reason}. {_ADVICE.format(self.name)}")
        return self.result(frame)

    def _restore(self, given: Given, changes: f.Changes) -> None:
        if not self.process.trusted:
            self.revival.fit(changes)
        given.restore(changes, self.revival.value)

    def execute(self, title: str, cell: tuple[str, int, int, bool, str], number: int | None = None) -> Any:
        """Run a cell; title and cell are those of `isolate_magic.cells.execute`, number that of `call`."""
        __tracebackhide__ = True
        return self.call(Claim(self, 1, title, 0), "execute", cell, _NOTHING, number)

    def run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function of ours there; it travels even if a callback would be the safer choice."""
        __tracebackhide__ = True
        if isproxy(function):
            return function(*args, **kwargs)
        label = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
        return self.call(
            Claim(self, 1, label, 0), "run", (Travelling(function), tuple(args), kwargs), _NOTHING
        )

    def describe(self, number: int) -> Any:
        """Ask for the description of a class by its number."""
        __tracebackhide__ = True
        wanted = f.Own(number)
        packet_number = next(self.numbers)
        within, outer = self.desk.within()
        packet = f.encode(f.Call(packet_number, within, 1, "describe", (wanted,), _NOTHING))
        return self.result(self.ask_for(packet_number, packet, (self.service, "describe", outer)))

    def show(self, proxy: Any) -> Any:
        """Return the displays of an object: data and metadata by MIME type."""
        __tracebackhide__ = True
        data, metadata = self._guarded(displays, self.ask("show", proxy))
        return (data, metadata) if self.process.trusted else filter_bundle(data, metadata, self.name)

    def shown(self, text: Any) -> Any:
        """Return what `repr` has given; of an untrusted companion nothing in it acts on a terminal."""
        return text if self.process.trusted or not isinstance(text, str) else ration.tidy(text)

    def successor(self, module: Any) -> Claim:
        """Import the module of a stale proxy again, in the companion that replaced ours."""
        __tracebackhide__ = True
        if hushed and get_ident() in hushed:
            self.refuse(module._isolate_)
        return self.renew(module)  # type: ignore[no-any-return]

    def stale(self, claim: Claim) -> Exception:
        """Return the error for the use of an object that is gone, or that nobody may ask for now."""
        if hushed and get_ident() in hushed:
            return AttributeError("nobody asks now")
        report = self.process.report
        when = ", when it was not there yet" if report is not None and report.rewound else ""
        return StaleProxyError(
            f"{claim.label or 'this object'} is gone: {self.death}{when}. Make it again in the new companion"
        )

    def refuse(self, claim: Claim) -> NoReturn:
        """Raise the error for the use of an object that is gone."""
        # The companion that this object lived in has died or was stopped.
        raise self.stale(claim)

    # ------------------------------------------------------------ what the packer needs to know

    def number_of(self, claim: Claim) -> int:
        """Return the number of an object in this companion.

        Raises:
            StaleProxyError, TransferError: it belongs to a dead companion, or to another one.
        """
        if claim.owner is self or (claim.owner is self.kin and claim.number <= self.mark):
            return claim.number
        if claim.owner.death:
            raise claim.owner.stale(claim)
        raise TransferError(
            f"{claim.label or 'this object'} lives in companion {claim.owner.name!r}, not in {self.name!r}; "
            "byvalue(x) brings a copy here first"
        )

    def lend(self, function: Any) -> int:
        """Lend a function of ours to the companion and return its number."""
        number = self.lent.lend(function)
        self.awaits.note(number, function)
        return number

    # ------------------------------------------------------------ requests

    def ask_for(self, number: int, packet: bytes, what: tuple[Claim, str, int], limited: bool = True) -> Any:
        """Send a request and wait; SIGINT goes to the companion meanwhile.

        Args:
            number: the request's number.
            packet: the encoded request.
            what: for the report, object and method, and the request of ours that this one is inside.
            limited: whether the policy's limit holds, or a deadline for a question of the host's own.

        Returns:
            the `Reply` or `Failure`.
        """
        __tracebackhide__ = True
        self.latest = number
        if limited and what[0] is self.service and what[1] in ANSWER and not self.process.trusted:
            deadline = Deadline(self, number, what[1])
            try:
                return self.ask_for(number, packet, what, False)
            finally:
                deadline.cancel()
        if limited and self.process.policy.wall is not None and not what[2]:
            return self.wall.ask(number, title(what), lambda: self.ask_for(number, packet, what, False))
        if not in_main_thread():
            job = jobs.get(get_ident()) if jobs else None
            if job is None:
                return self.exchange(number, packet, what)
            with job.at(self.process, number):
                return self.exchange(number, packet, what)
        outer = self.hold
        hold = Hold(self.process, number)
        try:
            hold.begin()
            self.hold = hold
            frame = self.exchange(number, packet, what)
        finally:
            self.hold = outer
            hold.end()
        if hold.count:
            try:
                hold.deliver()
            except BaseException as error:
                self.put_away(frame, error)
                raise
        return frame

    def _take_turn(self) -> None:
        """Wait for cells in the background: before anything is packed, so that an interrupt loses nothing."""
        if not self.desk.within()[1]:
            self.ahead.wait(self)

    def put_away(self, frame: Any, interrupt: BaseException | None = None) -> None:
        """Adopt and drop what came although it is no longer wanted, so that the companion can free it.

        Args:
            frame: what came.
            interrupt: gets the traceback of the interrupt over there, if that is what came, or a text.
        """
        if self.closed:
            return
        if type(frame) is f.Failure:
            there = self._guarded(self.revival.fault, frame.fault)
            if type(there) is type(interrupt):
                interrupt.__dict__.update(vars(there))
        elif type(frame.value) is str and interrupt is not None:
            interrupt.__dict__["_isolate_told_"] = frame.value  # the reply to a kernel's request
        elif type(frame.value) not in _PLAIN:
            self._guarded(self.revival.value, frame.value)

    def result(self, frame: Any) -> Any:
        """Return the value of a reply, or raise the exception of a failure."""
        __tracebackhide__ = True
        if type(frame) is f.Failure:
            error = self._guarded(self.revival.fault, frame.fault)
            explanation.note(error, self.process.policy)
            raised_there(error)
        value = frame.value
        return value if type(value) in _PLAIN else self._guarded(self.revival.value, value)

    def _guarded(self, make: Any, value: Any) -> Any:
        """Make something of what the companion sent; kill the companion if it cannot be made."""
        try:
            return make(value)
        except MemoryError:
            raise TransferError("what the companion sent does not fit into this session's memory") from None
        except _NONSENSE as error:
            if isinstance(error, TransferError):
                raise
            if self.closed:
                raise self.gone() from None
            raise self.break_off(f"it sent a value that makes no sense ({error})") from None

    # ------------------------------------------------------------ giving back

    def flush(self) -> None:
        """Release what was dropped while no request was made (background thread)."""
        self.drops.rung = False
        while self.drops and not self.closed:
            drops = take(self.drops)
            try:
                self.sock.send(f.encode(f.Release(drops)), socket.MSG_DONTWAIT)
            except OSError:  # a full socket: with the next request, or later from here
                self.drops.extend(zip(drops[2::2], drops[3::2], strict=True))
                self.drops.append((drops[0], drops[1]))
                return


def raised_there(error: BaseException) -> NoReturn:
    """Raise what the companion has raised."""
    # It happened in the companion: the traceback from there is in the note below.
    raise error
