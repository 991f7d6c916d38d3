"""The lines of %isolate that concern policies, as a teacher reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.error import UsageError

from isolate_magic import Companion, companions
from isolate_magic.face import commands
from isolate_magic.session import get_companion


@pytest.fixture
def student() -> Iterator[Companion]:
    with Companion("student", policy="untrusted") as made:
        yield made


def answer(capsys: pytest.CaptureFixture[str], line: str) -> str:
    """Return what a command prints."""
    capsys.readouterr()
    commands.run(line)
    return capsys.readouterr().out


def test_start_says_which_policy_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "start pupil --policy untrusted").rstrip().endswith("policy untrusted")


def test_status_of_one_shows_what_confines_it_in_units_that_people_read(
    student: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    text = answer(capsys, "status student")
    for line in ("memory: 1 GiB (", "cpu: 5 min (", "wall: 1 min (", "disk: 64 MiB (", "trusted: no ("):
        assert f"    {line}" in text


def test_status_of_several_is_one_line_each(student: Companion, capsys: pytest.CaptureFixture[str]) -> None:
    with Companion("second", policy="untrusted"):
        text = answer(capsys, "status")
        names = [line.partition(":")[0] for line in text.splitlines()[:-1]]
        assert names == [companion.name for companion in companions()]
        assert text.splitlines()[-1] == "%isolate status NAME shows what confines one"


def test_policy_shows_the_policy_as_toml(student: Companion, capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(capsys, "policy student")
    assert 'name = "untrusted"' in text
    assert 'memory = "1GiB"' in text


def test_policy_changes_it_and_says_what_took_effect(
    student: Companion, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "less.toml"
    file.write_text('extends = "untrusted"\nmemory = "300MiB"\n')
    assert answer(capsys, f"policy student --policy {file}") == "student: in force now: memory\n"
    assert student.policy.name == "less"


def test_status_tells_that_a_policy_waits_for_a_restart(
    student: Companion, capsys: pytest.CaptureFixture[str]
) -> None:
    text = answer(capsys, "policy student --policy offline")
    assert "after a restart: " in text
    status = answer(capsys, "status student")
    assert "policy offline after a restart" in status.splitlines()[0]
    assert "policy untrusted, changed, tier" in status
    assert answer(capsys, "restart student").rstrip().endswith("policy offline")


def test_another_policy_ends_the_following_of_a_file(
    student: Companion, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text('extends = "untrusted"\n')
    answer(capsys, f"policy student --policy-file {file}")
    assert student.followed == str(file)
    answer(capsys, "policy student --policy untrusted")
    assert student.followed == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("start x --policy untrustd", "did you mean 'untrusted'"),
        ("start x --policy not-there.toml", "not-there.toml cannot be read"),
        ("start x --policy", "a preset or a TOML file"),
        ("start x --policy untrusted --policy-file a.toml", "not both"),
        ("stop x --policy untrusted", "belongs to %isolate start and policy"),
        ("policy nobody", "there is no companion 'nobody'"),
    ],
)
def test_what_cannot_be_is_said(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        commands.run(line)


def test_a_companion_that_runs_under_another_policy_is_not_started_again(student: Companion) -> None:
    with pytest.raises(UsageError, match="%isolate policy student changes the policy"):
        commands.run("start student --policy offline")
    assert get_companion("student") is student
