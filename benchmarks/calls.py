"""Calls through proxies: one function, one attribute, one kilobyte; with and without many proxies alive.

Where the two processes run decides more than what they do: waking a process on another, idle CPU may
cost several times the whole call. So both places are measured, each by itself, and nothing is left to
the scheduler's luck.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from benchmarks.driver import Contestant
from benchmarks.harness import Field, Figure, Turn
from benchmarks.peers import KILOBYTE

MANY = 100_000
TOGETHER, APART = PLACES = "on one CPU", "on two CPUs"
CALLERS = ("raw socket", "raw pickle", "Manager", "rpyc", "ipykernel", "ours")
_OPERATIONS = ("call", "attribute", "echo")


class Ours(Contestant):
    """Use proxies of a companion.

    Args:
        held: how many proxies stay alive meanwhile.
    """

    def __init__(self, held: int = 0) -> None:
        from isolate_magic import Companion, import_isolated

        self.companion = Companion("benchmark").start()
        self.load = import_isolated
        module = self.companion.load_module("benchmarks.things")
        self.add_one, self.thing, self.back = module.add_one, module.thing, module.echo
        self.held: list[Any] = []
        while len(self.held) < held:
            self.held.extend(module.many(1000))

    def call(self, number: int) -> None:
        """Call a function through its proxy."""
        self.add_one(number)

    def attribute(self, _number: int) -> None:
        """Read an attribute."""
        self.thing.x  # noqa: B018

    def echo(self, _number: int) -> None:
        """Send a kilobyte there and back."""
        self.back(KILOBYTE)

    def again(self, _number: int) -> None:
        """Import a module that the companion has imported already."""
        self.load("benchmarks.things", self.companion)

    def stop(self) -> None:
        """End the companion."""
        self.companion.close()


def run(field: Field, quick: bool) -> dict[str, Figure]:
    """Measure this section."""
    field.enter({
        "raw socket": ("peers:RawSocket", {}),
        "raw pickle": ("peers:RawPickle", {}),
        "Manager": ("peers:Manager", {}),
        "rpyc": ("peers:Rpyc", {}),
        "ipykernel": ("kernels:Calls", {}),
        "ours": ("calls:Ours", {}),
        "ours, many held": ("calls:Ours", {"held": MANY}),
    })  # fmt: skip
    figures = {}
    for place in PLACES[: len(os.sched_getaffinity(0))]:
        field.place(apart=place == APART)
        figures |= field.rounds(_turns(place, 400 if quick else 2000), 2 if quick else 9)
    return figures


def _turns(place: str, count: int) -> Iterator[Turn]:
    for operation in _OPERATIONS:
        for name in CALLERS:
            slow = {"ipykernel": count // 60, "rpyc": count // 4}
            yield Turn(f"{operation} {place} {name}", name, operation, slow.get(name, count))
    yield Turn(f"again {place} ours", "ours", "again", count)
    yield Turn(f"call {place} ours, many held", "ours, many held", "call", count)
