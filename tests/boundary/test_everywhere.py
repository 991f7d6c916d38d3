"""The same attacks where this process cannot make them itself: in tier L as root, and as an ordinary user."""

from __future__ import annotations

import pytest
from boundary.elsewhere import WHERE, attack

_FILES = (
    "files",
    "processes",
    "network",
    "inheritance",
    "objects",
    "aftermath",
    "audit",
    "hidden",
    "open_network",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("user", "tier"), WHERE)
def test_the_attacks_fail_as_well(user: str, tier: str) -> None:
    attack(user, tier, _FILES)
