"""What `benchmarks.fuzz` sends, and to whom: packets made by structure, a host without a companion."""

from __future__ import annotations

import collections
import datetime as dt
import os
import select
import socket
import sys
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec

from isolate_magic.conversation import Conversation
from isolate_magic.errors import ProtocolError
from isolate_magic.link import bulk
from isolate_magic.link import frames as f
from isolate_magic.link.copying import Copier
from isolate_magic.link.restoring import Given
from isolate_magic.output import NullSink, Output

_WIRES = [kind for kind in vars(f).values() if isinstance(kind, type) and issubclass(kind, f.Wire)]
_VALUES = [kind for kind in _WIRES if 20 <= (kind.__struct_config__.tag or 0) <= 49]
_BUFFERS = [f.Inline, f.Remote, f.Reserved, f.Poured]
_INTS = (
    0, 1, -1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 65, 255, 4096, 65535, 1 << 31, (1 << 31) - 1, 1 << 32,
    1 << 45, 1 << 61, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1,
)  # fmt: skip
_TEXTS = (
    "", "a", "C", "F", "0,1", "1,0", "dict", "OrderedDict", "Counter", "defaultdict", "ChainMap", "list",
    "datetime", "date", "time", "timedelta", "timezone", "UTC", "Europe/Berlin", "../etc/passwd", "<f8",
    "|O", "|b1", "<U3", "|S0", "<M8[ns]", "<M8[0s]", "<m8[7D]", "|V16", "<c16", "<f16", "int64", "float32",
    "bfloat16", "bool", "DataFrame", "Series", "Index", "RangeIndex", "MultiIndex", "DatetimeIndex",
    "CategoricalIndex", "numpy", "object", "string", "category", "zoned", "masked", "python", "NaT", "NA",
    "Timestamp", "Timedelta", "ValueError", "SyntaxError", "UnicodeDecodeError", "UnicodeEncodeError",
    "OSError", "KeyError", "SystemExit", "StopIteration", "ExceptionGroup", "isolate_magic.TransferError",
    "asyncio.CancelledError", "builtins.int", "builtins.ValueError", "numpy.float64", "Ellipsis",
    "NotImplemented", "dataclasses.MISSING", "0xff", "-0x" + "f" * 40, "1e999999999", "NaN", "-Infinity",
    "__class__", "__dict__", "__notes__", "filename", "_repr_html_", "__del__", "argparse", "Namespace",
    "\x1b]52;c;eA==\x07", "é\u202e", "x" * 300, "ns", "D",
)  # fmt: skip


class Fixture:
    """A class of the companion, for what is no data."""


# ---------------------------------------------------------------- the host


class _Talk(Conversation):
    """A conversation whose companion tells of each class what the fuzzer has drawn."""

    told: Any = None
    killed = ""

    def describe(self, number: int) -> Any:
        """Return a drawn description, or a plausible one."""
        return self.revival.value(self.told(number))

    def ask_for(self, number: int, packet: bytes, what: Any, limited: bool = True) -> Any:
        """Refuse what the use of a proxy asks for."""
        raise ProtocolError("nobody is there to ask")

    def break_off(self, reason: str) -> Exception:
        """Return the error; there is no process to end."""
        return ProtocolError(reason)

    def _end(self) -> None:
        self.killed = "frame"


