"""What a companion may ask of the main session: the functions it was lent, and memfds (host).

The companion's word is not trusted: a call of anything else is a protocol error and ends it.
"""

from __future__ import annotations

import array
import asyncio
import errno
import io
import json
import operator
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from itertools import count
from types import CoroutineType
from typing import Any

from isolate_magic import frontend
from isolate_magic.bodies import check_room
from isolate_magic.errors import TransferError
from isolate_magic.interrupts import in_main_thread
from isolate_magic.link import bulk, values
from isolate_magic.link import frames as f
from isolate_magic.link.lending import offers
from isolate_magic.link.proxy import claim_of
from isolate_magic.link.reference import ByRef
from isolate_magic.ration import tidy

_MOST = 1 << 40
_DEEP = 50  # callbacks inside one another in a thread; each takes some ten frames of Python's thousand
_HEAVY = 64 << 20  # bytes of the large requests of an untrusted companion that wait to be served
_POURED = 1 << 30  # bytes in the memfds that an untrusted companion is filling
_GROWING = ("__mul__", "__rmul__", "__imul__", "__pow__", "__rpow__", "__ipow__", "__lshift__", "__rlshift__",
            "__ilshift__", "__mod__", "__rmod__", "__format__")  # fmt: skip
_OPEN = 64
_THREADS = 500
_ATTRIBUTES = ("__getattr__", "__setattr__", "__delattr__")
_HELD = 1 << 18  # objects of ours that a companion may hold before a call of its own lends one more
_NONSENSE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


