"""The doctor: what it finds on this host, and that it finds what is left open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isolate_magic import circumstances, doctor
from isolate_magic.acts import ACTS
from isolate_magic.canaries import Canaries
from isolate_magic.policy import PRESETS
from isolate_magic.trial import Trial

LIMITS = [act for act in ACTS if act.limit]
OTHERS = [act for act in ACTS if not act.limit]


@pytest.fixture(scope="module")
def open_findings() -> list[doctor.Finding]:
    """Give what is found in a companion whose layers are all switched off."""
    return doctor.examine("N", PRESETS["trusted"])


def test_a_sandbox_that_is_switched_off_is_found_to_let_everything_through(
    open_findings: list[doctor.Finding],
) -> None:
    held = {
        finding.tried
        for finding in open_findings
        if finding.held == "yes" and finding.bare is not False and not finding.tried.startswith("allowed")
    }
    # Each of these has a policy of its own, which the one that is examined does not switch off.
    assert held <= {"reach another port beside it", "connect over TCP to a server of yours"}
    assert sum(finding.held == "no" for finding in open_findings) > len(LIMITS)


def test_what_got_through_is_exit_status_1_and_is_marked_with_its_reason(
    open_findings: list[doctor.Finding],
) -> None:
    diagnosis = doctor.Diagnosis((), (doctor.Preset("untrusted", "N", "", True),), tuple(open_findings))
    assert diagnosis.status == 1
    assert diagnosis.summary.startswith("Not safe")
    assert "it got through: the policy leaves this open" in doctor.table(open_findings)


@pytest.mark.parametrize("tier", ["N", "L"])
def test_one_layer_that_a_policy_leaves_open_is_found(tier: str) -> None:
    with (
        Canaries() as canaries,
        Trial(tier, PRESETS["untrusted"].but(read=[canaries.folder]), canaries) as trial,
    ):
        try:
            found = {act.tried: trial.attempt(act) for act in OTHERS[:3]}
        except doctor.ConfinementError as error:
            pytest.skip(str(error))
        assert found["read a file of yours"].happened
        assert not found["create, change and delete files of yours"].happened
        assert not found["change rights and times of a file of yours"].happened


def test_where_untrusted_cannot_be_enforced_the_exit_status_is_2() -> None:
    missing = doctor.Finding("N", "namespaces", "start", "not available", "", "the cure")
    diagnosis = doctor.Diagnosis((), (doctor.Preset("untrusted", "", "no", False),), (missing,))
    assert diagnosis.status == 2
    assert "not available; to get it: the cure" in str(diagnosis)


def test_every_act_leaves_the_canaries_as_they_were() -> None:
    with Canaries() as canaries, Trial("", PRESETS["trusted"], canaries) as trial:
        for act in OTHERS[:9]:
            trial.attempt(act)
            assert not canaries.touched()
            assert not canaries.altered()
            assert not canaries.signalled()
            assert not canaries.traced()
            assert not canaries.worsened()


def test_nothing_is_left_behind() -> None:
    with Canaries() as canaries:
        folder, pid = canaries.folder, canaries.process.pid
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)
    assert not os.path.exists(f"/proc/{pid}")


def test_the_table_fits_100_columns() -> None:
    long = doctor.Finding("N", "system calls", "word " * 30, "no", "layer " * 20, "cure " * 60)
    lines = doctor.table([long, long]).splitlines()
    assert max(map(len, lines)) <= 100


def test_html_shows_what_code_says_as_text() -> None:
    finding = doctor.Finding("N", "files", "<script>", "yes")
    shown = doctor.Diagnosis((), (), (finding,))._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_facts_name_the_kernel_and_every_layer() -> None:
    facts = {fact.name: fact.value for fact in circumstances.facts()}
    assert os.uname().release in facts["system"]
    assert {"user namespaces", "Landlock", "seccomp", "container", "large copies"} <= set(facts)


@pytest.mark.parametrize("layer", ["namespaces", "root", "files", "signals", "system calls", "user"])
def test_there_is_a_cure_for_each_layer_that_can_be_missing(layer: str) -> None:
    assert circumstances.cure(layer)


def test_a_diagnosis_survives_json() -> None:
    diagnosis = doctor.Diagnosis(
        (doctor.Fact("a", "b"),),
        (doctor.Preset("untrusted", "N", "note", True),),
        (doctor.Finding("N", "files", "read", "yes", "Landlock", "", True),),
    )
    assert doctor.Diagnosis.from_dict(diagnosis.to_dict()) == diagnosis


def test_the_keys_of_json_are_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text()
    diagnosis = doctor.Diagnosis(
        (), (doctor.Preset("a", "", "", True),), (doctor.Finding("N", "a", "b", "yes"),)
    )
    content = diagnosis.to_dict()
    for key in (*content, *content["presets"][0], *content["findings"][0]):
        assert f"`{key}`" in text
