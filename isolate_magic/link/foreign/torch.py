"""torch tensors as data: a checked type and an array of their bits (both sides).

Nothing here imports torch but in a companion that is given a tensor. A tensor does not know read-only
memory, so each one that arrives has memory of its own, or a map of its own of what is shared.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from isolate_magic.errors import TransferError
from isolate_magic.link import frames as f
from isolate_magic.link import shared

_SAME = (
    "float64", "float32", "float16", "complex64", "complex128", "bool", "uint8", "uint16", "uint32", "uint64",
    "int8", "int16", "int32", "int64",
)  # fmt: skip
_BITS = {name: name for name in _SAME} | {
    "bfloat16": "int16", "complex32": "int32", "float8_e4m3fn": "uint8", "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8", "float8_e5m2fnuz": "uint8", "float8_e8m0fnu": "uint8",
}  # fmt: skip
"""Which numpy dtype the bits of a tensor have, by the name of its own; no other tensors travel."""


def is_tensor(thing: Any) -> bool:
    """Return whether this is a tensor or a parameter of exactly that class."""
    kind = type(thing)
    if kind.__name__ not in ("Tensor", "Parameter") or "torch" not in sys.modules:
        return False
    torch = sys.modules["torch"]
    return kind in (torch.Tensor, torch.nn.Parameter)


def bits(tensor: Any) -> Any:
    """Return the array of a tensor's bits, over its own memory; None if it is no plain one of the CPU."""
    torch = sys.modules["torch"]
    name = _name(tensor)
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or name not in _BITS:
        return None
    plain = tensor.detach().resolve_conj().resolve_neg()
    return (plain if _BITS[name] == name else plain.view(getattr(torch, _BITS[name]))).numpy()


def _name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def kind(tensor: Any) -> tuple[str, bool, bool]:
    """Return the name of the dtype, whether gradients are wanted, whether it is a parameter."""
    return _name(tensor), tensor.requires_grad, type(tensor).__name__ == "Parameter"


def over(array: Any, name: str, gradients: bool, parameter: bool) -> Any:
    """Return a tensor over the memory of a writable array; it begins a history of its own."""
    import torch

    tensor: Any = torch.from_numpy(array)
    if _BITS[name] != name:
        tensor = tensor.view(getattr(torch, name))
    if parameter:
        return torch.nn.Parameter(tensor, gradients)
    return tensor.requires_grad_() if gradients else tensor


# ---------------------------------------------------------------- companion to host


def wrap_tensor(tensor: Any, inner: Callable[[Any], Any]) -> f.Tensor | None:
    """Turn a tensor into data, or return None if it is of a kind that does not travel so.

    Raises:
        TransferError: it is on another device.
    """
    array = bits(tensor)
    if array is not None:
        return f.Tensor(inner(array), *kind(tensor))
    if tensor.device.type != "cpu":
        raise TransferError(
            f"this tensor is on the device {tensor.device}, and only those of the CPU are copied out of a "
            "companion; pass byvalue(x.cpu())"
        )
    return None


def unwrap_tensor(value: f.Tensor, inner: Callable[[Any], Any]) -> Any:
    """Make the tensor again, of an array of our own.

    Raises:
        TransferError: this session has not imported torch.
        ValueError: the type is unknown, or is not that of the bits.
    """
    import numpy as np

    known = _BITS.get(value.dtype)
    if known is None:
        raise ValueError(f"{value.dtype[:60]!r} is no type of a tensor")
    check_imported()
    array = inner(value.bits)
    if type(array) is not np.ndarray or array.dtype != np.dtype(known):
        raise ValueError(f"a tensor of {value.dtype} with other bits")
    if value.gradients and not value.dtype.startswith(("float", "bfloat", "complex")):
        raise ValueError(f"gradients of {value.dtype}")
    if not hasattr(sys.modules["torch"], value.dtype):
        raise TransferError(f"the torch of this session does not know the type {value.dtype}")
    return over(array, value.dtype, value.gradients, value.parameter)


def check_imported() -> None:
    """Raise TransferError if this session has no torch: nothing is imported on a companion's word."""
    if "torch" not in sys.modules:
        raise TransferError(
            "a tensor cannot be copied into a session that has not imported torch: import torch here first, "
            "or pass byvalue(x.numpy())"
        )


# ---------------------------------------------------------------- host to companion


def reduce_tensor(tensor: Any) -> tuple[Any, ...] | None:
    """Reduce a tensor for the packer; None leaves it to torch's own pickle (sparse, quantized, ...)."""
    if tensor.device.type == "cuda":
        return _reduce_on_gpu(tensor)
    found = segment_of(tensor)
    array = bits(tensor)
    if array is None:
        return None
    if found is None:
        return _arrived, (array, *kind(tensor))
    offset = array.__array_interface__["data"][0] - tensor.untyped_storage().data_ptr() if array.size else 0
    strides = array.strides if array.size else None
    return _mapped, (found, array.dtype, array.shape, strides, offset, kind(tensor))


def _reduce_on_gpu(tensor: Any) -> tuple[Any, ...]:
    """Reduce a CUDA tensor to an IPC handle: the companion sees the same memory (torch.multiprocessing)."""
    from torch.multiprocessing import reductions

    with sys.modules["torch"].no_grad():
        reduced: tuple[Any, ...] = reductions.reduce_tensor(tensor if tensor.is_leaf else tensor.detach())
    return reduced


def _arrived(array: Any, name: str, gradients: bool, parameter: bool) -> Any:
    array.flags.writeable = True  # its bytes are this process's own
    return over(array, name, gradients, parameter)


def _mapped(
    mapped: Any, dtype: Any, shape: Any, strides: Any, offset: int, what: tuple[str, bool, bool]
) -> Any:
    """Make a tensor over a fresh map of shared memory: what it writes is its own, as in a copy."""
    segment = shared.at(ctypes.addressof(mapped))
    assert segment is not None
    return over(
        shared.array(segment.map(True, patient=True), dtype, shape, strides, offset, writable=True), *what
    )


def segment_of(tensor: Any) -> shared.Segment | None:
    """Return the segment that a tensor lies in, or None.

    One that torch has written to since lies in none: its changed pages are this process's own.
    """
    if tensor.device.type != "cpu" or tensor.layout != sys.modules["torch"].strided:
        return None
    if tensor.is_conj() or tensor.is_neg() or (not tensor.is_inference() and tensor._version):
        return None
    return shared.at(tensor.untyped_storage().data_ptr())
