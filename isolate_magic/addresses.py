"""Addresses: as numbers, which of them mean this machine, and which a name may lead to (host)."""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    map(
        ipaddress.ip_address,  # of Amazon and Google over IPv6, Alibaba, Oracle, Azure
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def parsed(address: str) -> Address | None:
    """Read a numeric address; an IPv4 address inside of an IPv6 one is the IPv4 address."""
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = number.ipv4_mapped if number.version == 6 else None
    return mapped or number


def own(address: str) -> bool:
    """Tell whether an address means the machine itself; connect() takes 0.0.0.0 and :: for loopback."""
    number = parsed(address)
    return number is not None and (number.is_loopback or number.is_unspecified)


def lookup(name: str) -> list[Address]:
    """Resolve a name; nothing if it has no address now.

    Whoever serves a name decides where it leads. A name with a dot therefore never leads to this machine,
    to where clouds keep their secrets, link-local addresses among them, or to a group; list such an address
    itself.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    numbers = [number for *_, place in found if (number := parsed(str(place[0]))) is not None]
    foreign = "." in name and not name.endswith(".localhost")
    return [one for one in dict.fromkeys(numbers) if not (foreign and _near(one))]


def _near(number: Address) -> bool:
    """Tell whether the owner of a name must not lead there."""
    carried = _carried(number)
    if carried is not None:
        return _near(carried)
    usual = number.is_loopback or number.is_link_local or number.is_unspecified or number.is_multicast
    return usual or number in _METADATA or _ours(number)


def _carried(number: Address) -> Address | None:
    """Return the address that a gateway would make of it: NAT64, 6to4, Teredo (RFC 6052, 3056, 4380)."""
    if number.version == 4:
        return None
    if number in _NAT64:
        return ipaddress.IPv4Address(number.packed[-4:])
    return number.sixtofour or (number.teredo[1] if number.teredo else None)


def _ours(number: Address) -> bool:
    """Tell whether it is an address of this machine, which only bind(2) can tell."""
    with socket.socket(
        socket.AF_INET if number.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM
    ) as probe:
        try:
            probe.bind((str(number), 0))
        except OSError:
            return False
    return True
