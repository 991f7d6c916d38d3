"""Programs that fork a copy of themselves as a snapshot does, die, and let the copy go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from isolate_magic.settings import DEFAULTS

_ROOT = Path(__file__).parents[2]

_SCENE = """
import json, os, signal, sys, time, traceback
from isolate_magic.child import stillness

def tell(**told):
    os.write(1, (json.dumps(told) + "\\n").encode())

def asleep():
    # A copy that sleeps until the original is gone. True in the copy.
    reader, writer = os.pipe()
    if os.fork():
        os.close(reader)
        return False
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return True

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def failed(*error):
    traceback.print_exception(*error)
    os._exit(1)

sys.excepthook = failed
"""

_WORK = """
work()
said = stillness.obstacle()
tell(who="original", obstacle=said)
if not said:
    stillness.rest()
    first = asleep()
    if not first:
        work()
        tell(who="original", goes_on=True)
        die()
    work()
    work()
    tell(who="copy", obstacle=stillness.obstacle())
    stillness.rest()
    if not asleep():
        work()
        die()
    work()
    tell(who="copy of the copy", obstacle=stillness.obstacle())
os._exit(0)
"""


def played(program: str, seconds: float = 60, **environment: str) -> list[dict[str, Any]]:
    """Run a program to the end of its last copy; return what they all have told. A hang fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:  # PyTorch compiles from files only
        script.write(_SCENE + program)
        script.flush()
        return _played(script.name, seconds, environment)


def _played(script: str, seconds: float, environment: dict[str, str]) -> list[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**DEFAULTS, **os.environ, "PYTHONPATH": str(_ROOT), **environment},
    )
    try:
        said, _ = process.communicate(timeout=seconds)  # the pipe ends with the last copy
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"a copy hangs; told before: {late.stdout!r}") from None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return [json.loads(line) for line in said.splitlines()]


def worked(work: str, **environment: str) -> list[dict[str, Any]]:
    """Let a program work, its copy after its death, and the copy of that; `work` defines `work()`."""
    return played(work + _WORK, **environment)


LIVED = [
    {"who": "original", "obstacle": ""},
    {"who": "original", "goes_on": True},
    {"who": "copy", "obstacle": ""},
    {"who": "copy of the copy", "obstacle": ""},
]
