"""`share`: put an array into sealed memory once, for any number of companions (host)."""

from __future__ import annotations

import os
import pickle
import sys
from itertools import compress
from typing import Any

from isolate_magic import progress
from isolate_magic.bodies import check_room
from isolate_magic.errors import TransferError
from isolate_magic.link import bulk, shared
from isolate_magic.link.foreign import numpy as foreign_numpy
from isolate_magic.link.foreign import torch as foreign_torch
from isolate_magic.link.proxy import Method, claim_of

_ALIGNMENT = 64


def share(thing: Any) -> Any:
    """Put an array into sealed memory that any number of companions map instead of copying it.

    Args:
        thing: a numpy array; a torch tensor of the CPU; a pandas object with columns of numbers; or a
            proxy of one, which comes here on the way. Something that is shared already is returned as it is.

    Returns:
        a read-only array like `thing`. Given to a companion, it or any view of it takes no copy and
        no time. A tensor can be written to, as torch knows no other; nobody else sees what is written.

    Raises:
        TransferError: the thing cannot be shared; the text says why.

    >>> import numpy as np
    >>> table = share(np.arange(6.0).reshape(2, 3))
    >>> float(table.sum()), table.flags.writeable
    (15.0, False)
    """
    __tracebackhide__ = True
    if type(thing) is Method:
        thing = thing.fetch()
    claim = None if isinstance(thing, BaseException) else claim_of(thing)
    if claim is not None:
        thing = claim.owner.shared_copy(thing)
    kind = type(thing)
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind in (numpy.ndarray, numpy.memmap):
        return _array(thing)
    if foreign_torch.is_tensor(thing):
        return _tensor(thing)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(thing, (pandas.DataFrame, pandas.Series, pandas.Index)):
        return _table(thing)
    raise TransferError(
        f"a {kind.__module__}.{kind.__qualname__} cannot be shared: only a numpy array, a torch tensor, or a "
        "pandas table of one. Share the arrays in it one by one, or make one with numpy.asarray"
    )


def _array(array: Any) -> Any:
    if shared.place(array) is not None:
        return array
    if array.dtype.hasobject:
        raise TransferError(
            f"an array of {array.dtype} cannot be shared: it holds references to objects of this process. "
            "Turn it into numbers or texts of a fixed length first, as by x.astype('U')"
        )
    order, lying = foreign_numpy.laid_out(array)
    mapped = _filled([lying]).map(writable=True)
    return foreign_numpy.turned(order, array.shape, lambda shape: shared.array(mapped, array.dtype, shape))


def _tensor(tensor: Any) -> Any:
    if foreign_torch.segment_of(tensor) is not None:
        return tensor
    bits = foreign_torch.bits(tensor)
    if bits is None:
        raise TransferError(
            f"a tensor of {tensor.dtype}, {tensor.layout}, on the device {tensor.device} cannot be shared; "
            "x.cpu() or x.to_dense() can"
        )
    order, lying = foreign_numpy.laid_out(bits)
    mapped = _filled([lying]).map(writable=True)
    array = foreign_numpy.turned(
        order, bits.shape, lambda shape: shared.array(mapped, bits.dtype, shape, writable=True)
    )
    return foreign_torch.over(array, *foreign_torch.kind(tensor))


def _table(table: Any) -> Any:
    """Put every array that pickle would put beside its stream into one segment, and the table over it."""
    import numpy as np

    beside: list[Any] = []
    body = pickle.dumps(table, protocol=5, buffer_callback=beside.append)
    arrays = [isinstance(memoryview(buffer).obj, np.ndarray) for buffer in beside]
    parts = [buffer.raw() for buffer in compress(beside, arrays)]
    if not any(part.nbytes for part in parts):
        raise TransferError(f"this {type(table).__name__} has no columns of numbers, so nothing to share")
    if all(shared.place(memoryview(buffer).obj) for buffer in compress(beside, arrays)):
        return table
    whole = memoryview(_filled(parts).map(writable=True)).toreadonly()
    offset = 0
    for n in compress(range(len(beside)), arrays):
        size = beside[n].raw().nbytes
        beside[n] = whole[offset : offset + size]
        offset = _aligned(offset + size)
    return pickle.loads(body, buffers=beside)


def _filled(parts: list[Any]) -> shared.Segment:
    """Put arrays or buffers into a new segment, one behind the other, each aligned."""
    size = 0
    for part in parts:
        size = _aligned(size) + part.nbytes
    check_room(size)
    fd = bulk.make(size)
    try:
        offset = 0
        with progress.moving("sharing", size):
            for part in parts:
                for slab in foreign_numpy.slabs(part):
                    offset = bulk.write(fd, slab, offset, progress.moved)
                offset = _aligned(offset)
        bulk.seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return shared.Segment(fd, max(size, 1))


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
