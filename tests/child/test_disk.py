"""Bytes on disk: hostile folders neither hide them nor harm who counts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isolate_magic.child.disk import Disk
from isolate_magic.child.tree import Tree, sweep

from .keeper import in_a_fork, proc, start, watched

MIB = 2**20


def written(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)


def judged(disk: Disk, tree: Tree, seconds: float = 0.5) -> str | None:
    """Look as the keeper does, until something is passed or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        passed = disk.look(time.monotonic(), tree)
        if passed:
            return passed
    return None


@pytest.fixture
def tree() -> Iterator[Tree]:
    descriptor = proc()
    yield Tree(os.getpid(), descriptor)
    os.close(descriptor)


def test_files_of_a_program_are_limited(tmp_path: Path) -> None:
    def program() -> None:
        for number in range(20):
            written(tmp_path / str(number), MIB)
            time.sleep(0.01)  # as a program that works

    seen = watched(program, disk=5 * MIB, scratch=[str(tmp_path)])
    assert (seen["kind"], seen["text"].startswith("disk limit of 5 MiB passed: ")) == ("disk", True)


def test_only_growth_counts_in_a_users_folder(tmp_path: Path, tree: Tree) -> None:
    written(tmp_path / "old", 10 * MIB)
    grown = Disk(5 * MIB, [str(tmp_path)], [])
    whole = Disk(5 * MIB, [], [str(tmp_path)])
    assert judged(grown, tree) is None
    assert judged(whole, tree)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    written(tmp_path / "deep" / "er" / "new", 6 * MIB)
    assert judged(grown, tree)
    grown.close()
    whole.close()


def test_links_are_not_followed_and_a_file_counts_once(tmp_path: Path, tree: Tree) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    written(outside / "large", 10 * MIB)
    os.symlink(outside, inside / "folder")
    os.symlink(outside / "large", inside / "file")
    written(inside / "one", 3 * MIB)
    os.link(inside / "one", inside / "two")
    with contextlib.closing(Disk(5 * MIB, [], [str(inside)])) as disk:
        assert judged(disk, tree) is None
        assert 3 * MIB <= disk.used < 4 * MIB


def test_a_sparse_file_counts_as_what_it_takes_and_odd_names_count(tmp_path: Path, tree: Tree) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10**12)
    with contextlib.closing(Disk(5 * MIB, [], [str(tmp_path)])) as disk:
        assert judged(disk, tree) is None
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n\x01")).write_bytes(b"x" * 6 * MIB)
        assert judged(disk, tree)


def test_too_many_levels_are_refused(tmp_path: Path, tree: Tree) -> None:
    with contextlib.closing(Disk(2**40, [], [str(tmp_path)])) as disk:
        here = os.open(tmp_path, os.O_RDONLY)
        opened = [here]
        for _ in range(300):
            os.mkdir("d", dir_fd=here)
            here = os.open("d", os.O_RDONLY, dir_fd=here)
            opened.append(here)
        assert judged(disk, tree) == "folders nested more than 64 deep"
        for descriptor in opened[::-1]:
            os.close(descriptor)


def test_deleted_files_that_are_open_count(tmp_path: Path) -> None:
    def act() -> Any:
        tree = Tree(os.getpid(), proc())
        disk = Disk(5 * MIB, [], [str(tmp_path)])

        def program() -> None:
            with open(tmp_path / "gone", "wb") as file:
                os.unlink(tmp_path / "gone")
                file.write(b"x" * 6 * MIB)
                file.flush()
                time.sleep(20)

        start(program)
        return judged(disk, tree, 5), sweep(tree).clean

    passed, clean = in_a_fork(act)
    assert passed
    assert clean


def test_counting_takes_little_time(tmp_path: Path, tree: Tree) -> None:
    for number in range(5000):
        (tmp_path / str(number)).touch()
    with contextlib.closing(Disk(2**30, [], [str(tmp_path)])) as disk:
        begin, longest = time.process_time(), 0.0
        now = time.monotonic()
        for tick in range(100):  # a second of looks, a hundredth each
            before = time.process_time()
            assert disk.look(now + tick / 100, tree) is None
            longest = max(longest, time.process_time() - before)
        assert time.process_time() - begin < 0.2  # 0.05 alone
        assert longest < 0.05  # 0.005 alone


def test_a_folder_made_unreadable_is_not_a_hiding_place(tmp_path: Path) -> None:
    def act() -> Any:
        if os.getuid() == 0:  # root reads all
            os.chown(tmp_path, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        tree = Tree(os.getpid(), proc())
        disk = Disk(5 * MIB, [], [f"/proc/self/fd/{folder}"])
        (here := Path(f"/proc/self/fd/{folder}") / "hidden").mkdir()
        here.chmod(0)
        soon = judged(disk, tree, 0.5)
        later = judged(disk, tree, 3)
        here.chmod(0o700)
        return soon, later

    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        soon, later = in_a_fork(act)
    finally:
        os.close(folder)
    assert soon is None
    assert "unreadable" in later


def test_folders_may_change_while_they_are_counted(tmp_path: Path) -> None:
    def program() -> None:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            (tmp_path / "a" / "b").mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                os.rename(tmp_path / "a", tmp_path / "c")
            with contextlib.suppress(OSError):
                os.symlink("/", tmp_path / "a")
            with contextlib.suppress(OSError):
                os.unlink(tmp_path / "a")
            with contextlib.suppress(OSError):
                os.rename(tmp_path / "c", tmp_path / "a")

    assert watched(program, disk=MIB, scratch=[str(tmp_path)], memory=2**31)["kind"] is None


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Disk(5, [str(tmp_path)], [str(tmp_path / "absent")])
