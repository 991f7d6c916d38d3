"""Memory mapped by hand: given back with the last view, used again, filled with pages in time."""

from __future__ import annotations

import ctypes
import gc
import os

import pytest

from isolate_magic.link import bulk, memory

HUGE = 64 << 20


@pytest.fixture(autouse=True)
def _tidy() -> None:
    gc.collect()
    memory.tidy()


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mapped(address: int) -> bool:
    with open("/proc/self/maps") as lines:
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    return any(begin <= address < end for begin, end in ranges)


def test_memory_is_unmapped_when_the_last_view_is_gone() -> None:
    made = memory.mapped(100_000)
    address, view = ctypes.addressof(made), memoryview(made)[5:9]
    del made
    assert bytes(view) == bytes(4)
    assert mapped(address)
    del view
    assert not mapped(address)


def test_a_file_is_mapped_copy_on_write() -> None:
    fd = bulk.make(5000)
    bulk.pour(fd, [b"x" * 5000])
    bulk.seal(fd)
    one, other = memory.mapped(5000, fd), memory.mapped(5000, fd, writable=False)
    os.close(fd)
    memoryview(one).cast("B")[:3] = b"abc"
    assert (bytes(memoryview(one)[:4]), bytes(memoryview(other)[:4])) == (b"abcx", b"xxxx")


def test_no_room_is_an_error_that_says_how_much_was_wanted() -> None:
    with pytest.raises(OSError, match="MiB of memory cannot be mapped"):
        memory.mapped(1 << 60)


def test_a_room_is_used_again_until_it_has_been_tidied_away() -> None:
    room = memory.room(HUGE)
    address = ctypes.addressof(room)
    view = memoryview(room)
    del room
    assert ctypes.addressof(memory.room(HUGE)) != address  # somebody looks at it
    memory.tidy()
    del view
    again = memory.room(HUGE - 5000)
    assert ctypes.addressof(again) == address
    del again
    small = memory.room(1000)
    assert ctypes.addressof(small) != address  # far too large for so little
    memory.tidy()
    assert not mapped(address)


def test_a_fresh_room_has_all_its_pages_once_it_is_populated() -> None:
    before = resident()
    room = memory.room(HUGE + 12_345)
    assert resident() - before < HUGE // 2
    memory.populate()
    assert resident() - before >= HUGE * 0.9
    assert bytes(memoryview(room)[-3:]) == bytes(3)
