"""The addresses of this machine and of the networks that it is on, read from its interfaces."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv6Address, ip_address, ip_network

import psutil

from ava.domain.outbound.addresses import Network

#: Seconds for which the interfaces are not read again; a machine or a pod may get another address.
_REFRESH_SECONDS = 30.0
#: Networks that are larger (shorter prefixes) are no networks of neighbours, and only the address itself counts.
_SHORTEST_PREFIX = {4: 8, 6: 32}

_networks: tuple[Network, ...] = ()
_read_at = float("-inf")


def own_networks() -> tuple[Network, ...]:
    """Returns the networks of all interfaces, at most `_REFRESH_SECONDS` old. Neighbours answer on them directly."""
    global _networks, _read_at
    if time.monotonic() - _read_at > _REFRESH_SECONDS:
        _networks, _read_at = tuple(_read()), time.monotonic()
    return _networks


def _read() -> set[Network]:
    found: set[Network] = set()
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family in (socket.AF_INET, socket.AF_INET6):
                found.add(_network(each.address, each.netmask))
    return found


def _network(text: str, netmask: str | None) -> Network:
    """Returns the network of an interface's address, or the address alone if its network is not known or very large."""
    address = ip_address(text.partition("%")[0])
    if not netmask:
        return ip_network(address)
    bits = bin(int(IPv6Address(netmask)) if address.version == 6 else int(ip_address(netmask))).count("1")
    if bits < _SHORTEST_PREFIX[address.version]:
        return ip_network(address)
    return ip_network(f"{address}/{bits}", strict=False)
