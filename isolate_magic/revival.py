"""From the companion's data to objects of ours: values, proxies, mirrors, exceptions (host).

Nothing is unpickled here unless a trusted companion was asked for a copy; nothing is imported or looked
up on the companion's word beyond the fixed names below. What does not fit raises, and ends the companion.
"""

from __future__ import annotations

import asyncio
import builtins
import pickle
import re
import threading
import weakref
from functools import partial
from typing import Any

from isolate_magic import ration
from isolate_magic.bodies import Bodies
from isolate_magic.errors import CompanionExit, NotSupported, TransferError
from isolate_magic.link import awaiting, copying, mirror, shared, values
from isolate_magic.link import frames as f
from isolate_magic.link.description import check
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.foreign import torch as foreign_torch
from isolate_magic.link.proxy import Module, remembered
from isolate_magic.link.reference import ByRef
from isolate_magic.link.refs import Claim
from isolate_magic.link.shared import Segment

_TWINS = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in values.TWINS}
_OUR_ERRORS: dict[Any, type[Exception]] = {
    "isolate_magic.TransferError": TransferError,
    "isolate_magic.NotSupported": NotSupported,
}
_FIELDS: dict[type, tuple[str, ...]] = {
    OSError: ("filename", "filename2"),
    ImportError: ("name", "path"),
    AttributeError: ("name",),
    NameError: ("name",),
}
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code has made
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MOST_CLASSES = 100_000  # they last as long as the companion


