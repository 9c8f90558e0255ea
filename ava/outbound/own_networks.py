"""The addresses of this machine and its networks, read from its interfaces."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv6Address, ip_address, ip_network

import psutil

from ava.domain.outbound.addresses import Network

#: Seconds until the interfaces are read again; a machine or a pod may get another address.
_REFRESH_SECONDS = 30.0
#: In larger networks (shorter prefixes) the machines are not neighbours, and only the own address counts.
_SHORTEST_PREFIX = {4: 8, 6: 32}

_networks: tuple[Network, ...] = ()
_read_at = float("-inf")


def own_networks() -> tuple[Network, ...]:
    """Return the networks of all interfaces, at most `_REFRESH_SECONDS` old. Their hosts are directly reachable."""
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
    """Return the network of an interface's address; only the address if its network is unknown or very large."""
    address = ip_address(text.partition("%")[0])
    if not netmask:
        return ip_network(address)
    bits = bin(int(IPv6Address(netmask)) if address.version == 6 else int(ip_address(netmask))).count("1")
    if bits < _SHORTEST_PREFIX[address.version]:
        return ip_network(address)
    return ip_network(f"{address}/{bits}", strict=False)
