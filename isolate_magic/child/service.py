"""What the host can ask a companion for, beyond using its objects (companion).

The service is the object with the number 1: the host calls its methods like those of any other.
"""

from __future__ import annotations

import builtins
import copy
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import resource
import sys
import types
from collections.abc import Callable, KeysView
from typing import Any

import cloudpickle
from jupyter_client.jsonutil import json_default

from isolate_magic.child import completing, deriving, imports, iterators, operators, ufuncs, variables
from isolate_magic.child import kernel as kernels
from isolate_magic.child.faults import CellError
from isolate_magic.child.keeping import Keeping
from isolate_magic.child.requests import Requests
from isolate_magic.child.standins import HostFunction
from isolate_magic.errors import TransferError
from isolate_magic.link import answers, awaiting, bulk, memory, values
from isolate_magic.link import frames as f
from isolate_magic.link.copying import Copier, NoData
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.shared import Segment

_MISSING = object()


class Service(Keeping, Requests):
    """Answer the host's questions about this companion.

    Args:
        talk: the conversation.
        kernel: the kernel of this companion.
    """

    def __init__(self, talk: Any, kernel: Any) -> None:
        self.talk = talk
        self.kernel = kernel
        self.shell = kernel.shell
        self.described: dict[type, KeysView[str] | set[str]] = {}  # the names that each class had then
        self.named: list[str] = []  # what the host knows of the names in the cells

    # ------------------------------------------------------------ snapshots

    def freeze(self, tokens: list[int]) -> Any:
        """Take a snapshot; see `isolate_magic.child.snapshot`."""
        return self.talk.snapshots.take(tokens)

    def settle(self, last: int, numbers: bytes) -> None:
        """Free what the host does not hold any more; see `isolate_magic.child.snapshot`."""
        self.talk.snapshots.settle(last, numbers)

    # ------------------------------------------------------------ cells and names

    def execute(self, code: str, number: int, lines_before: int, silent: bool, request: str = "") -> Any:
        """Run a cell and return the value of its last expression, or the JSON reply to a kernel's request.

        Raises:
            CellError: around whatever the cell raised.
        """
        if request:
            return self.fulfil(code, number, request)
        result = kernels.run_cell(self.kernel, code, number, lines_before, silent)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            shown = self.kernel.session.error
            raise CellError(error, tuple(shown["traceback"]) if shown else ())
        return result.result

    def after_cell(self) -> str | None:
        """Do what IPython does after a cell; its inline figures are shown and closed then.

        Returns:
            the names that the cells have bound, if they are others than the last time.
        """
        self.shell.events.trigger("post_execute")
        names = completing.names(self.shell)
        if names == self.named:
            return None
        self.named = names
        return "\n".join(names)

    def complete(self, code: str, cursor: int, name: str, target: Any) -> str:
        """Answer Tab; see `isolate_magic.child.completing`."""
        return answers.told(completing.complete(self.shell, code, cursor, name, target))

    def inspect(self, path: str, detail: int, title: str, name: str, target: Any) -> str:
        """Answer Shift-Tab and `?`; see `isolate_magic.child.completing`."""
        return answers.told(completing.inspect_(self.shell, path, detail, title, name, target))

    def push(self, names: dict[str, Any]) -> None:
        """Bind names in the namespace of the cells; arrays are its own from here on, and writable."""
        for value in names.values():
            foreign_numpy.unlock(value)
        self.shell.push(names)

    def pull(self, name: str) -> Any:
        """Return what a name is bound to in the namespace of the cells.

        Raises:
            NameError: no cell has bound it.
        """
        value = self.shell.user_ns.get(name, _MISSING)
        if value is _MISSING:
            raise NameError(f"name {name!r} is not defined in the companion")
        return value

    def variables(self) -> Any:
        """Tell what the cells have bound."""
        return variables.rows(self.shell)

    def run(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function that the host has sent."""
        return function(*args, **kwargs)

    # ------------------------------------------------------------ what is awaited

    def begin(self, target: Any, name: str, args: Any, inside: bool) -> Any:
        """Start a task that awaits `target`, or what its method `name` returns; the reply comes later."""
        return self.talk.tasks.begin(self.talk.active[-1], target, name, args, inside)

    def cancel(self, number: int) -> Any:
        """Cancel the task that a request has started."""
        return self.talk.tasks.cancel(self.talk.active[-1], number)

    # ------------------------------------------------------------ modules

    def load_module(self, name: str, path: list[str] | None = None) -> Any:
        """Import a module by name, or find it in the folders of `path` alone."""
        imports.check(name)
        if path is None:
            return importlib.import_module(name)
        if name in sys.modules:
            return sys.modules[name]
        place = _find(name, path)
        spec = importlib.util.spec_from_file_location(name, place)
        if place is None or spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"no module named {name!r} in {', '.join(path)}", name=name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def allow_imports(self, names: list[str] | None, policy: str) -> None:
        """Let cells import these modules only, from now on."""
        imports.allow(names, policy)

    def ease_limit(self, name: str, value: int) -> None:
        """Raise a limit of this process, whose user the host is not (setrlimit(2))."""
        number = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(number, (value, resource.getrlimit(number)[1]))

    # ------------------------------------------------------------ objects

    def describe(self, cls: type) -> Any:
        """Describe a class for its mirror; see `isolate_magic.link.description.Description`."""
        bases = tuple(base for base in cls.__bases__ if base is not object)
        fields = getattr(cls, "_fields", None) if cls.__bases__ == (tuple,) else None
        owners = [cls, *(base for base in cls.__mro__[1:] if self.twin(base))]
        special, methods, descriptors = [], [], []
        for owner in owners:
            for name, value in vars(owner).items():
                if name.startswith("__") and name.endswith("__"):
                    special.append(f"-{name}" if value is None else name)
                elif isinstance(value, _METHODS):
                    methods.append(name)
                elif hasattr(type(value), "__get__"):
                    descriptors.append(name)
        if _is_buffer(cls):
            special.append("__bytes__")
        self.described[cls] = set(vars(cls))
        text = vars(cls).get("__doc__")
        own_text = text is not None and not isinstance(text, str)
        return (
            cls.__module__, cls.__qualname__, text if isinstance(text, str) else None, bases,
            tuple(special), tuple(methods), fields, own_text or _functional(cls),
            type(cls).__subclasscheck__ is not type.__subclasscheck__,
            cls if cls in self.talk.adopted else None, tuple(descriptors),
        )  # fmt: skip

    def derive(self, name: str, bases: Any, space: dict[str, Any], options: dict[str, Any]) -> type:
        """Make a class for a class statement of the host; see `isolate_magic.child.deriving`."""
        return deriving.derive(name, bases, space, options)

    def upward(self, home: type, target: Any, name: str) -> Any:
        """Return what `super()` finds from a class on; see `isolate_magic.child.deriving`."""
        return deriving.upward(home, target, name)

    def twin(self, cls: type) -> str:
        """Return the name of a class that is the host's own as well, because its values travel."""
        if cls in values.TWINS:
            return f"{cls.__module__}.{cls.__qualname__}"
        if issubclass(cls, BaseException):
            return (
                f"builtins.{cls.__name__}"
                if getattr(builtins, cls.__name__, None) is cls
                else awaiting.twin(cls)
            )
        numpy = sys.modules.get("numpy") if self.talk.host_has_numpy and cls.__module__ == "numpy" else None
        if numpy is None or not issubclass(cls, (numpy.generic, numpy.dtype)):
            return ""
        return f"numpy.{cls.__name__}" if getattr(numpy, cls.__name__, None) is cls else ""

    def signature(self, function: Any) -> Any:
        """Return the signature in texts: (name, kind, default, annotation) of each parameter, and the result.

        None stands for what there is not; the whole is None if the function tells no signature.
        """
        try:
            found = inspect.signature(function)
        except (TypeError, ValueError):
            return None
        rows = tuple(
            (p.name, int(p.kind), _said(p.default, repr), _said(p.annotation, inspect.formatannotation))
            for p in found.parameters.values()
        )
        return rows, _said(found.return_annotation, inspect.formatannotation)

    def keys(self, target: Any) -> Any:
        """Return the text keys of a mapping or a table, for completion inside `x["`."""
        keys = target.keys() if hasattr(target, "keys") else ()
        return tuple(key for key, _ in zip(keys, range(1000), strict=False) if type(key) is str)

    def show(self, target: Any) -> Any:
        """Return the JSON of what this companion's formatters make of an object: data and metadata."""
        data, metadata = self.shell.display_formatter.format(target)
        return json.dumps([data, metadata], default=json_default)

    def attribute(self, target: Any, name: str) -> Any:
        """Return an attribute of a value that the host has sent; see `method_of`."""
        return getattr(target, name)

    def method_of(self, target: Any, name: str, *args: Any) -> Any:
        """Call a special method of a value that the host has sent: a namedtuple, which has no number."""
        return operators.method(target, name)(*args)

    def array_of(self, target: Any) -> Any:
        """Return what `numpy.asarray` makes of an object here."""
        import numpy as np

        return np.asarray(target)

    def array_items(self, target: Any) -> Any:
        """Return the shape and the items of an array of objects; None for anything else."""
        return ufuncs.items(target)

    def ufunc(self, name: Any, method: str, inputs: Any, options: dict[str, Any]) -> Any:
        """Call a ufunc of numpy's or scipy's."""
        return ufuncs.ufunc(name, method, inputs, options)

    def array_function(self, module: str, name: str, args: Any, options: dict[str, Any]) -> Any:
        """Call a function of numpy's."""
        return ufuncs.function(module, name, args, options)

    def advance(self, number: int, count: int) -> None:
        """Take so many items of the iterator with this number."""
        iterators.advance(self.talk.lent[number], count)

    def ahead(self, number: int, taken: int, wanted: int) -> Any:
        """Take `taken` items that the host has seen and one more; return that one and some after it."""
        iterator = self.talk.lent[number]
        iterators.advance(iterator, taken)
        return tuple(iterators.ahead(iterator, wanted if self.talk.quiet() else 1))

    def shallow_copy(self, target: Any) -> Any:
        """Copy with `copy.copy`."""
        return copy.copy(target)

    def deep_copy(self, target: Any) -> Any:
        """Copy with `copy.deepcopy`."""
        return copy.deepcopy(target)

    # ------------------------------------------------------------ data

    def copy(self, target: Any, as_data: bool, pickles: bool, pour: bool = False) -> Any:
        """Return a copy of an object: as data where `as_data` asks so, else by pickle if `pickles` allows.

        With `pour` the bytes of an array or a tensor come in a memfd, whatever its size.

        Raises:
            TransferError: the object is no data and does not pickle, or may not.
        """
        try:
            if not as_data:
                raise NoData("the host has not imported its class")
            park = self.talk.pour if pour and type(target).__name__ in _POURED else self.talk.park
            return Raw(Copier(park, self.talk.record).copy(target))
        except NoData as reason:
            if not pickles:
                raise TransferError(f"{_name(target)} is not plain data ({reason})") from None
        if isinstance(target, types.ModuleType):
            raise TransferError(f"a module is no data: import {target.__name__} in the main session instead")
        beside: list[Any] = []
        try:
            body = cloudpickle.dumps(target, protocol=5, buffer_callback=beside.append)
        except Exception as error:  # border: pickling runs the objects' own methods
            raise TransferError(
                f"{_name(target)} cannot be copied out of the companion: {error}. Keep using the proxy, "
                "or copy the plain data in it"
            ) from None
        parked = tuple(self.talk.park(buffer.raw()) for buffer in beside)
        return Raw(f.Pickled(self.talk.park(body), parked))

    def reserve(self, sizes: tuple[int, ...]) -> Any:
        """Reserve memory that the host will fill: lend it, and tell where each part begins."""
        rooms = [memory.room(size) for size in sizes]
        parts = [memoryview(room).cast("B")[:size] for room, size in zip(rooms, sizes, strict=True)]
        return self.talk.lent.lend(parts), tuple(map(bulk.address, rooms))

    def accept(self, sizes: tuple[int, ...], token: int) -> Any:
        """Map the memfd with this token, which the host has filled and sealed; lend its parts."""
        fd = self.talk.door_fd(token)
        try:
            whole = memoryview(bulk.open_sealed(fd, sum(sizes)))
        finally:
            os.close(fd)
        parts, offset = [], 0
        for size in sizes:
            parts.append(whole[offset : offset + size])
            offset += size
        return self.talk.lent.lend(parts)

    def attach(self, token: int, length: int) -> int:
        """Map the shared memory that came with this token, and lend the map."""
        number: int = self.talk.lent.lend(Segment(self.talk.door_fd(token), length).map(False, patient=True))
        return number


_TEXTED = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType,
    types.ModuleType,
)  # fmt: skip
_POURED = ("ndarray", "Tensor", "Parameter")
_BUFFERS = frozenset({"numpy.ndarray", "array.array", "builtins.memoryview", "mmap.mmap"})
_METHODS = (types.FunctionType, types.MethodDescriptorType, classmethod, staticmethod, HostFunction)