class Host:
    """The host's half of a conversation, with nobody at the other end but the fuzzer."""

    def __init__(self) -> None:
        import numpy as np
        import pandas as pd

        self.parked: list[Any] = []
        self.samples = _samples(np, pd)
        self._renewed = 0
        self._open()

    def _open(self) -> None:
        self.sock, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door, self.their_door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pipes = [os.pipe(), os.pipe()]
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        output = Output(b"\xff" * 20, self.pipes[0][0], self.pipes[1][0])
        output.sink = NullSink()
        process: Any = SimpleNamespace(
            name="fuzz", pid=os.getpid(), poll=poll, trusted=False, pidfd=-1, report=None, output=output,
            kill=lambda *_: None, dead=lambda _: True, pump=lambda: False, looking=False, zygote=None,
            interrupt=lambda _: None, curve=SimpleNamespace(wake=lambda: None),
        )  # fmt: skip
        self.talk = _Talk(process, self.sock, self.door)
        self.talk.told = self.described
        self.talk.spin = SimpleNamespace(wait=lambda: None)  # type: ignore[assignment]
        self.lent = [self.talk.lend(thing) for thing in (len, [1], ValueError("x"), iter([1, 2]), {"a": 1})]
        self.random: Any = None

    def renew(self) -> None:
        """Empty the other end; open a new conversation now and then."""
        for end in (self.theirs, self.their_door):
            try:
                while end.recv(f.PACKET, socket.MSG_DONTWAIT):
                    pass
            except OSError:
                pass
        self.parked.clear()
        self._renewed += 1
        if self._renewed % 200 == 0:
            for fd in (*(fd for pair in self.pipes for fd in pair), *self.talk.poured.values()):
                os.close(fd)
            self.talk.poured.clear()
            for end in (self.sock, self.theirs, self.door, self.their_door):
                end.close()
            self._open()

    def take(self, packet: bytes) -> Any:
        """Let the host read one packet; serve a request, return a reply."""
        self.theirs.send(packet)
        frame = self.talk.receive()
        if type(frame) in (f.Event, f.Release):
            self.talk.event(frame)
        elif type(frame) is f.Call:
            self.talk.desk.answer(frame)
        return frame

    def restore(self, changes: Any) -> None:
        """Bring changes into arguments as a call gives them."""
        given = Given((([1, [2, {"k": bytearray(b"x")}], {3}], Fixture()), {"named": {"a": [1]}}))
        self.talk._guarded(lambda told: given.restore(told, self.talk.revival.value), changes)

    def described(self, number: int) -> Any:
        """Return what is told of a class: drawn, or a true one with something changed."""
        random = Random(number)  # when it is asked depends on what came before
        told = ["m", "C", None, f.Tuple(()), f.Tuple(("__len__", "__call__")), f.Tuple(("hello",)), None,
                False, False, None, f.Tuple(())]  # fmt: skip
        if number % 3 == 1:
            told[3] = f.Tuple((f.Ref(0, 0, 4, random.choice(("builtins.ValueError", "builtins.int"))),))
        if number % 3 == 2:
            told[6] = f.Tuple(("x", "y"))
        if random.random() < 0.3:
            told[random.randrange(len(told))] = checked(Maker(random, self).value(3))
        return f.Tuple(tuple(told))

    def park(self, buffer: Any) -> Any:
        """Put a buffer where a companion could: inside the frame, into memory, into a memfd."""
        data = bytes(buffer)
        choice = self.random.randrange(4)
        if choice < 2 or not data:
            return f.Inline(data)
        if choice == 2:
            self.parked.append(data)
            return f.Remote(bulk.address(data), len(data), 1)
        token = next(self.talk.desk.tokens)
        self.talk.poured[token] = fd = bulk.make(len(data))
        bulk.pour(fd, [data])
        return f.Poured(token, len(data))


def checked(value: Any) -> Any:
    """Return a value as the decoder would let it pass, or None."""
    try:
        return f.decode(f.encode(f.Reply(1, value))).value  # type: ignore[union-attr]
    except (msgspec.MsgspecError, RecursionError, OverflowError, TypeError, ValueError):
        return None


def _samples(np: Any, pd: Any) -> list[Any]:
    """Return one object of every kind that travels as data."""
    table = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": pd.Categorical(["p", "q", "p"])})
    table["d"] = pd.date_range("2020-01-01", periods=3, tz="UTC")
    table["e"] = pd.array([1, None, 3], dtype="Int64")
    pair = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    record = np.zeros(3, [("x", "f8"), ("y", "i4", (2,)), ("z", "?")])
    samples = [
        None, 1, -5, 1 << 70, 1.5, 1j, "text", "\ud800", b"bytes", b"x" * 70_000, (1, (2, "x")),
        frozenset({1, 2}), range(3), slice(1, 2), ..., dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        dt.timedelta(1), dt.time(1), Decimal("1.5"), [1, [2]], {"a": {"b": 1}}, {1, 2}, bytearray(b"abc"),
        collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], 3),
        collections.ChainMap({"a": 1}), collections.defaultdict(list, a=[1]),
        np.arange(6.0).reshape(2, 3), np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        np.asfortranarray(np.eye(3)), record, np.float32(1), np.datetime64("2020"), np.array(["a", "bc"]),
        np.zeros((0, 3)), np.array([True, False]),
        np.arange(20_000), table, table["b"], table["d"], table.index, pair, pd.Series([1, 2], index=pair),
        pd.Timestamp("2020", tz="UTC"), pd.Timedelta(1), pd.NaT, pd.NA,
        pd.timedelta_range("1s", periods=3),
    ]  # fmt: skip
    torch = sys.modules.get("torch")
    return samples + ([torch.ones(2, 3), torch.ones(2, dtype=torch.bfloat16)] if torch else [])


# ---------------------------------------------------------------- packets


def packet(random: Any, host: Host) -> bytes:
    """Return one packet; most decode, many are true but for one thing."""
    host.random = random
    maker = Maker(random, host)
    frame = maker.frame()
    try:
        made: bytes = f.encode(frame)
    except (RecursionError, OverflowError, TypeError, ValueError):  # a number too large, say
        made = f.encode(f.Reply(1, None))
    if random.random() < 0.25:
        made = maker.bent(made)
    if len(made) > f.PACKET or random.random() < 0.05:
        host.parked.append(made)
        made = f.encode(f.Spilled(f.Remote(bulk.address(made), len(made), 1)))
    return made


