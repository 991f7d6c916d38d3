"""The report of what confines a companion: every field that is given, and something that enforces it."""

from __future__ import annotations

import os

import pytest

from isolate_magic import Companion, Policy
from isolate_magic.protection import Protection

TOLD = {"tier": "N", "namespaces": ["pid", "mount", "net"], "rlimits": {"DATA": 1}, "seccomp": "wall"}


def report(**fields: object) -> str:
    return str(Protection.of(Policy(name="p", **fields), TOLD))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"memory": "1GiB"}, "memory: 1 GiB (RLIMIT_DATA, watchdog"),
        ({"memory": 1000}, "memory: 1,000 bytes ("),
        ({"output": "1536KiB"}, "output: 1536 KiB ("),
        ({"cpu": "90s"}, "cpu: 90 s ("),
        ({"cpu": "2h"}, "cpu: 2 h ("),
        ({"wall": "250ms"}, "wall: 250 ms ("),
        ({"processes": 5}, "processes: 5 ("),
        (
            {"imports": [f"m{n}" for n in range(20)]},
            "imports: m0, m1, m10, m11, m12, m13, m14, m15, 12 more (",
        ),
        ({"imports": []}, "imports: nothing ("),
    ],
)
def test_a_field_is_said_as_people_say_it(fields: dict[str, object], said: str) -> None:
    assert f"\n  {said}" in report(**fields)


def test_every_field_that_is_given_names_what_enforces_it() -> None:
    policy = Policy(
        extends="untrusted", hidden=["/etc/hosts"], network=["127.0.0.1:9"], imports=["json"], numa=0,
        cpus=sorted(os.sched_getaffinity(0))[:1],
    )  # fmt: skip
    with Companion("all-fields", policy=policy) as companion:
        assert companion.report is not None
        layers = {layer.field: layer for layer in companion.report.layers}
    given = {name for name in policy.to_dict() if name not in ("name", "input")}
    assert given <= set(layers)
    assert all(layer.enforced_by for layer in layers.values())


def test_a_trusted_companion_is_not_confined(companion: Companion) -> None:
    assert str(companion.report) == "policy trusted, not confined: crash isolation only"


def test_the_html_is_a_table_in_which_nothing_is_markup() -> None:
    protection = Protection.of(
        Policy(name="<b>p</b>", imports=["json"]), {**TOLD, "lacking": "<script>alert(1)</script>"}
    )
    text = protection._repr_html_()
    assert "<table>" in text
    assert "<td>imports</td><td>json</td>" in text
    assert "<script" not in text
    assert "<b>p" not in text


def test_there_is_none_without_a_process() -> None:
    companion = Companion("unborn")
    assert companion.report is None
    companion.close()
