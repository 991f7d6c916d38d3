"""What a checkpoint holds: the names of the cells as one pickle, made and handed out in pieces (companion).

Each name is a pickle of its own, and all share one memo: what two names share is saved once, and comes
back as one object. What does not pickle is left out, with the reason. Large buffers are not copied: they are
read where they lie, when the host asks for them.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import sys
import types
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle

from isolate_magic.child import regaining
from isolate_magic.child.variables import OWN
from isolate_magic.errors import text_of
from isolate_magic.link import frames as f
from isolate_magic.link.layout import PART

_LARGE = (
    1 << 20
)  # bytes of a buffer that stands beside the pickle, and is given memory of its own when it is back
_BLOCK = 1 << 20
_REASON = 300
_HISTORY = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[iod]h|_exit_code|__\w+__")
_FILES = (
    io.TextIOWrapper,
    io.BufferedReader,
    io.BufferedWriter,
    io.BufferedRandom,
    io.BufferedRWPair,
    io.FileIO,
)


class Keeping:
    """Be the part of the service that checkpoints are made by, and restored by."""

    shell: Any
    talk: Any

    def keep(self) -> Any:
        """Pickle what the cells have bound."""
        # What runs no code when it is loaded comes first: it is there for the objects that need it then.
        return kept(self.shell.user_ns, dict(sorted(_bound(self.shell), key=_turn)))

    def told(self, target: Kept) -> Any:
        """Tell what was saved, what was not and why, the sizes of the parts, whether they hold code."""
        return target.names, target.left, target.sizes, target.code

    def piece(self, target: Kept, offset: int, length: int) -> Any:
        """Return some of the bytes."""
        from isolate_magic.child.service import Raw

        return Raw(f.ByteArray(self.talk.park(target.read(offset, length)), True))

    def regain(self, owner: int) -> Any:
        """Bind what a checkpoint holds, all at once or nothing; its parts are lent under a number."""
        found, lost = regaining.load(self.shell.user_ns, self.talk.lent[owner])
        self.shell.push(found)
        return tuple(found), lost


def _bound(shell: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names that cells have bound, those with an underscore too, and nothing of IPython's."""
    hidden = shell.user_ns_hidden
    for name, value in list(shell.user_ns.items()):
        if type(name) is not str or name in OWN or _HISTORY.fullmatch(name):
            continue
        if hidden.get(name, OWN) is not value:
            yield name, value


def _turn(pair: tuple[str, Any]) -> int:
    kind = type(pair[1])
    return 0 if kind is types.ModuleType else 1 if kind is types.FunctionType or issubclass(kind, type) else 2


class Kept:
    """Hold what a checkpoint is made of, until the host has it.

    Args:
        packed: the pickles.
        left: names that were left out, each with the reason.
    """

    def __init__(self, packed: Packed, left: dict[str, str]) -> None:
        self.names = tuple(name for name, _, _ in packed.variables)
        self.left = tuple(left.items())
        self.code = packed.code
        index = {"buffers": [view.nbytes for view in packed.beside], "variables": packed.variables}
        self._views: list[memoryview] = []
        self._begins: list[int] = []
        self._end = 0
        text = json.dumps(index).encode()
        parts = [[memoryview(text.ljust(_rounded(len(text))))], packed.stream.views()]
        parts += [[view] for view in packed.beside]
        self.sizes = tuple(map(self._part, parts))

    def _part(self, views: list[memoryview]) -> int:
        """Take note of a part, and fill it up to a whole number of units."""
        begin = self._end
        for view in views:
            self._add(view)
        size = self._end - begin
        if size % PART:
            self._add(memoryview(bytes(PART - size % PART)))
        return self._end - begin

    def _add(self, view: memoryview) -> None:
        self._views.append(view)
        self._begins.append(self._end)
        self._end += view.nbytes

    def read(self, offset: int, length: int) -> Any:
        """Return `length` bytes from an offset on: where they lie if that is one place, else a copy."""
        number = bisect_right(self._begins, offset) - 1
        found, wanted = [], length
        while wanted > 0 and number < len(self._views):
            begin = offset + length - wanted - self._begins[number]
            found.append(self._views[number][begin : begin + wanted])
            wanted -= found[-1].nbytes
            number += 1
        return found[0] if len(found) == 1 else b"".join(found)


