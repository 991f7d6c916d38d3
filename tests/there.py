"""A companion with some code in it, whose names are attributes here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

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


@contextmanager
def copying(way: str, name: str, source: str, module: str) -> Iterator[Companion]:
    """Start a companion whose large bodies travel one `way`, `direct` or `memfd`, with a module preloaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOLATE_MAGIC_COPIES", way)
        with Companion(f"{name}-{way}", preload=[module], env={"WAY": way}) as made:
            made.run(source)
            yield made
