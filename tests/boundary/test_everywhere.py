"""The same attacks where this process cannot make them itself: in tier L as root, and as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from boundary.conftest import lacking

_HERE = Path(__file__).parent
_INSIDE = "ISOLATE_MAGIC_TESTS_EVERYWHERE"
_FILES = (
    "files", "processes", "network", "resources", "inheritance", "objects", "aftermath", "audit", "hidden", "open_network",
)  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("user", "tier"), [("root", "L"), ("user", "N"), ("user", "L")])
def test_the_attacks_fail_as_well(user: str, tier: str) -> None:
    if os.environ.get(_INSIDE):
        pytest.skip("this is that run")
    if os.geteuid():
        pytest.skip("only root can become others")
    if user == "root" and not lacking(tier):
        pytest.skip("this process can do that itself")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--no-header",
        "-x",
        "--tb=short",
    ]
    files = [str(_HERE / f"test_{name}.py") for name in _FILES]
    other = "L" if tier == "N" else "N"
    done = subprocess.run(
        [str(_HERE / "readable"), *(["--user"] if user == "user" else []), *command, *files, "-k", f"not [{other}"],
        env=os.environ | {_INSIDE: "1", "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, cwd=_HERE.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, f"{user}, tier {tier}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
