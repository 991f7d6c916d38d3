"""Frames and the values inside them, as typed structs (both sides).

A frame is one SOCK_SEQPACKET packet: a msgpack array whose first item is the tag. The decoder knows
every type below and refuses all else, so hostile bytes become a `msgspec.ValidationError`, never an
object of the sender's choice. `docs/protocol.md` shows the same list as a table.
"""

from __future__ import annotations

from typing import Union

import msgspec
from msgspec import Struct

PACKET = 128 * 1024
"""Largest packet, in bytes; a larger frame is spilled (see `Spilled`)."""

INLINE = 64 * 1024
"""Largest buffer, in bytes, that travels inside a frame; larger ones stay and are fetched."""


class Wire(Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Be the common shape: a msgpack array, no unknown fields."""


# ---------------------------------------------------------------- values


class Bytes(Wire, tag=20):
    """A bytes object of exactly that type."""

    data: bytes


class Big(Wire, tag=21):
    """An int beyond 64 bits, in hexadecimal."""

    digits: str


class Complex(Wire, tag=22):
    """A complex number."""

    real: float
    imag: float


class Text(Wire, tag=23):
    """A str with lone surrogates, as UTF-8 with `surrogatepass`."""

    data: bytes


class Tuple(Wire, tag=24):
    """A tuple of exactly that type."""

    items: tuple[Value, ...]


class Record(Wire, tag=25):
    """A namedtuple; `cls` is the id of its class in the companion."""

    cls: int
    items: tuple[Value, ...]


class FrozenSet(Wire, tag=26):
    """A frozenset."""

    items: tuple[Value, ...]


class Range(Wire, tag=27):
    """A range."""

    start: Value
    stop: Value
    step: Value


class Slice(Wire, tag=28):
    """A slice."""

    start: Value
    stop: Value
    step: Value


class Constant(Wire, tag=29):
    """`Ellipsis` or `NotImplemented`, by name."""

    name: str


class Moment(Wire, tag=30):
    """A datetime, date, time or timedelta: the constructor's arguments; `zone` as `values` says."""

    kind: str
    fields: tuple[int, ...]
    zone: Value = None


class Number(Wire, tag=31):
    """A Decimal, as text."""

    digits: str


class Scalar(Wire, tag=32):
    """A numpy scalar: dtype string and its bytes."""

    dtype: str
    data: bytes


class Ref(Wire, tag=33):
    """An object that stays with the sender: its id, the id of its class, its kind and name."""

    id: int
    cls: int
    kind: int = 0
    label: str = ""


class Own(Wire, tag=34):
    """An object that the receiver lent: its id there."""

    id: int


class Fault(Wire, tag=35):
    """An exception, as a value or as the reason of a `Failure`.

    `cls` is the name of a builtin exception or the id of a class in the companion; `text` is
    `str(exc)`; `lines` is the traceback as the sender would show it; `fields` are attributes that
    travel by value; `ref` is the exception object itself.
    """

    cls: Union[int, str]
    args: tuple[Value, ...]
    text: Value
    lines: tuple[str, ...]
    fields: dict[str, Value]
    ref: Value = None


class Dtype(Wire, tag=36):
    """A numpy dtype: text, or for a structured one nested tuples (see `link/foreign/numpy.py`)."""

    told: Value


class List(Wire, tag=40):
    """A list that is being copied."""

    items: tuple[Value, ...]


class Dict(Wire, tag=41):
    """A dict, or one of the standard mappings named by `kind`."""

    pairs: tuple[tuple[Value, Value], ...]
    kind: str = "dict"
    extra: Value = None


class Set(Wire, tag=42):
    """A set that is being copied."""

    items: tuple[Value, ...]


class ByteArray(Wire, tag=43):
    """A bytearray, or with `frozen` a bytes object too large for a frame."""

    data: Buffer
    frozen: bool = False


class Deque(Wire, tag=44):
    """A collections.deque that is being copied."""

    items: tuple[Value, ...]
    maxlen: Union[int, None]


class Data(Wire, tag=45):
    """A dataclass instance whose class the host has already imported."""

    module: str
    name: str
    fields: tuple[tuple[str, Value], ...]


class Array(Wire, tag=46):
    """A numpy array: dtype as text or field list, shape, `C` or `F`, and its bytes."""

    dtype: Value
    shape: tuple[int, ...]
    order: str
    data: Buffer


class Table(Wire, tag=47):
    """A pandas object: `DataFrame`, `Series` or an index class; its parts."""

    kind: str
    parts: tuple[Value, ...]


class Pickled(Wire, tag=48):
    """A pickle of protocol 5. The host reads one only where it asked for one of a trusted companion."""

    data: Buffer
    buffers: tuple[Buffer, ...] = ()


class Tensor(Wire, tag=49):
    """A torch tensor: its bits as an `Array`, its dtype, whether it wants gradients, or is a parameter."""

    bits: Value
    dtype: str
    gradients: bool
    parameter: bool


class Inline(Wire, tag=50):
    """Bytes inside the frame."""

    data: bytes


class Remote(Wire, tag=51):
    """Bytes in the sender's memory, kept there by the lent object `owner` until it is released."""

    address: int
    length: int
    owner: int


class Reserved(Wire, tag=52):
    """Bytes that the receiver reserved and the sender has filled: object id and index in it."""

    owner: int
    index: int


class Poured(Wire, tag=53):
    """Bytes in a memfd that the host made, numbered `token`, and the companion has filled."""

    token: int
    length: int


class Place(Wire, tag=54):
    """An object in the host's arguments, only inside `Changes`: container and position; -1 is itself."""

    container: int
    position: int


class Change(Wire, tag=55):
    """What is now in the container number `place` of the arguments: items, keys and values in turn, or bytes.

    Of a set it is two tuples: what is new, and what is gone.
    """

    place: int
    items: tuple[Value, ...]


class Changes(Wire, tag=56):
    """What a call has changed in its arguments; `shape` has a letter for each container in them."""

    shape: str
    found: tuple[Change, ...]


Buffer = Union[Inline, Remote, Reserved, Poured]
Value = Union[
    None, bool, int, float, str,
    Bytes, Big, Complex, Text, Tuple, Record, FrozenSet, Range, Slice, Constant, Moment, Number,
    Scalar, Ref, Own, Fault, List, Dict, Set, ByteArray, Deque, Data, Array, Table, Pickled, Tensor, Place,
    Dtype,
]  # fmt: skip


# ---------------------------------------------------------------- frames


class Call(Wire, tag=1):
    """Call the receiver's object `target`, or its method `name` if that is not empty.

    `within` is the number of the receiver's own request that the sender is serving (0: none), and
    `drops` are pairs of id and count that the sender no longer holds.
    """

    number: int
    within: int
    target: int
    name: str
    args: tuple[Value, ...]
    kwargs: dict[str, Value]
    drops: tuple[int, ...] = ()


class Get(Wire, tag=2):
    """Read the attribute `name` of the companion's object `target`; `within` and `drops` as in `Call`."""

    number: int
    within: int
    target: int
    name: str
    drops: tuple[int, ...] = ()


class Reply(Wire, tag=3):
    """Answer the request `number` with a value, and tell what the call has changed in its arguments."""

    number: int
    value: Value
    changes: Union[Changes, None] = None


class Failure(Wire, tag=4):
    """Answer the request `number` with an exception; `changes` as in `Reply`."""

    number: int
    fault: Fault
    changes: Union[Changes, None] = None


class Event(Wire, tag=5):
    """Show an output; `barrier` tells its place among the bytes on the pipes. Wants no answer."""

    barrier: int
    kind: str
    content: bytes


class Release(Wire, tag=6):
    """Drop lent objects: pairs of id and count."""

    drops: tuple[int, ...]


class Spilled(Wire, tag=7):
    """Fetch a frame that is larger than a packet from the sender's memory, then decode it."""

    body: Buffer


Frame = Union[Call, Get, Reply, Failure, Event, Release, Spilled]

encode = msgspec.msgpack.Encoder().encode
"""Encode a frame."""

decode = msgspec.msgpack.Decoder(Frame).decode
"""Decode one packet; what is no frame raises msgspec.ValidationError or msgspec.DecodeError."""
