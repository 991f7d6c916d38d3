"""The processes of a companion that does not want to be seen: all of them are counted, with what they hold."""

from __future__ import annotations

import os

from isolate_magic import Companion

MANY = """
import subprocess
script = 'exec 3<&0; for i in $(seq {0}); do read x <&3 & done; echo ready; wait'
shell = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
shell.stdout.readline()
"""
HEADLESS = """
import ctypes, os, threading
wait, kept_open = os.pipe()
heard, said = os.pipe()
def work():
    body = bytearray(b"x") * (100 << 20)
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    first.join({0})
    os.write(said, b".")
    os.read(wait, 1)
if not os.fork():
    first = threading.main_thread()
    threading.Thread(target=work).start()
    end = getattr(ctypes.CDLL(None), "pthread_exit")
    ctypes.CDLL(None).syscall({1}, 0)
os.read(heard, 1)
"""


def test_hundreds_of_children_of_one_process_are_all_counted(companion: Companion) -> None:
    before = companion.stats
    companion.run(MANY.format(1100))
    stats = companion.stats
    assert stats["processes"] == before["processes"] + 1101
    assert stats["threads"] == before["threads"] + 1101
    assert stats["open_files"] > 1100


def test_memory_and_files_of_a_process_whose_first_thread_has_ended_are_seen(companion: Companion) -> None:
    companion.start()
    before = companion.stats
    number = 60 if os.uname().machine == "x86_64" else 93  # exit(2), of this thread only
    companion.run(HEADLESS.format(0.2, number))
    stats = companion.stats
    for name in ("rss", "memory", "uss"):
        assert stats[name] - before[name] > 100 << 20, name
    assert stats["open_files"] >= before["open_files"] + 50
