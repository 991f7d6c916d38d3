"""What the children serve, whoever started them: imported there by name, so it imports nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Thing:
    """Have one attribute to read."""

    def __init__(self) -> None:
        self.x = 7


thing = Thing()


def add_one(number: int) -> int:
    """Do next to nothing, so that a call costs its way there and back."""
    return number + 1


def echo(body: bytes) -> bytes:
    """Return what came."""
    return body


numbers = list(range(100_000))


def one_by_one() -> Iterator[int]:
    """Give the numbers one by one, as only a generator does."""
    yield from numbers


def use_both() -> int:
    """Use numpy and pandas once."""
    import numpy as np
    import pandas as pd

    return int(pd.Series(np.arange(4)).sum())


def work_a_little() -> int:
    """Use pandas as a first cell of a notebook does; in a forked child this un-shares pages."""
    import gc

    import numpy as np
    import pandas as pd

    table = pd.DataFrame({"key": np.arange(10_000) % 7, "value": np.arange(10_000) / 3})
    found = len(table.groupby("key").value.mean().to_json()) + len(table.describe())
    gc.collect()
    return found


def many(count: int) -> tuple[Thing, ...]:
    """Make objects that a host can hold by reference."""
    return tuple(Thing() for _ in range(count))


def ones(length: int) -> Any:
    """Make an array of float64 whose pages are all there."""
    import numpy as np

    return np.ones(length)


def last(array: Any) -> float:
    """Read one item of an array that was sent here."""
    return float(array[-1])


def last_of_last(arrays: Any) -> float:
    """Read one item of the last of several arrays."""
    return float(arrays[-1][-1])


def last_cell(frame: Any) -> float:
    """Read one cell of a data frame."""
    return float(frame.iat[-1, -1])


def last_cell_of(array: Any) -> float:
    """Read one item of an array of two dimensions."""
    return float(array[-1, -1])


USE_BOTH = "import numpy, pandas; int(pandas.Series(numpy.arange(4)).sum())"
"""`use_both` as a cell, for kernels."""
