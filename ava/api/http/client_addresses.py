"""Addresses of clients and of this API, and a request's path in logs."""

from __future__ import annotations

import ipaddress
import re

from flask import Request, request

from ava.api.http.context import context
from ava.domain.access.tokens import without_secrets

#: Bits of the IPv6 network of one client.
_CLIENT_BITS = 64
#: Max characters of a path in a log line.
_LOGGED_CHARS = 200
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:\d{1,5})?")


def client_address() -> str:
    """Return the client's address; for IPv6 its /64 network, because one client controls all of it.

    For a peer in AVA_FORWARDED_ALLOW_IPS it is the last address in X-Forwarded-For, which that peer has added.
    """
    peer = request.remote_addr or ""
    trusted = context().settings.forwarded_allow_ips
    if peer in trusted or "*" in trusted:
        peer = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or peer
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer[:_CLIENT_BITS]
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _CLIENT_BITS), strict=False))


def public_url() -> str:
    """Return the base URL of this API: AVA_PUBLIC_URL, or the host that the request names."""
    settings = context().settings
    return settings.public_url or f"{request.scheme}://{request.headers.get('Host', '')}"


def docs_url() -> str:
    """Return the absolute URL of the explanation of errors.

    A configured path is resolved against AVA_PUBLIC_URL, or without it the request's host; it stays a path if that
    host is invalid.
    """
    settings = context().settings
    if not settings.docs_url.startswith("/"):
        return settings.docs_url
    if settings.public_url:
        return f"{settings.public_url}{settings.docs_url}"
    host = request.headers.get("Host", "")
    return f"{request.scheme}://{host}{settings.docs_url}" if _HOST.fullmatch(host) else settings.docs_url


def logged_path(asked: Request) -> str:
    """Return a request's path for a log line: truncated, in ASCII, without secret tokens."""
    return without_secrets(asked.path)[:_LOGGED_CHARS].encode("unicode_escape").decode()
