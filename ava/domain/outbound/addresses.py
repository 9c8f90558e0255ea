"""Classify network addresses: which are public on the internet and may be called.

The tables follow IANA's special-purpose registries. `ipaddress.is_private` and `is_global` are unsuitable: they differ
between patch releases of Python, and both allow some of these addresses (fec0::/10, ::127.0.0.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_V4 = (
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("10.0.0.0/8"), "private"),
    (IPv4Network("100.100.100.200/32"), "cloud-metadata"),  # Alibaba Cloud's, inside the next range.
    (IPv4Network("100.64.0.0/10"), "carrier-internal"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("168.63.129.16/32"), "cloud-metadata"),  # Azure's, inside a public range.
    (IPv4Network("169.254.0.0/16"), "link-local"),  # Also the metadata of most clouds, 169.254.169.254.
    (IPv4Network("172.16.0.0/12"), "private"),
    (IPv4Network("192.0.0.192/32"), "cloud-metadata"),  # Oracle Cloud's, inside the next range.
    (IPv4Network("192.0.0.0/24"), "reserved"),
    (IPv4Network("192.0.2.0/24"), "documentation"),
    (IPv4Network("192.88.99.0/24"), "reserved"),
    (IPv4Network("192.168.0.0/16"), "private"),
    (IPv4Network("198.18.0.0/15"), "benchmarking"),
    (IPv4Network("198.51.100.0/24"), "documentation"),
    (IPv4Network("203.0.113.0/24"), "documentation"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("240.0.0.0/4"), "reserved"),
)

# Addresses outside `_PUBLIC_V6` need an operator's permission; the kind decides which setting gives it.
_NOT_PUBLIC_V6 = (
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("fd00:ec2::254/128"), "cloud-metadata"),  # Amazon's, inside the range of private ones.
    (IPv6Network("fd20:ce::254/128"), "cloud-metadata"),  # Google's, also inside it.
    (IPv6Network("fc00::/7"), "private"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("2001::/23"), "reserved"),  # Teredo, which embeds IPv4 addresses, ORCHID and benchmarking.
    (IPv6Network("2001:db8::/32"), "documentation"),
    (IPv6Network("2002::/16"), "6to4"),  # Embeds an IPv4 address, and is obsolete.
    (IPv6Network("3fff::/20"), "documentation"),
)
# IANA has allocated blocks in this half of the global unicast space 2000::/3 only.
_PUBLIC_V6 = IPv6Network("2000::/4")

#: Kinds of addresses of this machine or a neighbouring service, which may ask for no password.
_LOCAL_KINDS = ("unspecified", "loopback", "link-local", "cloud-metadata")

# Prefixes of addresses that lead to the IPv4 address in their last 32 bits. NAT64 is allowed, because through it
# (DNS64) a machine without IPv4 reaches every public IPv4 server.
_EMBEDDING_V6 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


def embedded(address: Address, nat64: Sequence[IPv6Network] = ()) -> list[IPv4Address]:
    """Return the IPv4 address that an address leads to, if any; `nat64` are additional prefixes."""
    if not isinstance(address, IPv6Address):
        return []
    for prefix in (*_EMBEDDING_V6, *nat64):
        if address in prefix:
            return [_unwrapped(address, prefix.prefixlen)]
    return []


def _unwrapped(address: IPv6Address, length: int) -> IPv4Address:
    """Return the IPv4 address behind a prefix; RFC 6052, 2.2: bits 64 to 71 are skipped."""
    if length == 96:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    octets = address.packed[:8] + address.packed[9:]
    return IPv4Address(octets[length // 8 : length // 8 + 4])


def why_not_public(address: Address) -> str | None:
    """Return the reason, such as `loopback`, why an address may not be called; None if it is public."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in _NOT_PUBLIC_V4 if address in network), None)
    if address.scope_id is not None:
        return "link-local"
    if any(address in network for network in _EMBEDDING_V6):
        return why_not_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return _why_not_public_v6(address)


def local_range(address: Address) -> Network | None:
    """Return the loopback, link-local or metadata range with the address; None if there is none."""
    table = _NOT_PUBLIC_V4 if isinstance(address, IPv4Address) else _NOT_PUBLIC_V6
    return next((network for network, why in table if address in network and why in _LOCAL_KINDS), None)


def _why_not_public_v6(address: IPv6Address) -> str | None:
    for network, why in _NOT_PUBLIC_V6:
        if address in network:
            return why
    return None if address in _PUBLIC_V6 else "reserved"
