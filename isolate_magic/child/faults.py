"""Exceptions on their way to the host and back (companion)."""

from __future__ import annotations

import builtins
import os
import traceback
from typing import Any

from isolate_magic.errors import NotSupported, TransferError
from isolate_magic.link import awaiting, values
from isolate_magic.link import frames as f
from isolate_magic.link.copying import Copier, NoData
from isolate_magic.link.packing import HostError
from isolate_magic.link.proxy import claim_of
from isolate_magic.link.refs import Claim

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FIELDS: dict[type, tuple[str, ...]] = {
    OSError: ("filename", "filename2"),
    ImportError: ("name", "path"),
    AttributeError: ("name",),
    NameError: ("name",),
}


class CellError(Exception):
    """Carry what a cell raised, and the traceback as IPython shows it, to the reply."""

    def __init__(self, error: BaseException, lines: tuple[str, ...]) -> None:
        super().__init__(error, lines)
        self.error = error
        self.lines = lines


class Faults:
    """Turn exceptions into data and back.

    Args:
        talk: the companion's conversation.
    """

    def __init__(self, talk: Any) -> None:
        self.talk = talk

    def fault(self, error: BaseException) -> f.Fault:
        """Turn an exception into data; one that came from the host goes back by its number there."""
        lines: tuple[str, ...] | None = None
        if isinstance(error, CellError):
            lines, error = error.lines, error.error
        kind = type(error)
        claim = claim_of(error)
        if claim is not None:
            return f.Fault("Exception", (), "", (), {}, f.Own(claim.number))
        name: Any = kind.__name__
        ref = None
        if kind in (TransferError, NotSupported):
            name, lines = f"isolate_magic.{name}", ()
        elif awaiting.twin(kind):
            name = awaiting.twin(kind)
        elif getattr(builtins, name, None) is not kind:
            name, ref = self.talk.lent.pin(kind), self.talk.lend(error)
        if lines is None:
            lines = () if kind is StopIteration else tuple(self._lines(error))
        args = tuple(self._argument(item) for item in error.args)
        lines = tuple(map(_clean, lines))
        return f.Fault(name, args, values.plain(_text(error)), lines, self._fields(error, ref is None), ref)

    def _fields(self, error: BaseException, builtin: bool) -> dict[str, Any]:
        names = {name for kind, found in _FIELDS.items() if isinstance(error, kind) for name in found}
        fields = {name: self._argument(getattr(error, name, None)) for name in sorted(names)}
        notes = getattr(error, "__notes__", None)
        told = [*map(str, notes or ()), *_advice(error)]
        if told:
            fields["__notes__"] = self._argument(tuple(told))
        if builtin or type(error) in self.talk.adopted:  # no mirror, so nobody could ask for these later
            own = ((name, value) for name, value in vars(error).items() if name != "__notes__")
            fields["__dict__"] = self._argument(tuple(own)) if vars(error) else None
        return {name: value for name, value in fields.items() if value is not None}

    def _argument(self, value: Any) -> Any:
        if self.talk.lent.holds(value):  # the host has a proxy of it, and `error.args[0] is p` shall hold
            return self.talk.wrap(value)
        try:
            return Copier(self.talk.park, self.talk.record, self.talk.wrap).copy(value)
        except NoData:
            return self.talk.wrap(value)

    def _lines(self, error: BaseException) -> list[str]:
        """Return the traceback without our own frames; empty if nothing else is in it."""
        step = error.__traceback__
        while step is not None and step.tb_frame.f_code.co_filename.startswith(_OURS):
            step = step.tb_next
        if step is None and error.__cause__ is None and error.__context__ is None:
            return []
        return traceback.format_exception(type(error), error, step)

    def revive(self, fault: f.Fault) -> BaseException:
        """Make the exception that the host's callback raised; trusted, so it comes as a pickle."""
        try:
            error = self.talk._incoming(fault.args[0], 0)
        except Exception:  # border: unpickling runs the exception's own class
            error = HostError(fault.text)
        if isinstance(fault.ref, f.Ref):
            error.__dict__["_isolate_"] = Claim(self.talk, fault.ref.id, str(fault.text))
        return error if isinstance(error, BaseException) else HostError(fault.text)


def _advice(error: BaseException) -> list[str]:
    """Say what to do about numpy's error for a write to an array that came as an argument."""
    if type(error) is ValueError and str(error).endswith(("destination is read-only", "array is read-only")):
        return ["An array given as an argument is read-only here: x = x.copy() makes one that may be changed"]
    return []


def _clean(line: str) -> str:
    return line if line.isascii() else line.encode("utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # border: `__str__` of a user's class
        return f"<{type(error).__name__} whose str() raised {type(broken).__name__}>"