class Maker:
    """Draw frames and values.

    Args:
        random: a `random.Random`, or what hypothesis or atheris gives in its place.
        host: the receiver, whose objects are named.
    """

    def __init__(self, random: Any, host: Host) -> None:
        self.random = random
        self.host = host

    def frame(self) -> Any:
        """Return a frame."""
        random = self.random
        kind = random.randrange(12)
        if kind < 5:
            return f.Reply(1, self.whole())
        if kind < 7:
            return f.Failure(1, self.fault(0))
        if kind == 7:
            return f.Reply(1, None, self.changes())
        if kind == 8:
            target = random.choice((*self.host.lent, 0, 1, self.int()))
            name = random.choice(("", "", "__next__", "memfd", "warn", "cancel", self.text()))
            named = {self.text(): self.value(2)} if random.random() < 0.2 else {}
            return f.Call(random.choice((1, self.int())), 0, target, name, self.values(1), named)
        if kind == 9:
            return f.Event(self.int(), self.text(), self.bytes())
        if kind == 10:
            return f.Release(tuple(self.int() for _ in range(random.randrange(5))))
        return f.Spilled(self.buffer())

    def whole(self) -> Any:
        """Return a true value, mostly with something changed, or one that is made up."""
        if self.random.random() < 0.3:
            return self.value(0)
        copier = Copier(self.host.park, lambda _: 2, lambda thing: f.Ref(5, self.random.randrange(9)))
        told = copier.copy(self.random.choice(self.host.samples))
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))):
            told = self.changed(told)
        return told

    def changed(self, value: Any) -> Any:
        """Return a value with one thing in it changed."""
        random = self.random
        if isinstance(value, f.Wire):
            names = value.__struct_fields__
            if names and random.random() < 0.95:
                name = random.choice(names)
                fields = {n: getattr(value, n) for n in names}
                fields[name] = self.changed(fields[name])
                return type(value)(**fields)
        elif isinstance(value, tuple) and value and random.random() < 0.9:
            at = random.randrange(len(value))
            choice = random.randrange(8)
            if choice == 0:
                return value[:at] + value[at + 1 :]
            if choice == 1:
                return value[: at + 1] + value[at:]
            return (*value[:at], self.changed(value[at]), *value[at + 1 :])
        elif type(value) is int and random.random() < 0.6:
            return value + random.choice((-1, 1, 7, -8))
        elif type(value) is int:
            return self.int()
        elif type(value) is str:
            return self.text()
        elif type(value) is bytes and value:
            return self.bent(value)
        return self.value(2)

    def value(self, depth: int) -> Any:
        """Return a made up value of any type."""
        random = self.random
        choice = random.randrange(10)
        if depth > 5 or choice < 3:
            leaf = random.randrange(5)
            if leaf < 2:
                return self.int()
            return (None, self.text(), random.choice((0.0, -1.5, float("inf"), float("nan"), 1e308)))[
                leaf - 2
            ]
        if choice == 3:
            nested: Any = None
            for _ in range(random.choice((5, 33, 40, 200, 2000))):
                nested = f.Tuple((nested,)) if choice else f.List((nested,))
            return nested
        kind = random.choice(_VALUES)
        if kind is f.Fault:
            return self.fault(depth + 1)
        return kind(*(self.field(kind, name, depth) for name in kind.__struct_fields__))

    def field(self, kind: type, name: str, depth: int) -> Any:
        """Return something for a field, mostly of the right type."""
        random = self.random
        told = str(kind.__annotations__[name])
        if random.random() < 0.05:
            return self.value(depth + 1)
        if kind is f.Moment and name == "fields":
            return tuple(random.choice((0, 1, 12, 2020, -1, 10**9)) for _ in range(random.choice((3, 5, 8))))
        if told.startswith("tuple[tuple[Value"):
            return tuple((self.value(depth + 1), self.value(depth + 1)) for _ in range(random.randrange(4)))
        if told.startswith("tuple[tuple[str"):
            return tuple((self.text(), self.value(depth + 1)) for _ in range(random.randrange(3)))
        if told.startswith("tuple[int"):
            return tuple(self.int() for _ in range(random.choice((0, 1, 2, 3, 70))))
        if told.startswith("tuple[Buffer"):
            return tuple(self.buffer() for _ in range(random.randrange(3)))
        if told.startswith("tuple["):
            return self.values(depth)
        simple = {
            "int": self.int, "str": self.text, "bytes": self.bytes, "Buffer": self.buffer,
            "bool": lambda: random.random() < 0.5, "float": lambda: random.choice((0.0, 1e300)),
        }  # fmt: skip
        made = simple.get(told)
        return made() if made else self.value(depth + 1)

    def values(self, depth: int) -> tuple[Any, ...]:
        """Return some values."""
        return tuple(self.value(depth + 1) for _ in range(self.random.choice((0, 1, 1, 2, 3, 5))))

    def buffer(self) -> Any:
        """Return bytes, or the word that they lie somewhere."""
        random = self.random
        kind = random.choice(_BUFFERS)
        if kind is f.Inline:
            return f.Inline(self.bytes())
        if kind is f.Remote and random.random() < 0.5:
            data = self.bytes()
            self.host.parked.append(data)
            return f.Remote(bulk.address(data), len(data) + random.choice((0, 0, 8, -1)), self.int())
        return kind(*(self.int() for _ in kind.__struct_fields__))

    def fault(self, depth: int) -> f.Fault:
        """Return an exception."""
        random = self.random
        fields = ("filename", "__notes__", "__dict__", self.text())[: random.randrange(5)]
        args = self.values(depth + 1)
        if random.random() < 0.4:  # what builtin exceptions want
            inner = self.fault(depth + 1) if depth < 5 else None
            args = random.choice(
                (self.decoding(), self.decoding(), self.place(), ("group", f.List((inner,))))
            )
        names = (self.text(), self.text(), random.randrange(9), "UnicodeDecodeError", "SyntaxError")
        lines = tuple(self.text() for _ in range(random.choice((0, 1, 3))))
        ref = random.choice((None, f.Ref(9, 1), f.Own(3)))
        told = {name: self.value(depth + 2) for name in fields}
        text = self.text() if random.random() < 0.8 else self.value(depth + 2)
        return f.Fault(random.choice(names), args, text, lines, told, ref)

    def decoding(self) -> tuple[Any, ...]:
        """Return the arguments of a UnicodeError."""
        data = self.random.choice((f.Bytes(self.bytes()[:40]), self.text()))
        return "utf-8", data, self.int(), self.int(), self.text()

    def place(self) -> tuple[Any, ...]:
        """Return the arguments of a SyntaxError."""
        spot = (self.text(), self.int(), self.int(), self.text(), self.int(), self.int())
        return self.text(), f.Tuple(spot[: self.random.choice((4, 6, 6))])

    def changes(self) -> f.Changes:
        """Return changes of arguments, in the shape of those of `Host.restore` for the most part."""
        random, found = self.random, list[f.Change]()
        for _ in range(random.randrange(4)):
            items = self.values(1)
            if random.random() < 0.4:
                items += (f.Place(random.randrange(6), self.int()),)
            found.append(f.Change(random.choice((0, 1, 2, 3, 4, 5, self.int())), items))
        shape = self.shape() if random.random() < 0.9 else self.text()
        return f.Changes(shape, tuple(found))

    def shape(self) -> str:
        """Return the shape that the arguments in `Host.restore` have."""
        from isolate_magic.link import restoring

        given = Given((([1, [2, {"k": bytearray(b"x")}], {3}], Fixture()), {"named": {"a": [1]}}))
        return restoring._shape(given._containers)

    def int(self) -> int:
        """Return a number, often one at a border."""
        return self.random.choice(_INTS) if self.random.random() < 0.6 else self.random.randrange(300)

    def text(self) -> str:
        """Return a text, often one that means something."""
        return str(self.random.choice(_TEXTS))

    def bytes(self) -> bytes:
        """Return bytes of one value or of all."""
        size = self.random.choice((0, 1, 8, 16, 24, 100, 70_000))
        return bytes(range(256)) * (size // 256) if size > 256 else bytes([self.random.randrange(256)]) * size

    def bent(self, data: bytes) -> bytes:
        """Return bytes of which some are changed, lost or doubled."""
        random, made = self.random, bytearray(data)
        for _ in range(random.choice((1, 1, 2, 5))):
            at = int(random.random() * len(made))  # whatever the length, the same draw
            choice = random.randrange(4)
            if choice == 0 and made:
                made[at] = random.randrange(256)
            elif choice == 1:
                made[at:at] = bytes([random.choice((0x80, 0x90, 0xC0, 0xC4, 0xD9, 0xDC, 0xDD, 0xDF, 0xFF))])
            elif choice == 2:
                del made[at : at + random.choice((1, 2, 9))]
            else:
                made[at:at] = made[at : at + random.choice((1, 4, 30))]
        return bytes(made)


class Drawn:
    """Draw from bytes, as atheris gives them, what `Maker` draws from a `random.Random`.

    Args:
        data: the bytes; zeros follow them.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _next(self, size: int) -> int:
        part = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "little")

    def randrange(self, stop: int) -> int:
        """Return a number below `stop`."""
        return self._next(2) % stop

    def random(self) -> float:
        """Return a number below 1."""
        return self._next(1) / 256

    def choice(self, items: Any) -> Any:
        """Return one of the items."""
        return items[self.randrange(len(items))]
