"""Fuzz what the main session makes of a companion's frames: `python -m benchmarks.fuzz --seconds 600`.

Frames are made by structure: true values of every kind, changed here and there, and values made up of the
wire's own types; then some bytes are changed. Each goes through the real socket, decoder, revival and desk,
as from an untrusted companion, in a worker with a limit on memory and an alarm. What a worker does not
survive, a value that takes too long, and any exception that the host has no word for is a finding.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import wire
from isolate_magic.errors import IsolateError
from isolate_magic.link import frames as f

_ROOM = 3 << 30  # address space beyond what the libraries take
_GROWTH = 1 << 30  # of the resident memory of one worker
_PATIENCE = 10  # seconds for one frame
_SLICE = 40.0  # seconds of one worker
_TEXT = 300_000  # characters that an exception of an untrusted companion may show
ENGINES = ("random", "hypothesis", "atheris")


class Hang(BaseException):
    """Say that one frame has taken too long."""


class Finding(Exception):
    """Say what the host did that it should not."""


def attempt(host: wire.Host, packet: bytes) -> None:
    """Send one packet to the host and use what it makes of it.

    Raises:
        Finding: the host raised what it has no word for, or showed too much.
    """
    try:
        frame = host.take(packet)
        if type(frame) is f.Failure:
            _shown(host.talk._guarded(host.talk.revival.fault, frame.fault))
        elif type(frame) is f.Reply:
            _used(host.talk._guarded(host.talk.revival.value, frame.value))
        if type(frame) in (f.Reply, f.Failure) and frame.changes is not None:
            host.restore(frame.changes)
    except IsolateError:
        return
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"{type(error).__name__}: {error}"[:300]) from error


def _shown(error: BaseException) -> None:
    """Show an exception as a cell does."""
    lines = traceback.format_exception(type(error), error, None)
    size = sum(map(len, lines))
    if size > _TEXT:
        raise Finding(f"an exception of {size} characters")


def _used(value: Any, depth: int = 0) -> None:
    """Touch every byte of what came, so that a pointer to nowhere is followed."""
    numpy = sys.modules["numpy"]
    if isinstance(value, BaseException):
        _shown(value)
    elif isinstance(value, numpy.ndarray):
        value.copy().tobytes()
    elif type(value).__module__.startswith("pandas") and hasattr(value, "copy"):
        repr(value.copy())
    elif type(value) in (list, tuple, set, frozenset) and depth < 40:
        for item in value:
            _used(item, depth + 1)
    elif isinstance(value, dict) and depth < 40:
        for item in value.values():
            _used(item, depth + 1)


# ---------------------------------------------------------------- one worker


def _work(engine: str, seed: int, seconds: float, place: Path) -> int:
    """Try frames until the time is over; print each finding once, and at last the number of frames."""
    host = wire.Host()
    if seconds > 2:
        _limit()
    faulthandler.dump_traceback_later(seconds + 6 * _PATIENCE, exit=True)
    signal.signal(signal.SIGALRM, _hang)
    note = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
    seen: dict[str, int] = {}
    count, end, base = 0, time.monotonic() + seconds, _resident()

    def one(random: Any) -> None:
        nonlocal count
        count += 1
        packet = wire.packet(random, host)
        os.pwrite(note, len(packet).to_bytes(4, "little") + packet, 0)
        signal.alarm(_PATIENCE)
        try:
            attempt(host, packet)
            if count % 50 == 0 and _resident() - base > _GROWTH:
                raise Finding(f"{(_resident() - base) >> 20} MiB more than at the beginning")
        except (Finding, Hang) as error:
            place = traceback.extract_tb((error.__cause__ or error).__traceback__)[-1]
            text = f"{type(error).__name__} {error} at {Path(place.filename).name}:{place.lineno}"
            if re.sub(r"\d+", "0", text) not in seen:
                seen[re.sub(r"\d+", "0", text)] = 1
                print(f"finding: {text}\n  packet {packet[:2000].hex()}", flush=True)
        finally:
            signal.alarm(0)
            host.renew()

    _drive(engine, seed, one, lambda: time.monotonic() > end)
    print(f"frames: {count}")
    return len(seen)


def _drive(engine: str, seed: int, one: Callable[[Any], None], over: Callable[[], bool]) -> None:
    if engine == "hypothesis":
        _hypothesis(seed, one, over)
    elif engine == "atheris":
        _atheris(seed, one)
    while not over():
        one(Random(seed))
        seed += 1


def _hypothesis(seed: int, one: Callable[[Any], None], over: Callable[[], bool]) -> None:
    import hypothesis
    from hypothesis import strategies as st

    quiet = list(hypothesis.HealthCheck)
    while not over():
        settings = hypothesis.settings(
            max_examples=200, database=None, deadline=None, suppress_health_check=quiet
        )
        hypothesis.seed(seed)(settings(hypothesis.given(st.randoms(use_true_random=False))(one)))()
        seed += 1


def _atheris(seed: int, one: Callable[[Any], None]) -> None:
    import atheris  # type: ignore[import-not-found]

    def bytes_in(data: bytes) -> None:
        one(wire.Drawn(data))

    atheris.instrument_all()
    atheris.Setup(["fuzz", f"-seed={seed}", "-max_len=8192", "-rss_limit_mb=0", "-verbosity=0"], bytes_in)
    atheris.Fuzz()


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _hang(_signal: int, _frame: Any) -> None:
    raise Hang(f"more than {_PATIENCE} s")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# ---------------------------------------------------------------- all of them


def main() -> int:
    """Run workers, one after the other; return 0 if there was no finding."""
    options = _options()
    if options.packet:
        attempt(wire.Host(), bytes.fromhex(options.packet))
        return 0
    if options.worker:
        return int(bool(_work(options.engine, options.seed, options.seconds, options.worker)))
    frames, findings, seed = 0, list[str](), options.seed
    end, place = time.monotonic() + options.seconds, Path(f"/tmp/isolate-fuzz-{os.getpid()}")
    engines = [options.engine] if options.engine else ["random", "hypothesis"]
    while (left := end - time.monotonic()) > 0:
        engine = engines[seed % len(engines)]
        count, found = _worker(engine, seed * 1_000_003, min(_SLICE, left), place)
        frames, findings, seed = frames + count, findings + found, seed + 1
        print("\n".join(found), file=sys.stderr) if found else None
        print(f"{engine} {seed}: {frames} frames, {len(findings)} findings", file=sys.stderr, flush=True)
    place.unlink(missing_ok=True)
    print(f"{frames} frames in {options.seconds:g} s, {len(findings)} findings")
    print("\n".join(findings))
    return int(bool(findings))


def _worker(engine: str, seed: int, seconds: float, place: Path) -> tuple[int, list[str]]:
    """Run one worker; return how many frames it tried and what it found."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--worker", str(place), "--engine", engine]
    command += ["--seed", str(seed), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^finding: .*\n.*", done.stdout, re.MULTILINE)
    tried = re.search(r"^frames: (\d+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or tried is None:
        raw = place.read_bytes()
        packet = raw[4 : 4 + int.from_bytes(raw[:4], "little")]
        found.append(
            f"a worker ended with {done.returncode}: {done.stderr[-1500:]}\n  packet {packet[:4000].hex()}"
        )
    return int(tried[1]) if tried else 0, found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description="Fuzz the host's decoder.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long; 60 by default")
    parser.add_argument("--seed", type=int, default=1, help="where to begin; the same seed, the same frames")
    parser.add_argument("--engine", choices=ENGINES, help="what draws; random and hypothesis in turn")
    parser.add_argument("--packet", metavar="HEX", help="try this one packet, as a finding prints it")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
