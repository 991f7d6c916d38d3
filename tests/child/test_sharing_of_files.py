"""What a copy shares with its original, or does not have: docs/rewind.md, "What a snapshot does not hold"."""

from __future__ import annotations

import sys

import pytest
from child.copies import played

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="companions live on Linux")


def test_the_place_in_an_open_file_and_what_was_written_are_as_the_dead_cell_left_them() -> None:
    told = played(
        """
import tempfile
file = tempfile.TemporaryFile(buffering=0)
file.write(b"before")
if asleep():
    place = file.tell()
    file.seek(0)
    tell(place=place, content=file.read().decode())
    os._exit(0)
file.write(b" and after")
die()
"""
    )
    assert told == [{"place": 16, "content": "before and after"}]


def test_what_was_buffered_before_the_snapshot_is_written_by_the_copy() -> None:
    told = played(
        """
import tempfile
folder = tempfile.mkdtemp()
file = open(os.path.join(folder, "log"), "w")
file.write("kept")
if asleep():
    file.close()
    with open(file.name) as again:
        tell(content=again.read())
    os.unlink(file.name)
    os.rmdir(folder)
    os._exit(0)
die()
"""
    )
    assert told == [{"content": "kept"}]


def test_the_dead_cell_leaves_a_temporary_folder_to_the_copy() -> None:
    told = played(
        """
import tempfile
folder = tempfile.TemporaryDirectory()
if asleep():
    stood = os.path.isdir(folder.name)
    folder.cleanup()
    tell(stood=stood, stands=os.path.isdir(folder.name))
    os._exit(0)
die()
"""
    )
    assert told == [{"stood": True, "stands": False}]


def test_what_the_dead_cell_took_from_a_socket_or_put_into_shared_memory_is_not_undone() -> None:
    told = played(
        """
import mmap, socket
ours, theirs = socket.socketpair()
theirs.send(b"onetwo")
memory = mmap.mmap(-1, 4096)
if asleep():
    tell(read=ours.recv(10).decode(), memory=memory[:3].decode())
    os._exit(0)
assert ours.recv(3) == b"one"
memory[:3] = b"two"
die()
"""
    )
    assert told == [{"read": "two", "memory": "two"}]


def test_processes_of_the_original_are_no_children_of_the_copy() -> None:
    told = played(
        """
import subprocess
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
if asleep():
    said, _ = child.communicate(b"to its pipe")
    tell(said=said.decode(), status=child.returncode)
    os._exit(0)
child.stdin = None
die()
"""
    )
    assert told == [{"said": "to its pipe", "status": 0}]  # that it ended well is a guess of subprocess's


def test_a_lock_of_multiprocessing_stays_with_the_dead_cell_that_held_it() -> None:
    told = played(
        """
import multiprocessing, threading
shared, own = multiprocessing.Lock(), threading.Lock()
if asleep():
    tell(shared=shared.acquire(timeout=0.1), own=own.acquire(timeout=0.1))
    os._exit(0)
shared.acquire()
own.acquire()
die()
"""
    )
    assert told == [{"shared": False, "own": True}]


def test_a_database_keeps_what_the_dead_cell_committed_and_lets_the_copy_write() -> None:
    told = played(
        """
import sqlite3, tempfile
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "base")
base = sqlite3.connect(path)
base.execute("create table t(a)")
base.commit()
if asleep():
    new = sqlite3.connect(path)
    new.execute("insert into t values (2)")
    new.commit()
    tell(rows=new.execute("select a from t").fetchall())
    folder.cleanup()
    os._exit(0)
base.execute("insert into t values (1)")
base.commit()
base.execute("insert into t values (3)")
die()
"""
    )
    assert told == [{"rows": [[1], [2]]}]


def test_random_numbers_go_on_as_they_would_have() -> None:
    told = played(
        """
import random
import numpy as np
generator = np.random.default_rng(1)
np.random.seed(1)
copy = asleep()
tell(drawn=[generator.random(), float(np.random.random())])
if copy:
    os._exit(0)
die()
"""
    )
    assert told[0] == told[1]
