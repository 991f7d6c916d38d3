"""What a companion does when it wants more than its policy gives: memory, processes, disk, time (host)."""

from __future__ import annotations

import os

import psutil

from isolate_magic.act import Act, Scene

_PATIENCE = 2.0  # seconds for which an act outlasts its limit
_MEMORY, _DISK, _OUTPUT = 320 << 20, 12 << 20, 400_000


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _family(pid: int) -> int:
    try:
        return 1 + len(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return 0


def _count(pid: int, folder: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{folder}"))
    except OSError:
        return 0


def _stored(scene: Scene) -> bool:
    """Look at its files through its own root, which only its owner may enter (proc_pid_root(5))."""
    folder, _, rest = scene.told.partition("\n")
    try:
        with os.scandir(f"/proc/{scene.pid}/root{folder}") as entries:
            sizes = [entry.stat().st_size for entry in entries if entry.name.startswith("isolate-doctor-")]
        return sum(sizes) > 6 << 20
    except OSError:  # this process may not look; then its word is all there is
        return bool(rest) and int(rest) > 6 << 20


LIMITS = (
    Act(
        "memory",
        "take twice the memory it may",
        f"""
try:
    hog = bytearray({_MEMORY})
    held = [hog.__setitem__(at, 1) for at in range(0, {_MEMORY}, 4096)] and len(hog)
except MemoryError:
    held = 0
held
""",
        lambda scene: max(scene.peak, _memory(scene.pid)) > 250 << 20,
        "memory",
        "memory",
    ),
    Act(
        "memory",
        "take it as shared memory, which RLIMIT_DATA does not count",
        f"""
import mmap
shared = mmap.mmap(-1, {_MEMORY})
for at in range(0, {_MEMORY}, 4096):
    shared[at] = 1
""",
        lambda scene: max(scene.peak, _memory(scene.pid)) > 250 << 20,
        "memory",
        "memory",
    ),
    Act(
        "processes",
        "start more processes than it may",
        f"""
import time
ends = os.pipe()
for _ in range(12):
    if not os.fork():
        os.close(ends[1])
        os.read(ends[0], 1)
        os._exit(0)
time.sleep({_PATIENCE})
""",
        lambda scene: _family(scene.pid) > 5,
        "processes",
        "processes",
    ),
    Act(
        "threads",
        "start more threads than it may",
        f"""
import threading, time
never = threading.Event()
outcome = [tell(threading.Thread(target=never.wait, daemon=True).start) for _ in range(64)]
if outcome == ["None"] * 64:
    time.sleep({_PATIENCE})
""",
        lambda scene: _count(scene.pid, "task") > 25,
        "threads",
        "threads",
    ),
    Act(
        "open files",
        "open more files than it may",
        "held = []\nfor _ in range(200):\n    tell(lambda: held.append(os.open('/dev/null', os.O_RDONLY)))",
        lambda scene: _count(scene.pid, "fd") > 64,
        "open_files",
        "open_files",
    ),
    Act(
        "disk",
        "store more than it may",
        f"""
import tempfile, time
try:
    place = folder + "/written"
    os.mkdir(place)
except OSError:
    place = tempfile.gettempdir()
def store(number):
    with open(f"{{place}}/isolate-doctor-{{number}}", "wb", buffering=0) as file:
        stored.append(file.write(bytes(1 << 20)))
stored = []
outcome = [tell(store, number) for number in range({_DISK >> 20})]
if sum(stored) == {_DISK}:
    time.sleep({_PATIENCE} / 2)
place + "\\n" + str(sum(stored))
""",
        _stored,
        "disk",
        "disk",
    ),
    Act(
        "cpu",
        "compute for longer than it may",
        f"import time\nend = time.process_time() + {_PATIENCE}\n"
        "while time.process_time() < end: pass\n'finished'",
        lambda scene: scene.told == "finished",
        "cpu",
        "cpu",
    ),
    Act(
        "wall",
        "keep a cell going for longer than it may",
        f"import time\ntime.sleep({_PATIENCE})\n'finished'",
        lambda scene: scene.told == "finished",
        "wall",
        "wall",
    ),
    Act(
        "output",
        "print more than it may",
        f"print('x' * {_OUTPUT})",
        lambda scene: len(scene.text) >= _OUTPUT // 2,
        "output",
        "output",
    ),
)
