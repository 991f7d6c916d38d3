"""Loops over a list of a companion: many items a trip, beside one trip an item."""

from __future__ import annotations

from typing import Any

from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn


class Ours(Contestant):
    """Walk through 100,000 ints, from a list and from a generator, whose items must come one by one."""

    def __init__(self) -> None:
        from isolate_magic import Companion

        self.companion = Companion("benchmark").start()
        module = self.companion.load_module("benchmarks.things")
        self.numbers, self.one_by_one = module.numbers, module.one_by_one

    def walk(self, _number: int) -> None:
        """Walk through the list."""
        _exhaust(self.numbers)

    def trips(self, _number: int) -> None:
        """Walk through the generator."""
        _exhaust(self.one_by_one())

    def stop(self) -> None:
        """End the companion."""
        self.companion.close()


def _exhaust(items: Any) -> None:
    for _ in items:
        pass


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    field.enter({"ours": ("loops:Ours", {})})
    field.place(apart=False)
    turns = [Turn("loop ours", "ours", "walk", 1), Turn("loop trips", "ours", "trips", 1)]
    return field.rounds(turns, 1 if quick else 5)
