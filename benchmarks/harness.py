"""The harness: start drivers, let them take turns, see who else uses the machine, end every child."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 180
_FAREWELL = 5


@dataclass
class Figure:
    """Collect what the rounds found.

    Attributes:
        rounds: the median of each round's block, in seconds or bytes.
        foreign: CPUs that other programs used during each block.
    """

    rounds: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """Return the median of the rounds' medians."""
        return median(self.rounds)


class Turn(NamedTuple):
    """Say what one contestant does in each round.

    Attributes:
        figure: where the result goes.
        contestant: the name of its driver.
        operation: the method.
        count: repetitions in one block.
        arguments: what the operation gets.
    """

    figure: str
    contestant: str
    operation: str
    count: int = 1
    arguments: tuple[Any, ...] = ()


class Trouble(Exception):
    """Say that a contestant could not be measured."""


class Driver:
    """Start a driver process and talk to it.

    Args:
        place: `module:Class` of the contestant, within this package.
        options: arguments of the class.
        folder: where what it prints to stderr goes.
    """

    def __init__(self, place: str, options: Mapping[str, Any], folder: Path) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._log = folder / f"{place.replace(':', '-')}-{theirs.fileno()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.driver", str(theirs.fileno())],
                cwd=ROOT, env=_environment(folder), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip
        theirs.close()
        self._pipe.send((place, dict(options)))

    def answer(self) -> Any:
        """Wait for what the driver says next.

        Raises:
            Trouble: it failed, died or took too long.
        """
        try:
            if not self._pipe.poll(_PATIENCE):
                raise Trouble(f"no answer within {_PATIENCE} s")
            fine, value = self._pipe.recv()
        except (EOFError, OSError):
            raise Trouble("its driver died: " + self._log.read_text("utf-8", "replace")[-500:]) from None
        if not fine:
            raise Trouble(value)
        return value

    def measure(self, turn: Turn) -> float:
        """Let the contestant take its turn; raises as `answer`."""
        try:
            self._pipe.send((turn.operation, turn.count, turn.arguments))
        except OSError:
            raise Trouble("its driver is dead") from None
        return float(self.answer())

    def end(self, patience: float) -> None:
        """Let the driver stop its children, then kill what is left of them and it."""
        family = _family(self.process.pid)
        self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        for process in family:
            with contextlib.suppress(psutil.Error):  # psutil compares the start time, so never a stranger
                process.kill()
        self.process.wait()


class _Meter:
    """Tell how much others use the CPUs, from its making on."""

    def __init__(self) -> None:
        self.own, self.busy, self.begin = _own(), _busy(), time.monotonic()

    def foreign(self) -> float:
        """Return the number of CPUs that were busy with anything but us and our children."""
        busy, took = _busy() - self.busy, time.monotonic() - self.begin
        return max(0.0, (busy - (_own() - self.own)) / max(took, 0.1))


class Field:
    """Hold the contestants of one section and let them take turns.

    Args:
        notes: gets a sentence about whatever could not be measured.
        folder: a temporary folder.
    """

    def __init__(self, notes: list[str], folder: Path) -> None:
        self.notes = notes
        self.folder = folder
        self._drivers: dict[str, Driver] = {}

    def enter(self, places: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        """Start a driver for each name, all at once, and wait until they are ready."""
        for name, (place, options) in places.items():
            self._drivers[name] = Driver(place, options, self.folder)
        for name in places:
            try:
                self._drivers[name].answer()
            except Trouble as trouble:
                self._leave(name, trouble)

    def rounds(self, turns: Iterable[Turn], count: int, warm_up: bool = True) -> dict[str, Figure]:
        """Let each contestant take its turn in each round.

        Args:
            turns: what is done in one round.
            count: how many rounds count.
            warm_up: whether a shorter round that does not count goes before them.
        """
        figures: dict[str, Figure] = {}
        turns = list(turns)
        for number in range(not warm_up, count + 1):
            for turn in turns:
                if turn.contestant in self._drivers:
                    short = turn._replace(count=min(turn.count, 20))
                    figure = figures.setdefault(turn.figure, Figure())
                    self._take(turn if number else short, figure if number else Figure())
        return {name: figure for name, figure in figures.items() if figure.rounds}

    def place(self, apart: bool) -> None:
        """Bind the contestants to one CPU, or each of them and its children to two different ones."""
        for name, driver in list(self._drivers.items()):
            try:
                driver.measure(Turn("", name, "place", 1, (apart,)))
            except Trouble as trouble:
                self._leave(name, trouble)

    def _take(self, turn: Turn, figure: Figure) -> None:
        driver = self._drivers[turn.contestant]
        begin = _Meter()
        try:
            value = driver.measure(turn)
        except Trouble as trouble:
            self._leave(turn.contestant, trouble)
            return
        figure.rounds.append(value)
        figure.foreign.append(begin.foreign())

    def _leave(self, name: str, trouble: Trouble) -> None:
        self.notes.append(f"{name}: {trouble}")
        self._drivers.pop(name).end(_FAREWELL)

    def end(self, patience: float) -> None:
        """End all drivers and their children."""
        while self._drivers:
            self._drivers.popitem()[1].end(patience)


@contextlib.contextmanager
def contest(notes: list[str], folder: Path) -> Iterator[Field]:
    """Give a field of contestants, all of them ended afterwards, and at once after Ctrl-C."""
    open_field = Field(notes, folder)
    try:
        yield open_field
    except BaseException:
        open_field.end(0)
        raise
    open_field.end(_FAREWELL)


def _environment(folder: Path) -> dict[str, str]:
    """Keep the peers' configuration, history and sockets out of the user's home."""
    places = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    own = {name: str(folder / name.lower()) for name in places}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # Our modules are compiled once then, as pip has compiled those of the peers.
    return kept | own | {"PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []


def _own() -> float:
    """Return the CPU time of this process, its descendants, and the children that they have reaped."""
    found = 0.0
    for process in _family(os.getpid()):
        with contextlib.suppress(psutil.Error):
            found += sum(process.cpu_times()[:4])
    return found


def _busy() -> float:
    """Return the seconds that all CPUs together have been busy since the machine started."""
    times = psutil.cpu_times()
    return float(sum(times[:8]) - times.idle - times.iowait)
