"""Which addresses handlers and webhooks may call: public ones, without what an operator denies, with what it allows.

The rules, in this order: what `AVA_OUTBOUND_DENY` names is denied; what `AVA_OUTBOUND_ALLOW` names is allowed; the
addresses of this machine and of its own networks are denied; so is everything that is not public. An address that
leads to an IPv4 address (NAT64) is judged by both. `AVA_WEBHOOK_ALLOW_PRIVATE=1` allows `0.0.0.0/0,::/0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from ava.domain.addresses import Address, embedded, why_not_public
from ava.errors import SettingsError
from ava.settings import Settings

__all__ = ["ANY", "PUBLIC", "Network", "OutboundRules"]

Network = IPv4Network | IPv6Network

_HOST = re.compile(r"(\*?\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
#: The lengths of NAT64's prefixes (RFC 6052, 2.2).
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Networks, hosts, and domains with all that is below them."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()

    def has_host(self, host: str) -> bool:
        return host in self.hosts or host.endswith(self.domains)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


@dataclass(frozen=True, kw_only=True)
class OutboundRules:
    """The rules of one installation."""

    allowed: _Places = _Places()
    denied: _Places = _Places()
    #: The operator's own prefixes of NAT64, besides 64:ff9b::/96.
    nat64: tuple[IPv6Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> OutboundRules:
        """Returns the rules that the settings give. Raises `SettingsError`."""
        allowed = settings.outbound_allow + (("0.0.0.0/0", "::/0") if settings.allow_private_addresses else ())
        return cls(
            allowed=_places("AVA_OUTBOUND_ALLOW", allowed),
            denied=_places("AVA_OUTBOUND_DENY", settings.outbound_deny),
            nat64=tuple(_nat64_prefix(text) for text in settings.outbound_nat64),
        )

    def why_refused(self, host: str, address: Address, own: Sequence[Network] = ()) -> str | None:
        """Returns in a word why an address of a host may not be called, such as `loopback`; None if it may.

        `own` are the addresses of this machine and of its networks.
        """
        faces = [address, *embedded(address, self.nat64)]
        if self.denied.has_host(host) or any(map(self.denied.has_address, faces)):
            return "denied by the operator"
        if self.allowed.has_host(host) or any(map(self.allowed.has_address, faces)):
            return None
        if any(face in network for face in faces for network in own):
            return "of this machine or its network"
        return why_not_public(faces[-1]) or (why_not_public(address) if len(faces) == 1 else None)

    def why_name_refused(self, host: str) -> str | None:
        """Returns in a word why a host may not be called, whatever its address is; None if its address decides."""
        if self.denied.has_host(host):
            return "denied by the operator"
        # A name of the local network may have an address that is allowed.
        if self.allowed.networks or self.allowed.has_host(host):
            return None
        return "a name of the local network"


def _places(variable: str, texts: Iterable[str]) -> _Places:
    networks: list[Network] = []
    hosts: set[str] = set()
    domains: list[str] = []
    for text in texts:
        name = text.lower().removesuffix(".")
        try:
            networks.append(ip_network(text))
        except ValueError:
            if not _HOST.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
                raise SettingsError(
                    variable, "each must be a network such as 10.0.0.0/8, a host, or *.example.com"
                ) from None
            if name.startswith(("*.", ".")):
                domains.append(name.removeprefix("*"))
            else:
                hosts.add(name)
    return _Places(networks=tuple(networks), hosts=frozenset(hosts), domains=tuple(domains))


def _nat64_prefix(text: str) -> IPv6Network:
    try:
        prefix = IPv6Network(text)
        if prefix.prefixlen in _NAT64_LENGTHS:
            return prefix
    except ValueError:
        pass
    raise SettingsError("AVA_OUTBOUND_NAT64", "each must be an IPv6 prefix of /32, /40, /48, /56, /64 or /96")


_EVERYTHING = _Places(networks=(IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))
#: The rules without settings, and those that allow every address, for development.
PUBLIC = OutboundRules()
ANY = OutboundRules(allowed=_EVERYTHING)
