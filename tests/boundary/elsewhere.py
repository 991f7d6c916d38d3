"""Run files of this folder as another user, or as root where others may read this Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from boundary.conftest import lacking

_HERE = Path(__file__).parent
_INSIDE = "ISOLATE_MAGIC_TESTS_EVERYWHERE"
WHERE = [("root", "L"), ("user", "N"), ("user", "L")]
"""Users and tiers."""


def attack(user: str, tier: str, files: Iterable[str]) -> None:
    """Run the tests of some files in a tier, and fail if one does; skips where this cannot be done.

    Args:
        user: `root`, or `user` for an ordinary one.
        tier: `N` or `L`.
        files: what follows `test_` in their names.
    """
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
    paths = [str(_HERE / f"test_{name}.py") for name in files]
    other = "L" if tier == "N" else "N"
    done = subprocess.run(
        [str(_HERE / "readable"), *(["--user"] if user == "user" else []), *command, *paths, "-k", f"not [{other}"],
        env=os.environ | {_INSIDE: "1", "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, cwd=_HERE.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, f"{user}, tier {tier}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