def _rounded(size: int) -> int:
    return -(-size // PART) * PART


def kept(space: dict[str, Any], found: dict[str, Any]) -> Kept:
    """Pickle variables; leave out those that do not pickle.

    Args:
        space: the namespace that functions of the cells look their names up in.
        found: the variables by name.
    """
    left: dict[str, str] = {}
    while True:
        packed = Packed(space)
        failed = packed.take(found)
        if failed is None:
            return Kept(packed, left)
        name, left[name] = failed
        del found[name]
        if len(left) == 1:  # others may fail too: try each by itself rather than begin anew for each
            for name in [name for name in found if name not in packed.seen]:
                reason = Packed(space, Nowhere()).take({name: found[name]})
                if reason is not None:
                    left[name] = reason[1]
                    del found[name]


class Packed:
    """Pickle variables one after the other, with one memo.

    Args:
        space: the namespace of the cells.
        stream: where the pickles go.

    Attributes:
        variables: for each its name, where its pickle begins, and which of the buffers is its first.
        beside: the large buffers.
        seen: the names that were tried.
    """

    def __init__(self, space: dict[str, Any], stream: Blocks | None = None) -> None:
        self.stream = Blocks() if stream is None else stream
        self.beside: list[memoryview] = []
        self.variables: list[tuple[str, int, int]] = []
        self.seen: set[str] = set()
        self._pickler = Pickler(self.stream, space, self._aside)

    @property
    def code(self) -> bool:
        """Tell whether there is code in it, which only the same Python runs."""
        return self._pickler.code

    def take(self, found: dict[str, Any]) -> tuple[str, str] | None:
        """Pickle variables; return name and reason of the first that does not pickle, or None."""
        for name, value in found.items():
            self.seen.add(name)
            self.variables.append((name, self.stream.size, len(self.beside)))
            try:
                self._pickler.dump(value)
            except Exception as error:  # border: pickling runs the objects' own methods
                return name, _reason(error)
        return None

    def _aside(self, buffer: pickle.PickleBuffer) -> bool:
        """Put a large buffer beside the pickle; say of a small one that it shall stand in it."""
        view = buffer.raw()
        if view.nbytes < _LARGE:
            return True
        self.beside.append(view)
        return False


def _reason(error: Exception) -> str:
    text = text_of(error)[:_REASON]
    return text if isinstance(error, pickle.PicklingError) and text else f"{type(error).__name__}: {text}"


class Blocks:
    """Be the file that a pickle is written to, in blocks that never move."""

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[Any] = []

    def write(self, data: Any) -> int:
        """Keep bytes; large ones as they are."""
        size = len(data)
        self.size += size
        last = self._blocks[-1] if self._blocks else b""
        if size >= _BLOCK:
            self._blocks.append(data if type(data) is bytes else bytes(data))
        elif type(last) is bytearray and len(last) + size <= _BLOCK:
            last += data
        else:
            self._blocks.append(bytearray(data))
        return size

    def views(self) -> list[memoryview]:
        """Return what was written."""
        return [memoryview(block) for block in self._blocks]


class Nowhere(Blocks):
    """Be a file that keeps nothing."""

    def write(self, data: Any) -> int:
        """Keep nothing."""
        return len(data)


class Pickler(cloudpickle.Pickler):
    """Pickle what cells bind: with their namespace left out, and with memory that is shared saved once.

    Args:
        file: where the pickle goes.
        space: the namespace of the cells.
        aside: takes buffers; whether it returns True says that one shall stand in the pickle.
    """

    def __init__(
        self, file: Any, space: dict[str, Any], aside: Callable[[pickle.PickleBuffer], bool]
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=aside)
        self.code = False
        self._space = space
        self._storages: dict[int, Any] = {}
        self._own: dict[type, Callable[[Any], Any]] = dict.fromkeys(_FILES, _refuse_file)
        self._own |= {memoryview: _refuse_view, types.CodeType: self._note_code}
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy is not None:
            self._alone = _holders(numpy.zeros(2)[1:])
            self._own[numpy.ndarray] = self._array
        if torch is not None:
            self._own[torch.Tensor] = self._tensor

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what cloudpickle would get wrong here."""
        own = self._own.get(type(obj))
        reduced = NotImplemented if own is None else own(obj)
        return super().reducer_override(obj) if reduced is NotImplemented else reduced

    def _dynamic_function_reduce(self, func: Any) -> Any:
        """Bind a function of the cells to their namespace again, not to a copy of what it looks up there."""
        reduced = super()._dynamic_function_reduce(func)
        if func.__globals__ is not self._space:
            return reduced
        _, (code, _, *_, closure), state, *rest = reduced
        state[1]["__globals__"] = {}
        return regaining.function, (code, closure), state, *rest

    def _note_code(self, _code: Any) -> Any:
        self.code = True
        return NotImplemented

    def _array(self, array: Any) -> Any:
        """Reduce an array that lies in the memory of another one to that and a place in it."""
        root = array.base
        if type(root) is not type(array) or array.dtype.hasobject or root.dtype.hasobject:
            return NotImplemented
        if not root.flags.forc or not root.size or not array.size or _holders(array) - 1 <= self._alone:
            return NotImplemented  # `root` is a holder here
        offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        if not 0 <= offset < root.nbytes:
            return NotImplemented
        told = (root, array.dtype, array.shape, array.strides, offset, array.flags.writeable)
        return regaining.view, told

    def _tensor(self, tensor: Any) -> Any:
        """Reduce a tensor to its whole storage, which others may share, and a place in it."""
        torch: Any = sys.modules["torch"]
        if tensor.device.type != "cpu":
            raise pickle.PicklingError(f"a tensor on the device {tensor.device}; bind its x.cpu() to save it")
        plain = tensor.layout == torch.strided and not tensor.is_quantized
        if not plain or tensor.is_conj() or tensor.is_neg() or vars(tensor) or tensor._backward_hooks:
            return NotImplemented
        storage = tensor.untyped_storage()
        flat = self._storages.get(storage.data_ptr())
        if flat is None:
            flat = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
            self._storages[storage.data_ptr()] = flat
        place = (tensor.storage_offset(), tuple(tensor.size()), tensor.stride())
        return regaining.tensor, (flat, tensor.dtype, *place, tensor.requires_grad)


def _holders(array: Any) -> int:
    """Count who holds the array that this one is a view of; a few more than there are, always as many."""
    return sys.getrefcount(array.base)


def _refuse_file(file: Any) -> Any:
    if file is sys.stdout or file is sys.stderr:
        return NotImplemented
    raise pickle.PicklingError(f"an open file ({str(getattr(file, 'name', '?'))[:100]}); open it again")


def _refuse_view(_view: Any) -> Any:
    raise pickle.PicklingError("a memoryview; save the object whose memory it shows")
