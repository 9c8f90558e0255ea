"""Which addresses handlers and webhooks may call: public ones, except denied ones, plus allowed ones.

The rules, in this order:

1. `AVA_OUTBOUND_DENY` denies.
2. `AVA_WEBHOOK_ALLOW_PRIVATE=1` allows everything that is not denied.
3. Local addresses are denied: addresses of this machine and its networks, loopback, link-local and cloud metadata. To
   allow them, `AVA_OUTBOUND_ALLOW` must name the address, or a network no larger than the local one.
4. Networks in `AVA_OUTBOUND_ALLOW` are allowed.
5. Hosts and domains in `AVA_OUTBOUND_ALLOW` are allowed with a private address. Other results of their DNS lookup are
   not trusted, because the domain's owner need not be the operator.
6. Everything that is not public is denied.

An address that leads to an IPv4 address (NAT64) is checked as both. If the IPv4 address is local, allow that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network

from ava.domain.outbound.addresses import Address, Network, embedded, local_range, why_not_public
from ava.errors import SettingsError
from ava.settings import OutboundSettings

_HOST = re.compile(r"(\*?\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
#: RFC 6052, 2.2.
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)
#: Kinds of non-public addresses that an allowed host or domain may have.
_PRIVATE_KINDS = ("private", "carrier-internal")


@dataclass(frozen=True, kw_only=True)
class _Destinations:
    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()

    def has_host(self, host: str) -> bool:
        return host in self.hosts or host.endswith(self.domains)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def names(self, address: Address, within: Network) -> bool:
        """Return True if the address is in a listed network no larger than `within`, which contains it, too."""
        return any(address in network and network.prefixlen >= within.prefixlen for network in self.networks)


@dataclass(frozen=True, kw_only=True)
class OutboundRules:
    allowed: _Destinations = _Destinations()
    denied: _Destinations = _Destinations()
    #: The operator's NAT64 prefixes in addition to 64:ff9b::/96.
    nat64: tuple[IPv6Network, ...] = ()
    #: Whether everything that is not denied is allowed, including this machine.
    allows_all: bool = False

    @classmethod
    def of(cls, settings: OutboundSettings) -> OutboundRules:
        return cls(
            allowed=_destinations("AVA_OUTBOUND_ALLOW", settings.outbound_allow),
            denied=_destinations("AVA_OUTBOUND_DENY", settings.outbound_deny),
            nat64=tuple(_nat64_prefix(string) for string in settings.outbound_nat64),
            allows_all=settings.allow_private_addresses,
        )

    def why_refused(self, host: str, address: Address, own: Sequence[Network] = ()) -> str | None:
        """Return the reason, such as `loopback`, why a host's address may not be called; None if it may.

        `own` are the networks of this machine.
        """
        faces = [address, *embedded(address, self.nat64)]
        if self.denied.has_host(host) or any(map(self.denied.has_address, faces)):
            return "denied by the operator"
        if self.allows_all:
            return None
        if why := next(filter(None, (self._why_local(face, own) for face in faces)), None):
            return why
        if any(map(self.allowed.has_address, faces)):
            return None
        why = why_not_public(faces[-1]) or (why_not_public(address) if len(faces) == 1 else None)
        return None if why in _PRIVATE_KINDS and self.allowed.has_host(host) else why

    def _why_local(self, face: Address, own: Sequence[Network]) -> str | None:
        """Return why a local address is refused; None if it is not local, or the operator allows it."""
        of_machine = [network for network in own if face in network]
        local = local_range(face)
        if any(self.allowed.names(face, within) for within in (*of_machine, *([local] if local else ()))):
            return None
        if of_machine:
            return "of this machine or its network"
        return why_not_public(face) if local else None

    def why_name_refused(self, host: str) -> str | None:
        """Return why a host may not be called, whatever its address; None if its address decides."""
        if self.denied.has_host(host):
            return "denied by the operator"
        # A local name may have an allowed address.
        if self.allows_all or self.allowed.networks or self.allowed.has_host(host):
            return None
        return "a name of the local network"


def _destinations(variable: str, strings: Iterable[str]) -> _Destinations:
    networks: list[Network] = []
    hosts: set[str] = set()
    domains: list[str] = []
    for string in strings:
        name = string.lower().removesuffix(".")
        try:
            networks.append(ip_network(string))
        except ValueError:
            if not _HOST.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
                raise SettingsError(
                    variable, "each must be a network such as 10.0.0.0/8, a host, or *.example.com"
                ) from None
            if name.startswith(("*.", ".")):
                domains.append(name.removeprefix("*"))
            else:
                hosts.add(name)
    return _Destinations(networks=tuple(networks), hosts=frozenset(hosts), domains=tuple(domains))


def _nat64_prefix(string: str) -> IPv6Network:
    try:
        prefix = IPv6Network(string)
        if prefix.prefixlen in _NAT64_LENGTHS:
            return prefix
    except ValueError:
        pass
    raise SettingsError("AVA_OUTBOUND_NAT64", "each must be an IPv6 prefix of /32, /40, /48, /56, /64 or /96")


#: The rules without settings, and rules that allow every address, for development.
PUBLIC = OutboundRules()
ANY = OutboundRules(allows_all=True)