class Revival(Bodies):
    """Make objects of ours from frame values.

    Args:
        talk: the conversation that the values come from.
    """

    def __init__(self, talk: Any) -> None:
        super().__init__(talk)
        self.ration = ration.Ration()
        self.proxies: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.mirrors: dict[int, type] = {}
        self.modules: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    def value(self, value: Any) -> Any:
        """Return the object that a frame value stands for.

        Raises:
            ValueError, TypeError, KeyError: the value makes no sense.
        """
        if type(value) is not f.Ref and not self.talk.process.trusted:
            self.fit(value)
        return values.unwrap(value, self._other)

    def copy(self, value: Any) -> Any:
        """Return a copy that the user has asked for; only here a pickle is taken, of a trusted companion."""
        if type(value) is not f.Pickled or not self.talk.process.trusted:
            return self.data(value)
        self.fit(value)
        data, buffers = self.body(value.data), [bytearray(self.body(buffer)) for buffer in value.buffers]
        try:
            return pickle.loads(data, buffers=buffers)
        except Exception as error:  # border: unpickling runs the classes' own code
            raise TransferError(
                f"the copy could not be made here: {type(error).__name__}: {error}. The classes it needs "
                "must be importable in this session"
            ) from error

    def data(self, value: Any) -> Any:
        """Return a copy that came as data."""
        self.fit(value)
        try:
            return values.unwrap(value, self._other)
        except TransferError:
            self.give_up(value)
            raise

    def shared_copy(self, value: Any) -> Any:
        """Return a copy as `data` does; an array or a tensor in a memfd of ours is shared from there."""
        bits = value.bits if type(value) is f.Tensor else value
        if type(bits) is not f.Array or type(bits.data) is not f.Poured:
            return self.data(value)
        if type(value) is f.Tensor:
            return foreign_torch.unwrap_tensor(value, lambda bits: self._adopted(bits, True))
        return self._adopted(bits, False)

    def _adopted(self, value: f.Array, writable: bool) -> Any:
        """Return an array over the memfd that it came in, from now on a segment."""
        dtype, size = foreign_numpy.measure(value, self.value)
        self.check_room(size)  # a look at a file with holes fills them
        mapped = Segment(self.sealed(value.data), max(size, 1)).map(writable=True)
        array = foreign_numpy.turned(
            value.order, value.shape, lambda shape: shared.array(mapped, dtype, shape, writable=writable)
        )
        foreign_numpy.check_bools(array)
        return array

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is f.Ref:
            return self._ref(value)
        if kind is f.Own:
            found = self.talk.lent[value.id]
            return found.thing if type(found) is ByRef else found
        if kind is f.Fault:
            return self.fault(value)
        if kind is f.Record:
            cls = self.mirror(value.cls)
            items = tuple(values.unwrap(item, self._other, depth + 1) for item in value.items)
            if not issubclass(cls, tuple) or len(items) != len(cls._fields):  # type: ignore[attr-defined]
                raise ValueError("a record that does not fit its class")
            return tuple.__new__(cls, items)
        if kind is f.Data and not self.talk.process.trusted:
            ration.allow(copying.class_of(value))
        inner = partial(values.unwrap, other=self._other, depth=depth + 1)
        if kind is f.Dtype:
            return foreign_numpy.dtype_of(inner(value.told))
        return copying.rebuild(value, inner, self.body, self.fill)

    # ------------------------------------------------------------ proxies and classes

    def _ref(self, ref: f.Ref) -> Any:
        if ref.kind == 4:
            return self._twin(ref.label)
        if ref.kind in (1, 5):
            made = self.mirror(ref.id)
            if ref.kind == 5:
                mirror.learn(made, check(self.talk.describe(ref.id)))
            return made
        cls: Any = Module if ref.kind == 2 else self.mirror(ref.cls)
        if issubclass(cls, (BaseException, tuple)):
            raise ValueError(f"a reference to an instance of {cls.__name__}")
        with self._lock:
            proxy = self.proxies.get(ref.id)
            if proxy is not None:
                proxy._isolate_.times += 1
                return proxy
            if len(self.proxies) >= ration.PROXIES and not self.talk.process.trusted:
                raise ValueError(f"more than {ration.PROXIES} objects lent at a time")
            label = ration.label(ref.label) or f"{cls.__module__}.{cls.__qualname__} object"
            proxy = object.__new__(cls)
            object.__setattr__(proxy, "_isolate_", cls._isolate_claim_(self.talk, ref.id, label))
            self.proxies[ref.id] = proxy
        if ref.kind == 2:
            self.modules.add(proxy)
        return proxy

    def _twin(self, name: str) -> type:
        cls: Any = _TWINS.get(name)
        module, _, leaf = name.partition(".")
        if cls is None and module == "builtins":
            cls = getattr(builtins, leaf, None)
            cls = cls if isinstance(cls, type) and issubclass(cls, BaseException) else None
        elif cls is None and module == "asyncio" and leaf in awaiting.ERRORS:
            cls = getattr(asyncio, leaf, None)
        elif cls is None and module == "numpy":
            import numpy as np

            cls = vars(np).get(leaf)
            cls = cls if isinstance(cls, type) and issubclass(cls, (np.generic, np.dtype)) else None
        if cls is None:
            raise ValueError(f"{name[:60]!r} is no class that both sides have")
        found: type = cls
        return found

    def mirror(self, number: int) -> type:
        """Return the mirror of a class, made at its first appearance."""
        found = self.mirrors.get(number)
        if found is None:
            if len(self.mirrors) >= _MOST_CLASSES:
                raise ValueError(f"more than {_MOST_CLASSES} classes")
            told = check(self.talk.describe(number))
            if not self.talk.process.trusted:
                told = self.ration.describe(told)
            claim = Claim(self.talk, number, f"{told.module}.{told.name}"[:200], 0)
            found = self.mirrors.setdefault(number, mirror.build(told, claim))
        return found

    def forget(self) -> None:
        """Let module proxies forget their members; the companion is dead."""
        for module in list(self.modules):
            remembered(module).clear()

    # ------------------------------------------------------------ exceptions

    def fault(self, fault: f.Fault) -> BaseException:
        """Make the exception; its class is a builtin's own or a mirror, never looked up elsewhere."""
        if isinstance(fault.ref, f.Own):
            error: Any = self.talk.lent[fault.ref.id]
            if not isinstance(error, BaseException):
                raise ValueError("an exception that is none")
            return error
        ref = fault.ref if isinstance(fault.ref, f.Ref) else None
        known: Any = self.proxies.get(ref.id) if ref else None
        if not self.talk.process.trusted:
            self.fit(fault)
        if known is not None:
            if not issubclass(type(known), BaseException):
                raise ValueError("an exception with the number of another object")
            known._isolate_.times += 1
            self._note(known, fault.lines)
            return known  # type: ignore[no-any-return]
        error = self._raised(fault.cls, tuple([self._plain(self.value(arg)) for arg in fault.args]))
        self._furnish(error, fault)
        if ref:
            error.__dict__["_isolate_"] = Claim(self.talk, ref.id, type(error).__name__)
            self._remember(ref.id, error)
        self._note(error, fault.lines)
        return error  # type: ignore[no-any-return]

    def _furnish(self, error: BaseException, fault: f.Fault) -> None:
        """Set the attributes that came along; no private name, because Python and IPython act on some."""
        for kind, names in _FIELDS.items():
            for name in names if isinstance(error, kind) else ():
                if name in fault.fields:
                    setattr(error, name, self.value(fault.fields[name]))
        own, text = self.value(fault.fields.get("__dict__")), self._plain(self.value(fault.text))
        for name, value in own if type(own) is tuple else ():
            if isinstance(name, str) and not name.startswith("_"):
                error.__dict__[name] = value
        if type(text) is not str:
            raise ValueError("an exception whose text is none")
        if type(type(error)) is mirror.Mirror:
            error.__dict__["_isolate_text_"] = text
        notes = self.value(fault.fields.get("__notes__"))
        for note in notes if type(notes) is tuple else ():
            self._add_note(error, self._plain(note) if type(note) is str else "")

    def _note(self, error: BaseException, lines: tuple[str, ...]) -> None:
        """Keep the remote traceback, in a note and for the cell that shows it."""
        lines = ration.lines(lines, self.talk.process.trusted)
        trace = _COLOUR.sub("", "\n".join(line.rstrip("\n") for line in lines))
        text = f"In companion {self.talk.name!r}:\n{trace}"
        if lines and text not in getattr(error, "__notes__", ()):
            error.__dict__["_isolate_lines_"] = lines
            self._add_note(error, text)

    def _add_note(self, error: BaseException, text: str) -> None:
        if self.talk.process.trusted or len(getattr(error, "__notes__", ())) < ration.NOTES:
            BaseException.add_note(error, text)  # not what an attribute of that name says

    def _plain(self, value: Any) -> Any:
        """Return a text of an untrusted companion as it may be shown; anything else as it is."""
        return ration.tidy(value) if type(value) is str and not self.talk.process.trusted else value

    def _remember(self, number: int, error: BaseException) -> None:
        try:
            self.proxies[number] = error
        except TypeError:  # a class with slots and without weak references
            return

    def _raised(self, name: Any, args: tuple[Any, ...]) -> BaseException:
        if isinstance(name, int):
            made = self.mirror(name)
            cls: Any = made.__dict__.get("_isolate_origin_") or made
        else:
            ours = name.startswith("asyncio.")
            cls = _OUR_ERRORS.get(name) or self._twin(name if ours else f"builtins.{name}")
        if not issubclass(cls, BaseException):
            raise ValueError(f"{cls.__name__} is no exception")
        if issubclass(cls, SystemExit):
            return CompanionExit(*args[:1])
        if not self.talk.process.trusted:
            args = ration.renamed(cls, args, self.talk.name)
        if (cls.__module__ == "builtins" or name in _OUR_ERRORS) and ration.sound(cls, args):
            try:
                return cls(*args)  # type: ignore[no-any-return]
            except TypeError:  # a UnicodeError without its five arguments, say
                pass
        # Not `cls(*args)`: neither a mirror nor a class of this session runs code of its own here.
        native = next(up for up in cls.__mro__ if not up.__flags__ & _HEAP)
        error: BaseException = native.__new__(cls, *args)
        error.args = args
        return error
