"""The attacks on resources where this process cannot make them itself; see `test_everywhere`."""

from __future__ import annotations

import pytest
from boundary.elsewhere import WHERE, attack


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("user", "tier"), WHERE)
def test_the_limits_hold_as_well(user: str, tier: str) -> None:
    attack(user, tier, ("resources",))
