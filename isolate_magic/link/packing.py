"""Host to companion: anything that pickles, with arrays beside it, proxies and callbacks by number.

The companion may trust the host, so this direction is cloudpickle; the other one never is. The host
packs, the companion unpacks.
"""

from __future__ import annotations

import io
import pickle
import types
from typing import Any

import cloudpickle

from isolate_magic.errors import TransferError
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.functions import travels
from isolate_magic.link.proxy import Method, claim_of

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)


class Travelling:
    """Mark a function that shall run in the companion whatever it refers to."""

    def __init__(self, function: Any) -> None:
        self.function = function


class Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickle host objects for one companion.

    Args:
        file: where the pickle goes.
        owner: the conversation; it lends functions and knows its own proxies.
        beside: gets the buffers that travel beside the pickle.
    """

    def __init__(self, file: Any, owner: Any, beside: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, protocol=5, buffer_callback=beside.append)
        self.owner = owner
        self._sent: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what pickle would get wrong: proxies, functions that must stay, arrays."""
        if type(obj) is Method:
            obj = obj.fetch()
        if type(obj) is Travelling:
            self._sent.add(id(obj.function))
            return _same, (obj.function,)
        claim = claim_of(obj)
        if claim is not None:
            return _own, (self.owner.number_of(claim),)
        if isinstance(obj, _FUNCTIONS) and id(obj) not in self._sent and not travels(obj):
            return _callback, (self.owner.lend(obj), getattr(obj, "__name__", "function"))
        if type(obj).__name__ == "ndarray" and type(obj).__module__ == "numpy" and not obj.dtype.hasobject:
            return foreign_numpy.reduce_array(obj)
        return super().reducer_override(obj)


def pack(value: Any, owner: Any) -> tuple[bytes, list[Any]]:
    """Pickle `value` for the companion of `owner`.

    Returns:
        the pickle, and the flat buffers beside it.

    Raises:
        TransferError: something in `value` cannot travel; the text says what, and what to do.
    """
    file, beside = io.BytesIO(), list[pickle.PickleBuffer]()
    try:
        Packer(file, owner, beside).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, TransferError):
            raise
        raise TransferError(
            f"this value cannot travel to companion {owner.name!r}: {error}. "
            "Make the object there instead, or pass the plain data it is made from"
        ) from error
    return file.getvalue(), [buffer.raw() for buffer in beside]


here: Any = None
"""The companion's own conversation, set once after the fork; only `unpack` needs it."""


def unpack(data: Any, buffers: list[Any]) -> Any:
    """Load what `pack` made (companion only: it trusts the host)."""
    return pickle.loads(data, buffers=buffers)


def _own(number: int) -> Any:
    return here.lent[number]


def _same(function: Any) -> Any:
    return function


def _callback(number: int, name: str) -> Any:
    return here.callback(number, name)
