"""A companion with some code in it, whose names are attributes here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isolate_magic import Companion


class There:
    """Give the names of a companion's cells as attributes, and the companion itself as `companion`."""

    def __init__(self, companion: Companion) -> None:
        self.companion = companion

    def __getattr__(self, name: str) -> Any:
        return self.companion.pull(name)

    def __call__(self, source: str) -> Any:
        return self.companion.run(source)


@contextmanager
def there_with(name: str, source: str = "") -> Iterator[There]:
    """Start a companion, run `source` in it, and stop it afterwards."""
    with Companion(name) as companion:
        companion.run(source)
        yield There(companion)
