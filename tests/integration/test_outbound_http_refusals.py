"""What the guarded HTTP client refuses, always without a connection."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ava.domain.outbound.outbound_rules import ANY
from ava.errors import AddressRefused, HeaderRefused, OutboundFailed, UrlRefused
from ava.outbound import guarded_socket
from ava.outbound.http import Limits, send
from harness.servers.peer import Serve, answering, name_server, ok
from tests.integration.hostile_urls import HOSTILE_URLS

LOCAL = Limits(rules=ANY, connect_timeout_seconds=2, exchange_timeout_seconds=2)
PUBLIC_ONLY = Limits(connect_timeout_seconds=2, exchange_timeout_seconds=2)

# An audit hook records every connection of this process. It cannot be removed again.
_connects: list[Any] = []
_watching = threading.Event()


def _record(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watching.is_set():
        _connects.append(args[1])
        # If the guard failed, the test itself must not call a metadata service.
        raise ConnectionAbortedError("the test allows no connection")


sys.addaudithook(_record)


@contextmanager
def no_connection() -> Iterator[None]:
    """Asserts that the block makes no connection."""
    _connects.clear()
    _watching.set()
    try:
        yield
    finally:
        _watching.clear()
    assert _connects == []


def test_the_audit_hook_records_a_connection(serve: Serve) -> None:
    peer = serve(answering(ok(b"")))
    with pytest.raises(OutboundFailed), no_connection():
        send("GET", peer.url, limits=LOCAL)
    assert _connects == [("127.0.0.1", peer.port)]


def test_a_hostile_url_is_refused_without_a_connection(serve: Serve) -> None:
    target = serve(answering(ok(b"secret")))
    for url in HOSTILE_URLS:
        with no_connection(), pytest.raises((UrlRefused, AddressRefused)):
            send("GET", url.replace("{port}", str(target.port)), limits=PUBLIC_ONLY)
        assert target.connections == 0, url


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["8.8.8.8", "2606:4700::1111", "64:ff9b::7f00:1"],
        ["169.254.169.254"],
        ["0.0.0.0"],
        ["fe80::1%lo"],
    ],
)
def test_a_public_name_with_a_private_address_is_refused_without_a_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    target = serve(answering(ok(b"secret")))
    name_server(monkeypatch, addresses)
    with no_connection(), pytest.raises(AddressRefused) as refusal:
        send("GET", f"http://rebind.example.com:{target.port}/hunter2", limits=PUBLIC_ONLY)
    assert target.connections == 0
    assert not any(address in str(refusal.value) for address in [*addresses, "hunter2"])


def test_a_name_is_resolved_once_so_that_dns_rebinding_fails(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    target = serve(answering(ok(b"secret")))
    # Documentation ranges such as 192.0.2.0/24 are refused, so the first answer must be public.
    asked = name_server(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    connected_to: list[str] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        connected_to.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("ava.outbound.guarded_socket._PlainSocket.connect", connect, raising=False)
    with pytest.raises(OutboundFailed):
        send("GET", f"http://rebind.example.com:{target.port}/", limits=PUBLIC_ONLY)
    assert asked == ["rebind.example.com"]
    assert connected_to == ["8.8.8.8"]
    assert target.connections == 0


def test_a_redirect_to_a_private_address_is_not_followed(serve: Serve) -> None:
    target = serve(answering(ok(b"secret")))
    peer = serve(answering(f"HTTP/1.1 307 X\r\nLocation: {target.url}/\r\nContent-Length: 0\r\n\r\n".encode()))
    assert send("POST", peer.url, body=b"x", limits=LOCAL).status == 307
    assert target.connections == 0


@pytest.mark.parametrize(
    "method", ["", "GET /x HTTP/1.1\r\nX: y\r\n\r\nGET", "G T", "CONNECT", "connect", "GÉT", "A" * 999]
)
def test_an_invalid_method_is_refused_without_a_connection(serve: Serve, method: str) -> None:
    peer = serve(answering(ok(b"")))
    with no_connection(), pytest.raises(HeaderRefused):
        send(method, peer.url, limits=LOCAL)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nX-Injected: hunter2"},
        {"X-A": "b\nhunter2"},
        {"X-A": "hunter2\x00"},
        {"X-A": "hunter2\u20ac"},
        {"X-A\r\nX-B": "c"},
        {"X A": "b"},
        {"": "b"},
        {"X-A:": "b"},
        {"Host": "internal.example.com"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "keep-alive, x-a"},
        {"Proxy-Authorization": "hunter2"},
        {f"X-{n}": "" for n in range(101)},
        {"X-A": "hunter2" * 100_000},
    ],
    ids=lambda headers: ascii(headers)[:40],
)
def test_an_invalid_header_is_refused_without_a_connection(serve: Serve, headers: dict[str, str]) -> None:
    peer = serve(answering(ok(b"")))
    with no_connection(), pytest.raises(HeaderRefused) as refusal:
        send("GET", peer.url, headers=headers, limits=LOCAL)
    assert "hunter2" not in str(refusal.value)


def test_a_public_address_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name_server(monkeypatch, ["203.0.112.200"])
    interface = SimpleNamespace(family=socket.AF_INET, address="203.0.112.9", netmask="255.255.255.0")
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [interface]})
    monkeypatch.setattr(guarded_socket, "_read_at", float("-inf"))
    with pytest.raises(AddressRefused, match="of this machine or its network"):
        send("GET", "http://example.com/")
    monkeypatch.setattr(guarded_socket, "_read_at", float("-inf"))