class Raw:
    """Say that a value is ready for the wire."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _is_buffer(cls: type) -> bool:
    """Return whether `bytes` takes the memory of an instance.

    Python 3.11 does not say so of a class, hence the names.
    """
    names = {f"{up.__module__}.{up.__qualname__}" for up in cls.__mro__}
    return hasattr(cls, "__buffer__") or not names.isdisjoint(_BUFFERS)


def _functional(cls: type) -> bool:
    """Return whether instances are functions by another name, as those of numpy and `lru_cache` are."""
    names = {name for up in cls.__mro__ for name in vars(up)}
    return issubclass(cls, _TEXTED) or {"__call__", "__get__"} <= names


def _said(thing: Any, text: Callable[[Any], str]) -> str | None:
    return None if thing is inspect.Parameter.empty else text(thing)


def _name(target: Any) -> str:
    return f"a {type(target).__module__}.{type(target).__qualname__} object".replace("builtins.", "")


def _find(name: str, path: list[str]) -> str | None:
    """Return the file of a module; by hand, because importlib wants a working directory that exists."""
    leaf = name.rpartition(".")[2]
    for folder in path:
        for suffix in importlib.machinery.all_suffixes():
            for file in (os.path.join(leaf, f"__init__{suffix}"), leaf + suffix):
                place = os.path.join(folder, file)
                if os.path.isfile(place):
                    return place
    return None
