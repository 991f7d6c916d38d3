"""`python -m isolate_magic`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import isolate_magic
from isolate_magic.__main__ import main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "isolate_magic", *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def doctor() -> tuple[int, dict[str, Any]]:
    """Give exit status and document of one run of the doctor."""
    done = run("doctor", "--json")
    return done.returncode, json.loads(done.stdout)


def test_without_a_command_it_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out


def test_it_tells_its_version() -> None:
    assert run("--version").stdout == f"isolate_magic {isolate_magic.__version__}\n"


def test_an_unknown_command_is_one_clear_error() -> None:
    done = run("doktor")
    assert done.returncode == 2
    assert "doktor" in done.stderr
    assert "Traceback" not in done.stderr


def test_everything_holds_on_this_host(doctor: tuple[int, dict[str, Any]]) -> None:
    status, document = doctor
    assert [finding for finding in document["findings"] if finding["held"] == "no"] == []
    assert status in (0, 2)
    assert status == document["status"]


def test_every_layer_was_tried_where_a_tier_could_be_had(doctor: tuple[int, dict[str, Any]]) -> None:
    document = doctor[1]
    tiers = {finding["tier"] for finding in document["findings"] if finding["held"] == "yes"}
    if not tiers:
        pytest.skip("no tier can be had here")
    for tier in tiers:
        layers = {finding["layer"] for finding in document["findings"] if finding["tier"] == tier}
        assert {
            "files",
            "processes",
            "signals",
            "network",
            "rights",
            "system calls",
            "memory",
            "values",
        } <= layers


def test_most_acts_work_here_without_a_sandbox(doctor: tuple[int, dict[str, Any]]) -> None:
    bare = [finding["bare"] for finding in doctor[1]["findings"] if finding["bare"] is not None]
    assert not bare or sum(bare) > len(bare) / 2


def test_one_tier_can_be_tried_alone_and_the_table_tells_the_end() -> None:
    done = run("doctor", "--tier", "N")
    assert "Tier L" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith(("All", "Not safe", "The policy"))


def test_ipython_is_not_needed_for_help() -> None:
    code = "import sys, isolate_magic.__main__ as m; m.main([]); print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
