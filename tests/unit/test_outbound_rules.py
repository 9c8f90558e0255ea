"""What an operator allows and denies, and what this machine's own networks are."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ava import settings
from ava.domain.outbound.outbound_rules import ANY, PUBLIC, OutboundRules
from ava.domain.outbound.outbound_url import parse
from ava.errors import AddressRefused, SettingsError
from ava.outbound import guarded_socket as own_networks_module
from ava.outbound.guarded_socket import own_networks

LEAST = {"DATABASE_URL": "postgresql://u@h/d", "BROKER_URL": "redis://h"}
OWN = [ip_network("203.0.112.0/24"), ip_network("2600:1f18:1:2::/64")]


def _rules(**environ: str) -> OutboundRules:
    return OutboundRules.of(settings.load({**LEAST, **{f"AVA_{name}": value for name, value in environ.items()}}))


def _why(rules: OutboundRules, address: str, host: str = "example.com", own: list[Any] | None = None) -> str | None:
    return rules.why_refused(host, ip_address(address), own or [])


@pytest.mark.parametrize("address", ["203.0.112.9", "2600:1f18:1:2::9", "::ffff:203.0.112.9", "64:ff9b::203.0.112.9"])
def test_addresses_of_this_machine_and_its_networks_are_denied_although_they_are_public(address: str) -> None:
    assert _why(PUBLIC, address) is None
    assert _why(PUBLIC, address, own=OWN) == "of this machine or its network"
    assert _why(_rules(OUTBOUND_ALLOW="203.0.112.0/28,2600:1f18:1:2::9"), address, own=OWN) is None
    assert _why(ANY, address, own=OWN) is None


def test_a_network_or_host_that_is_denied_is_denied_whatever_allows_it() -> None:
    rules = _rules(
        OUTBOUND_DENY="8.8.8.0/24, 2600:9000::/28, evil.example, *.bad.example", OUTBOUND_ALLOW="0.0.0.0/0,evil.example"
    )
    for address in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2600:9000::1"):
        assert _why(rules, address) == "denied by the operator"
    assert _why(rules, "9.9.9.9", host="evil.example") == "denied by the operator"
    assert _why(rules, "9.9.9.9", host="a.bad.example") == "denied by the operator"
    assert _why(rules, "9.9.9.9", host="bad.example") is None
    assert _why(rules, "10.0.0.1") is None
    for url in ("https://evil.example/", "https://EVIL.example./x", "https://a.bad.example/", "https://8.8.8.8/"):
        with pytest.raises(AddressRefused, match="denied by the operator"):
            parse(url, rules=rules)


def test_what_is_allowed_is_allowed_and_nothing_else_is() -> None:
    rules = _rules(OUTBOUND_ALLOW="10.1.0.0/16, fd00:1::/32, hooks.internal, *.svc.cluster.local")
    for address in ("10.1.2.3", "fd00:1::5", "::ffff:10.1.2.3"):
        assert _why(rules, address) is None
    for address in ("10.2.0.1", "127.0.0.1", "169.254.169.254", "fd00:2::1", "::1"):
        assert _why(rules, address) is not None
    assert _why(rules, "192.168.0.7", host="hooks.internal") is None
    assert _why(rules, "192.168.0.7", host="a.svc.cluster.local") is None
    assert parse("http://hooks.internal/", rules=rules).host == "hooks.internal"
    assert parse("http://10.1.2.3/", rules=rules).port == 80
    with pytest.raises(AddressRefused, match="AVA_OUTBOUND_ALLOW"):
        parse("http://10.2.0.1/", rules=rules)
    with pytest.raises(AddressRefused):
        parse("http://hooks.internal/", rules=PUBLIC)


LOCAL = {
    "127.0.0.1": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::169.254.169.254": "link-local",
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "168.63.129.16": "cloud-metadata",
    "100.100.100.200": "cloud-metadata",
    "192.0.0.192": "cloud-metadata",
    "fd00:ec2::254": "cloud-metadata",
    "10.7.0.9": "of this machine or its network",
    "203.0.112.9": "of this machine or its network",
    "2600:1f18:1:2::9": "of this machine or its network",
}


@pytest.mark.parametrize(("address", "why"), LOCAL.items())
def test_dns_of_an_allowed_name_reaches_nothing_on_this_machine_or_its_links(address: str, why: str) -> None:
    own = [*OWN, ip_network("10.7.0.0/24")]
    rules = _rules(OUTBOUND_ALLOW="hooks.partner.example, *.partner.example")
    for host in ("hooks.partner.example", "a.b.partner.example"):
        assert _why(rules, address, host=host, own=own) == why
        for private in ("10.7.1.9", "192.168.0.7", "100.64.0.1", "fd00:1::5", "64:ff9b::10.7.1.9", "8.8.8.8"):
            assert _why(rules, private, host=host, own=own) is None
        for other in ("224.0.0.1", "192.0.2.1", "2002:7f00:1::1"):
            assert _why(rules, other, host=host, own=own) is not None


@pytest.mark.parametrize(("address", "why"), LOCAL.items())
def test_local_addresses_are_opened_by_their_own_address_or_network_and_not_by_a_larger_one(
    address: str, why: str
) -> None:
    own = [*OWN, ip_network("10.7.0.0/24")]
    larger = _rules(OUTBOUND_ALLOW="0.0.0.0/0, ::/0, 10.0.0.0/8, 100.64.0.0/10, fc00::/7")
    assert _why(larger, address, own=own) == why
    exact = address.replace("::ffff:", "").replace("64:ff9b::", "")  # An embedded IPv4 address is named itself.
    assert _why(_rules(OUTBOUND_ALLOW=exact), address, own=own) is None


@pytest.mark.parametrize(
    ("network", "address"),
    [("127.0.0.0/8", "127.0.0.1"), ("169.254.0.0/16", "169.254.7.7"), ("10.7.0.0/24", "10.7.0.9")],
)
def test_a_local_network_is_opened_by_its_exact_name(network: str, address: str) -> None:
    rules = _rules(OUTBOUND_ALLOW=network)
    # An interface may have a part of the range.
    own = [ip_network("10.7.0.0/24"), ip_network("169.254.7.0/24"), ip_network("127.0.0.0/8")]
    assert _why(rules, address, own=own) is None
    assert _why(_rules(OUTBOUND_ALLOW=network, OUTBOUND_DENY=address), address, own=own) == "denied by the operator"


def test_the_old_switch_allows_every_address() -> None:
    rules = _rules(WEBHOOK_ALLOW_PRIVATE="1")
    assert _why(rules, "127.0.0.1", own=[ip_network("127.0.0.0/8")]) is None
    for address in (*LOCAL, "10.0.0.1", "fd00::1", "224.0.0.1"):
        assert _why(rules, address, own=OWN) is None
    assert parse("http://localhost:1/", rules=rules).host == "localhost"
    denying = _rules(WEBHOOK_ALLOW_PRIVATE="1", OUTBOUND_DENY="169.254.169.254")
    assert _why(denying, "169.254.169.254") == "denied by the operator"


# RFC 6052, 2.4: 192.0.2.33 behind prefixes of every length; here it is 10.0.2.33.
@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("2600:db8::/32", "2600:db8:a00:221::"),
        ("2600:db8:100::/40", "2600:db8:10a:2:21::"),
        ("2600:db8:122::/48", "2600:db8:122:a00:2:2100::"),
        ("2600:db8:122:300::/56", "2600:db8:122:30a:0:221::"),
        ("2600:db8:122:344::/64", "2600:db8:122:344:a:2:2100::"),
        ("2600:db8:122:344::/96", "2600:db8:122:344::10.0.2.33"),
    ],
)
def test_the_operator_s_own_prefix_of_nat64_is_unwrapped(prefix: str, address: str) -> None:
    assert _why(PUBLIC, address) is None
    rules = _rules(OUTBOUND_NAT64=prefix)
    assert _why(rules, address) == "private"
    assert _why(rules, "2600:9000::1") is None
    assert _why(_rules(OUTBOUND_NAT64=prefix, OUTBOUND_ALLOW="10.0.2.33"), address) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OUTBOUND_ALLOW", "10.0.0.1/8"),
        ("OUTBOUND_ALLOW", "999.1.1.1"),
        ("OUTBOUND_ALLOW", "http://example.com"),
        ("OUTBOUND_DENY", "*"),
        ("OUTBOUND_DENY", "exa mple.com"),
        ("OUTBOUND_NAT64", "64:ff9b::/97"),
        ("OUTBOUND_NAT64", "10.0.0.0/8"),
    ],
)
def test_an_invalid_destination_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^AVA_{name}: "):
        _rules(**{name: value})


def test_the_networks_of_all_interfaces_are_read_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def interfaces(*addresses: tuple[int, str, str | None]) -> None:
        found = [SimpleNamespace(family=family, address=address, netmask=mask) for family, address, mask in addresses]
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": found})

    v4, v6 = socket.AF_INET, socket.AF_INET6
    monkeypatch.setattr(own_networks_module, "_read_at", float("-inf"))
    interfaces(
        (v4, "203.0.113.7", "255.255.255.0"), (v6, "fe80::1%eth0", "ffff:ffff:ffff:ffff::"), (v6, "2600::7", None),
        (v4, "198.51.100.1", "0.0.0.0"), (-1, "00:00:5e:00:53:01", None),
    )  # fmt: skip
    expected = {"203.0.113.0/24", "fe80::/64", "2600::7/128", "198.51.100.1/32"}
    assert {str(network) for network in own_networks()} == expected
    interfaces((v4, "192.0.2.9", "255.255.255.255"))
    assert {str(network) for network in own_networks()} == expected, "it is not read for every call"
    monkeypatch.setattr(own_networks_module, "_read_at", float("-inf"))
    assert {str(network) for network in own_networks()} == {"192.0.2.9/32"}
