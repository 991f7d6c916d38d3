"""Addresses: where whoever serves a name may lead a companion, and where not."""

from __future__ import annotations

import socket

import psutil
import pytest

from isolate_magic import addresses

# All are read without a name server, and have a dot as names of strangers do.
_REFUSED = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "100.100.100.200", "168.63.129.16",
    "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::168.63.129.16",
)  # fmt: skip


@pytest.mark.parametrize("name", _REFUSED)
def test_a_name_leads_neither_here_nor_to_the_secrets_of_clouds(name: str) -> None:
    assert addresses.lookup(name) == []


@pytest.mark.parametrize("name", ["192.0.2.1", "10.255.255.254", "64:ff9b::192.0.2.1"])
def test_a_name_leads_to_other_machines(name: str) -> None:
    assert list(map(str, addresses.lookup(name))) == [str(addresses.parsed(name))]


def test_a_name_does_not_lead_to_other_addresses_of_this_machine() -> None:
    ours = [
        one.address
        for found in psutil.net_if_addrs().values()
        for one in found
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
    if not ours:
        pytest.skip("this machine has only a loopback")
    assert [addresses.lookup(address) for address in ours] == [[] for _ in ours]


def test_a_name_without_a_dot_may_lead_here() -> None:
    assert "127.0.0.1" in map(str, addresses.lookup("localhost"))
