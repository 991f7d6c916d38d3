"""A policy file that is followed: saved, replaced, broken, gone, mended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from isolate_magic import Companion, PolicyError, output
from isolate_magic import following as module


class Listener:
    """Keep what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def stream(self, name: str, text: str) -> None:
        """Keep text."""
        if name == "stderr":
            self.texts.append(text)

    def message(self, kind: str, content: dict) -> None:  # type: ignore[type-arg]
        """Show nothing."""


@pytest.fixture
def said() -> Iterator[list[str]]:
    listener = Listener()
    before = output.use(listener)
    yield listener.texts
    output.use(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "student.toml"
    path.write_text('memory = "800MiB"\nwall = "60s"\n')
    return path


@pytest.fixture
def companion(file: Path) -> Iterator[Companion]:
    with Companion("followed", policy=str(file)) as made:
        made.follow_policy(file)
        yield made


def replace(path: Path, text: str) -> None:
    """Save a file as editors do: a new one takes its place."""
    beside = path.with_suffix(".tmp")
    beside.write_text(text)
    os.replace(beside, path)


def test_a_file_that_is_replaced_holds(companion: Companion, file: Path, said: list[str]) -> None:
    replace(file, 'memory = "200MiB"\nwall = "60s"\n')
    until(lambda: said)
    assert said == ["companion 'followed', student.toml: in force now: memory\n"]
    assert companion.policy.memory == 200 << 20
    with pytest.raises(MemoryError):
        companion.run("len(bytearray(600 << 20))")


def test_a_file_that_is_written_in_place_holds(companion: Companion, file: Path, said: list[str]) -> None:
    with file.open("w") as writer:
        writer.write('memory = "800MiB"\n')
        writer.flush()
        writer.write('wall = "5s"\n')
    until(lambda: said)
    assert "in force now: wall" in said[0]
    assert companion.policy.wall == 5


def test_what_waits_for_a_restart_is_said(companion: Companion, file: Path, said: list[str]) -> None:
    file.write_text('memory = "800MiB"\nwall = "60s"\nenvironment = ["PATH"]\n')
    until(lambda: said)
    assert "after a restart: environment" in said[0]


def test_a_broken_file_is_said_once_and_changes_nothing(
    companion: Companion, file: Path, said: list[str]
) -> None:
    before = companion.policy
    replace(file, 'memory = "much"\n')
    until(lambda: said)
    companion.run("import time; time.sleep(1.2)")
    assert len(said) == 1
    assert "memory takes" in said[0]
    assert said[0].endswith("; the policy stays as it was\n")
    assert companion.policy == before
    replace(file, 'memory = "700MiB"\nwall = "60s"\n')
    until(lambda: len(said) == 2)
    assert companion.policy.memory == 700 << 20


def test_a_file_that_is_gone_is_said_once_and_comes_back(
    companion: Companion, file: Path, said: list[str]
) -> None:
    file.unlink()
    until(lambda: said)
    assert said == ["companion 'followed', student.toml: the file is gone; the policy stays as it was\n"]
    file.write_text('memory = "500MiB"\nwall = "60s"\n')
    until(lambda: len(said) == 2)
    assert companion.policy.memory == 500 << 20


def test_an_empty_file_does_not_lift_every_limit(companion: Companion, file: Path, said: list[str]) -> None:
    file.write_text("")
    until(lambda: said)
    assert "the file is empty" in said[0]
    assert companion.policy.memory == 800 << 20


def test_a_file_that_it_extends_counts_too(tmp_path: Path, said: list[str]) -> None:
    base, top = tmp_path / "base.toml", tmp_path / "top.toml"
    base.write_text('memory = "800MiB"\n')
    top.write_text('extends = "base.toml"\nwall = "60s"\n')
    with Companion("heir", policy=str(top)) as companion:
        companion.follow_policy(top)
        replace(base, 'memory = "300MiB"\n')
        until(lambda: said)
        assert companion.policy.memory == 300 << 20


def test_it_goes_on_after_a_restart(companion: Companion, file: Path, said: list[str]) -> None:
    companion.restart()
    replace(file, 'memory = "300MiB"\nwall = "60s"\n')
    until(lambda: said)
    assert "in force now: memory" in said[0]


def test_without_a_process_it_holds_from_the_next_start(
    companion: Companion, file: Path, said: list[str]
) -> None:
    companion.stop()
    replace(file, 'memory = "300MiB"\nwall = "60s"\n')
    until(lambda: said)
    assert "holds from the next start" in said[0]
    with pytest.raises(MemoryError):
        companion.run("len(bytearray(600 << 20))")


def test_nothing_is_said_of_a_companion_that_is_closed(file: Path, said: list[str]) -> None:
    with Companion("closing", policy=str(file)) as first, Companion("other", policy=str(file)) as second:
        first.follow_policy(file)
        second.follow_policy(file)
        first.close()
        replace(file, 'memory = "300MiB"\n')
        until(lambda: said)
        assert [text.partition(",")[0] for text in said] == ["companion 'other'"]


def test_two_companions_follow_one_file(file: Path, said: list[str]) -> None:
    with Companion("one", policy=str(file)) as one, Companion("two", policy=str(file)) as two:
        one.follow_policy(file)
        two.follow_policy(file)
        replace(file, 'memory = "300MiB"\n')
        until(lambda: len(said) == 2)
        assert one.policy == two.policy
        assert one.policy.memory == 300 << 20


def test_following_again_does_not_say_things_twice(companion: Companion, file: Path, said: list[str]) -> None:
    companion.follow_policy(file)
    companion.follow_policy(file)
    replace(file, 'memory = "300MiB"\nwall = "60s"\n')
    until(lambda: said)
    companion.run("import time; time.sleep(0.8)")
    assert len(said) == 1


def test_what_comes_while_a_cell_runs_is_said_at_its_end(
    companion: Companion, file: Path, said: list[str]
) -> None:
    module.hold()
    replace(file, 'memory = "300MiB"\nwall = "60s"\n')
    until(lambda: companion.policy.memory == 300 << 20)
    assert said == []
    until(lambda: module._held)
    module.tell()
    assert len(said) == 1


def test_it_is_taken_while_the_companion_is_at_work(
    companion: Companion, file: Path, said: list[str]
) -> None:
    companion.push({"save": lambda: replace(file, 'memory = "800MiB"\nwall = "0.5s"\n')})
    with pytest.raises(TimeoutError):
        companion.run("save()\nimport time\ntime.sleep(30)")


def test_a_file_that_cannot_be_is_refused_at_once(file: Path) -> None:
    file.write_text("colour = 1\n")
    with Companion("refused") as companion, pytest.raises(PolicyError, match="no field 'colour'"):
        companion.follow_policy(file)
