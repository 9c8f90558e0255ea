"""Check the form of a URL to call. Needs no DNS lookup, so that a client's invalid URL is refused immediately.

The address behind the host name is checked on connecting (`ava.outbound.guarded_socket`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NoReturn
from urllib.parse import quote

from ava.domain.outbound.addresses import Address
from ava.domain.outbound.outbound_rules import ANY, PUBLIC, OutboundRules
from ava.errors import AddressRefused, UrlRefused

MAX_URL_CHARS = 8_000

_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?")
# Parsers disagree on white space and control characters: some drop them, some split a header there.
_NEVER_IN_A_URL = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# A part of an address for `inet_aton`: 127, 0x7f, 0177.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa")
# The characters of a path or query that are sent unchanged; all others are percent-encoded as UTF-8.
_UNQUOTED = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The parts of a URL. Only `origin` may be shown, because paths and queries may carry secrets."""

    scheme: str
    #: A lower-case name without a final dot, or an address without brackets.
    host: str
    port: int
    #: Path and query in ASCII, as in the request line.
    path: str
    address: Address | None

    @property
    def authority(self) -> str:
        """Return the `Host` header: the host, with the port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


def parse(url: object, *, rules: OutboundRules = PUBLIC) -> Target:
    """Parse a URL.

    Raise `UrlRefused` unless it is a plain http(s) URL, and `AddressRefused` for a host that can only be private,
    unless the rules allow it. Messages contain no more of the URL than its scheme and host.
    """
    return _parse(_checked_string(url), rules)


# Cached, because the same endpoints are called repeatedly, and the result depends on the arguments only.
@lru_cache(maxsize=1_000)
def _parse(url: str, rules: OutboundRules) -> Target:
    match = _URL.fullmatch(url)
    if match is None:
        raise UrlRefused("The URL has no scheme and host; it must look like https://example.com/path.")
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise UrlRefused("The URL must begin with http:// or https://.")
    host, port = _host_and_port(match["authority"])
    address = _address(host)
    target = Target(
        scheme=scheme,
        host=host if address is None else str(address),
        port=_DEFAULT_PORTS[scheme] if port is None else port,
        path=_request_path(match["path"], match["query"] or ""),
        address=address,
    )
    _refuse_private(target, rules)
    return target


def origin_of(url: str) -> str:
    """Return the scheme and host, which may be shown, of a URL that was accepted before."""
    return _parse(url, ANY).origin


def refuse_address(target: Target, why: str) -> NoReturn:
    """Raise `AddressRefused` with the kind of the address; the address itself would reveal the network."""
    raise AddressRefused(
        f"{target.origin} was not called: its address is {why}, and only public addresses may be called. "
        "Use a public address. An operator can allow others by address or network with AVA_OUTBOUND_ALLOW, or all of "
        "them for development with AVA_WEBHOOK_ALLOW_PRIVATE=1."
    )


def _checked_string(url: object) -> str:
    if not isinstance(url, str) or not url:
        raise UrlRefused("The URL must be a string such as https://example.com/path.")
    if len(url) > MAX_URL_CHARS:
        raise UrlRefused(f"The URL is longer than {MAX_URL_CHARS} characters; send long values in the body.")
    if _NEVER_IN_A_URL.search(url):
        raise UrlRefused("The URL contains white space, a control character or a backslash; percent-encode it.")
    return url


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise UrlRefused("The URL carries a user name or password; send credentials in a header instead.")
    bracketed = _BRACKETED.fullmatch(authority)
    if bracketed and "%" in bracketed[1]:
        raise UrlRefused(
            "The address in the URL has a zone (%eth0), which is valid on one machine only; remove the zone."
        )
    if bracketed:
        return f"[{bracketed[1]}]", _port(bracketed[2])
    host, colon, port = authority.partition(":")
    return _name(host), _port(port if colon else None)


def _port(string: str | None) -> int | None:
    if string is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", string) or not 1 <= int(string) <= 65_535:
        raise UrlRefused("The port in the URL must be a number from 1 to 65535.")
    return int(string)


def _name(host: str) -> str:
    if not host.isascii():
        # Several standards convert such a name to ASCII, and their results may have different owners (straße, strasse).
        raise UrlRefused("The host in the URL is not ASCII; write the name in its xn-- form.")
    name = host.lower().removesuffix(".")
    if not 0 < len(name) <= 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise UrlRefused("The host in the URL is not a valid name; it must look like example.com.")
    return name


def _address(host: str) -> Address | None:
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
            return IPv4Address(host)
    except AddressValueError:
        # Programs disagree whether 127.1, 0x7f000001 and 0177.0.0.1 are addresses or names.
        raise UrlRefused(
            "The address in the URL must be four decimal numbers such as 192.0.2.1, or an IPv6 address in brackets."
        ) from None
    return None


def _request_path(path: str, query: str) -> str:
    try:
        return quote((path or "/") + query, safe=_UNQUOTED)
    except UnicodeEncodeError:
        raise UrlRefused("The URL contains a lone surrogate (half of a character); percent-encode it.") from None


def _refuse_private(target: Target, rules: OutboundRules) -> None:
    why = None
    if target.address is not None:
        why = rules.why_refused(target.host, target.address)
    elif rules.denied.has_host(target.host) or "." not in target.host or target.host.endswith(_PRIVATE_SUFFIXES):
        why = rules.why_name_refused(target.host)
    if why:
        refuse_address(target, why)