class Desk:
    """Serve the requests of one companion.

    Args:
        talk: the conversation that they come from.

    Attributes:
        serving: by thread, the requests that it is serving: their number and that of our own request
            which led to them.
        poured: the memfds that the companion is filling, by token.
        tokens: the names of all memfds that go through the door, in either direction.
    """

    def __init__(self, talk: Any) -> None:
        self.talk = talk
        self.serving: dict[int, list[tuple[int, int]]] = {}
        self.poured: dict[int, int] = {}
        self.tokens = count(1)
        self._aside = 0
        self._heavy: dict[int, int] = {}
        self._lock = threading.Lock()

    def within(self) -> tuple[int, int]:
        """Return what this thread is serving: the companion's request and ours that led to it, or zeros."""
        stack = self.serving.get(threading.get_ident())
        return stack[-1] if stack else (0, 0)

    def answer(self, frame: Any) -> None:
        """Run a function of ours for the companion, in this thread, and send the result."""
        self._heavy.pop(id(frame), None)
        stack = self.serving.setdefault(threading.get_ident(), [])
        if len(stack) >= _DEEP:
            deep = f"more than {_DEEP} calls of the main session inside one another"
            self.fail(frame.number, RecursionError(deep))
            return
        stack.append((frame.number, getattr(frame, "within", 0)))
        try:
            self._serve(frame)
        finally:
            stack.pop()
            if not stack:
                del self.serving[threading.get_ident()]

    def weigh(self, frame: Any, size: int) -> None:
        """Take note of a large request that waits to be served; raise ValueError if they are too many."""
        self._heavy[id(frame)] = size
        if sum(list(self._heavy.values())) > _HEAVY:
            raise ValueError(f"requests of more than {_HEAVY >> 20} MiB that nobody has served yet")

    def answer_aside(self, frame: Any) -> None:
        """Serve a request in a thread of its own."""
        with self._lock:
            self._aside += 1
        if self._aside > _THREADS:
            self._reject(f"more than {_THREADS} calls at a time")
        else:
            threading.Thread(
                target=self._alone, args=(frame,), name="isolate_magic-callback", daemon=True
            ).start()

    def _alone(self, frame: Any) -> None:
        try:
            self.answer(frame)
        finally:
            with self._lock:
                self._aside -= 1

    def fail(self, number: int, error: BaseException) -> None:
        """Answer a request with an exception of ours."""
        self._send(f.encode(self._failure(number, error, [])))

    def refuse(self, frame: Any) -> None:
        """Answer a request whose caller has been interrupted."""
        self._heavy.pop(id(frame), None)
        self.fail(frame.number, KeyboardInterrupt())

    def _serve(self, frame: Any) -> None:
        talk = self.talk
        try:
            if frame.drops:
                talk.lent.drop(frame.drops)
            if len(talk.lent) > _HELD:
                raise ValueError(f"it holds more than {_HELD} objects of this session")
            function = self._callable(frame)
            if not talk.process.trusted:
                talk.revival.fit((frame.args, frame.kwargs))
            args = tuple(map(talk.revival.value, frame.args))
            kwargs = {name: talk.revival.value(value) for name, value in frame.kwargs.items()}
        except TransferError as error:
            self.fail(frame.number, error)
            return
        except _NONSENSE as error:
            if not talk.closed:
                self._reject(f"a call that makes no sense ({error})")
            return
        except BaseException as error:  # border: what the companion answers when it is asked for a class
            self.fail(frame.number, error)
            return
        try:
            result = self._run(function, args, kwargs)
            if type(result) is CoroutineType:
                talk.awaits.answer(frame, function, result)
                return
        except BaseException as error:  # border: the function's exception belongs to the companion's caller
            self.fail(frame.number, error)
            return
        self.reply(frame.number, lambda: result)

    def reply(self, number: int, outcome: Callable[[], Any]) -> None:
        """Send what a function of ours has come to.

        Args:
            number: the companion's request.
            outcome: returns the result or raises what the function has raised.
        """
        talk, held = self.talk, list[Any]()
        try:
            result = outcome()
            packet = f.encode(f.Reply(number, talk.arguments.result(result, held)))
            if len(packet) > f.PACKET:
                packet = f.encode(f.Reply(number, talk.arguments.packed(result, held)))
        except BaseException as error:  # border: as above, and packing runs the result's own methods
            packet = f.encode(self._failure(number, error, held))
        for claim in held:
            claim.times = 0  # the companion frees the memory itself when it has taken the result
        self._send(packet)

    def _send(self, packet: bytes) -> None:
        if asyncio._get_running_loop() is not None:  # a companion that reads nothing must not hold it up
            self.talk.awaits.reply(packet)
            return
        self.talk.deliver(packet, self.within()[1])

    def _callable(self, frame: Any) -> Any:
        if type(frame) is not f.Call:
            raise TypeError("only calls are served here")
        if frame.target == 0 and frame.name in _OWN:
            return _OWN[frame.name](self)
        found = self.talk.lent[frame.target] if frame.target > 1 else None
        if type(found) is ByRef and frame.name:
            self._check_use(found, frame)
            return partial(found.use, frame.name)
        if frame.name and frame.name in offers(found):
            return partial(_use, found, frame.name)
        if frame.target < 2 or frame.name:
            raise TypeError(f"{frame.name[:60]!r} of {frame.target} is not on offer")
        if isinstance(found, (type, BaseException)):  # lent for their identity, not to be called
            raise TypeError(f"{type(found).__name__} {frame.target} is not on offer")
        return found

    def _check_use(self, found: ByRef, frame: f.Call) -> None:
        if frame.name not in _ATTRIBUTES and frame.name not in found.specials():
            raise TypeError(f"{frame.name[:60]!r} of {frame.target} is not on offer")
        if frame.name in _GROWING and not self.talk.process.trusted:
            raise TransferError(f"{frame.name} of an object here, which can make it large, is not for it")

    def _run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function of the user's with his own SIGINT handler in place."""
        hold = self.talk.hold if in_main_thread() else None
        if hold is None:
            return function(*args, **kwargs)
        hold.end()
        try:
            return function(*args, **kwargs)
        finally:
            hold.begin_again()

    def _failure(self, number: int, error: BaseException, held: list[Any]) -> f.Failure:
        try:
            args: tuple[Any, ...] = (self.talk.arguments.packed(error, held),)
        except Exception:  # border: pickling runs the exception's own methods, and the companion may be dead
            args = ()
        text = values.plain(_text(error))
        ref = None if claim_of(error) else f.Ref(self.talk.lent.lend(error), 0)
        return f.Failure(
            number, f.Fault("Exception", args, text if isinstance(text, str) else "", (), {}, ref)
        )

    def _warn(self, text: str, category: type, filename: str, line: int) -> None:
        """Give a warning of the companion's, under the filters of this session."""
        if not (isinstance(category, type) and issubclass(category, Warning)):
            raise TypeError("a warning of no category")
        if not self.talk.process.trusted:
            ration = self.talk.revival.ration
            ration.warnings -= 1
            if ration.warnings < 0:
                return
            # A class of its own would be called there, to make the warning of what it likes.
            category = next(up for up in category.__mro__ if up.__module__ == "builtins")
            text, filename = tidy(str(text), 10_000), tidy(str(filename), 500)
        # No file has this name, so no line of a file that the companion names is read and shown here.
        place = f"{str(filename)[:500]} (in companion {self.talk.name!r})"
        warnings.warn_explicit(str(text)[:10_000], category, place, int(line))

    def _parent(self) -> str:
        """Return the JSON of the notebook's message that this call belongs to."""
        if not self.talk.process.trusted:
            raise PermissionError("messages of the notebook are not for it")
        return json.dumps(frontend.current.parent(self.talk.process), default=str)

    def _dial(self, address: str, port: int) -> int:
        """Connect to an address that the policy allows, and hand the socket over (`child/detour.py`)."""
        if not isinstance(address, str) or not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError("no address")
        if self.talk.process.protection.details.get("asks"):
            raise PermissionError(errno.EACCES, "its supervisor is asked about connections")
        with self.talk.process.dialer.dial(address[:100], port) as made:
            token = next(self.tokens)
            self.hand_over(token, made.fileno())
        return token

    def _memfd(self, size: int) -> int:
        """Make a memfd that the companion fills with a body, and hand it over."""
        if not isinstance(size, int) or not 0 <= size < _MOST:
            raise ValueError("no such memfd")
        if not self.talk.process.trusted:
            self._check_pouring(size)
        with self._lock:
            if len(self.poured) >= _OPEN:
                raise TransferError(f"more than {_OPEN} large buffers at a time; copy them one by one")
            token = next(self.tokens)
            fd = self.poured[token] = bulk.make(size)
        try:
            if size and self.talk.process.protection.charged:
                os.posix_fallocate(fd, 0, size)  # so that it is ours, which we keep, and not the companion's
            self.hand_over(token, fd)
        except OSError:
            os.close(self.poured.pop(token))
            raise
        return token

    def _check_pouring(self, size: int) -> None:
        """Refuse a memfd that nothing of ours asks for: what is written to one counts as nobody's memory."""
        talk = self.talk
        if talk.arguments.direct and not talk.pouring:
            raise TransferError("large buffers are copied straight from memory here; no memfd is needed")
        with self._lock:
            filling = sum(os.fstat(fd).st_size for fd in self.poured.values())
        if filling + size > _POURED:
            raise TransferError(f"more than {_POURED >> 20} MiB in large buffers; copy them one by one")

    def hand_over(self, token: int, fd: int) -> None:
        """Send a memfd through the door, under its token.

        Raises:
            OSError: the companion takes none out of the door; waiting for it could hold us up for good.
        """
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.talk.door.sendmsg([token.to_bytes(8, "little")], beside, socket.MSG_DONTWAIT)

    def _reject(self, reason: str) -> None:
        self.talk.process.kill("protocol", f"protocol error: {reason}")


_OWN: dict[str, Callable[[Desk], Any]] = {
    "memfd": lambda desk: desk._memfd,
    "warn": lambda desk: desk._warn,
    "cancel": lambda desk: desk.talk.awaits.cancel,
    "dial": lambda desk: desk._dial,
    "ask": lambda desk: desk.talk.process.box.ask,
    "parent": lambda desk: desk._parent,
}


def _use(found: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of an object that is used in place, or read an attribute of it."""
    if name == "__next__":
        return next(found)
    if name == "__length_hint__":
        return operator.length_hint(found)
    if name in ("write", "writelines") and isinstance(found, (io.BytesIO, io.StringIO)):
        gap = found.tell() - sys.getsizeof(found)  # it is filled up to where it has been sought
        check_room(max(0, gap * 4 if isinstance(found, io.StringIO) else gap))
    value = getattr(found, name)
    return value(*args, **kwargs) if callable(value) else value


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # border: `__str__` of a user's class
        return type(error).__name__
