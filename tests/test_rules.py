"""What an administrator rules: the default, and a lock that only lets policies be tightened."""

from __future__ import annotations

from pathlib import Path

import pytest

from isolate_magic import Companion, Policy, PolicyError, default_companion, get_companion, rules


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_default", "_locked", "_consulted"):
        monkeypatch.setattr(rules, name, getattr(rules, name))


@pytest.fixture
def locked() -> Policy:
    policy = Policy(extends="untrusted", name="course")
    rules.rule(policy, True)
    return policy


def test_without_a_lock_the_default_holds_and_can_be_overridden() -> None:
    rules.rule(Policy(memory="2GiB", name="house"), False)
    with Companion("of-the-house") as one, Companion("own", policy="trusted") as other:
        assert one.policy.name == "house"
        assert other.policy.memory is None


def test_a_lock_holds_for_companions_without_a_policy(locked: Policy) -> None:
    assert get_companion("anyone").policy == locked
    assert default_companion().policy == locked
    default_companion().close()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"memory": "2GiB"}, "memory"),
        ({"network": ["127.0.0.1:80"]}, "network"),
        ({"read": ["/etc"]}, "read"),
        ({"nice": 0}, "nice"),
        ({"environment": ["*"]}, "environment"),
        ({"trusted": True}, "trusted"),
    ],
)
def test_what_allows_more_is_refused_and_the_field_is_named(
    locked: Policy, fields: dict[str, object], named: str
) -> None:
    with pytest.raises(PolicyError, match=rf"has locked, in: .*{named}"):
        Companion("weaker", policy=Policy(extends="untrusted", **fields))
    with Companion("tight", policy=locked) as companion:
        with pytest.raises(PolicyError, match=named):
            companion.change_policy(locked.but(**fields))
        assert companion.policy == locked


def test_what_allows_less_is_admitted(locked: Policy) -> None:
    with Companion("stricter", policy=locked.but(memory="200MiB")) as companion:
        assert companion.policy.memory == 200 << 20
        assert companion.change_policy(locked).took == ("memory",)


def test_a_file_that_is_followed_cannot_weaken(locked: Policy, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('extends = "untrusted"\nmemory = "8GiB"\n')
    with Companion("follower") as companion, pytest.raises(PolicyError, match="memory"):
        companion.follow_policy(file)


def test_a_companion_made_before_the_lock_is_ruled_at_its_next_start() -> None:
    with Companion("early", policy="trusted") as companion:
        rules.rule(Policy.of("untrusted"), True)
        with pytest.raises(PolicyError):
            companion.restart()
        companion.change_policy("untrusted")
        assert companion.run("1") == 1


def test_an_assigned_policy_is_ruled_at_the_next_start(locked: Policy) -> None:
    with Companion("assigned") as companion:
        companion.policy = Policy()
        with pytest.raises(PolicyError):
            companion.restart()


def test_variables_that_the_locked_policy_lets_not_through_cannot_be_given(locked: Policy) -> None:
    with pytest.raises(PolicyError, match="does not let LD_PRELOAD, SECRET through"):
        Companion("given", env={"SECRET": "1", "LD_PRELOAD": "x", "LC_ALL": "C"})
    with Companion("given", env={"LC_ALL": "C"}) as companion:
        assert companion.run("import os; os.environ['LC_ALL']") == "C"


def test_without_a_lock_any_variable_can_be_given() -> None:
    with Companion("given", env={"SECRET": "1"}, policy="untrusted") as companion:
        assert companion.run("import os; os.environ['SECRET']") == "1"


@pytest.mark.parametrize("lock", [True, False])
def test_the_lock_cannot_be_weakened_or_opened(locked: Policy, lock: bool) -> None:
    with pytest.raises(PolicyError, match="cannot be weakened from a notebook"):
        rules.rule(Policy(), lock)
    with pytest.raises(PolicyError):
        rules.rule(locked, False)
    rules.rule(locked.but(memory="300MiB"), True)
    with pytest.raises(PolicyError):
        rules.rule(locked, True)
