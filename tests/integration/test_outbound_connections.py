"""Idle connections: reused, never trusted without a check, and replaced when they are dead."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ava.domain.outbound.outbound_rules import ANY
from ava.errors import AddressRefused, OutboundFailed, OutboundTimeout
from ava.outbound import connections as outbound_connections
from ava.outbound.connections import Connections
from ava.outbound.http import HttpResponse, Limits
from harness.servers.certificates import AUTHORITY, SERVER
from harness.servers.peer import Peer, Serve, name_server, ok, read_request, serve

__all__ = ["serve"]

LOCAL = Limits(rules=ANY, connect_timeout_seconds=2, exchange_timeout_seconds=1, max_response_bytes=1000)


@pytest.fixture
def connections() -> Iterator[Connections]:
    connections = Connections(LOCAL)
    yield connections
    connections.close()


def _post(connections: Connections, url: str, owner: str = "wh_a", body: bytes = b"{}") -> HttpResponse:
    return connections.send("POST", url, owner=owner, headers={}, body=body)


def _replying(*answers: bytes, received: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    """A server that gives these answers on each connection, one a request, and then closes it."""

    def talk(sock: socket.socket) -> None:
        for answer in answers:
            request = read_request(sock)
            if received is not None:
                received.append(request)
            sock.sendall(answer)

    return talk


def test_one_connection_carries_many_calls(serve: Serve, connections: Connections) -> None:
    received: list[bytes] = []
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n"
    none = b"HTTP/1.1 204 No Content\r\n\r\n"
    peer = serve(
        _replying(ok(b"one"), b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\ntwo", chunked, none, received=received)
    )
    bodies = [_post(connections, f"{peer.url}/{n}", body=b"x" * n).body for n in range(4)]
    assert bodies == [b"one", b"two", b"three", b""]
    assert peer.connections == 1
    assert all(b"Connection: keep-alive\r\n" in request for request in received)
    assert [request.split(b" ")[1] for request in received] == [b"/0", b"/1", b"/2", b"/3"]


@pytest.mark.parametrize(
    "answer",
    [ok(b"", "Connection: close"), b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", ok(bytes(1001))],
    ids=["close", "http-1.0", "cut"],
)
def test_a_connection_that_cannot_carry_another_call_is_closed(
    serve: Serve, connections: Connections, answer: bytes
) -> None:
    def talk(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)
        # A further call on this connection would get 418.
        if sock.recv(65_536):
            sock.sendall(b"HTTP/1.1 418 No\r\n\r\n")

    peer = serve(talk)
    assert [_post(connections, peer.url).status for _ in range(2)] == [200, 200]
    assert peer.connections == 2


def test_unsolicited_data_is_no_response(serve: Serve, connections: Connections) -> None:
    sent = threading.Event()

    def talk(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(ok(b"asked"))
        if not sent.is_set():
            sock.sendall(ok(b"smuggled"))
            sent.set()
            sock.recv(65_536)

    peer = serve(talk)
    assert _post(connections, peer.url).body == b"asked"
    sent.wait(5)
    time.sleep(0.05)
    assert _post(connections, peer.url).body == b"asked"


def test_no_two_owners_and_no_two_servers_share_a_connection(serve: Serve, connections: Connections) -> None:
    peers = [_many(serve), _many(serve)]
    for owner in ("wh_a", "wh_b", "wh_a"):
        for peer in peers:
            assert _post(connections, peer.url, owner=owner).status == 200
    assert [peer.connections for peer in peers] == [2, 2]


def _many(serve: Serve) -> Peer:
    """A peer that answers on any number of connections at the same time."""

    def answer(sock: socket.socket) -> None:
        with sock:
            while sock.recv(65_536):
                sock.sendall(ok(b""))

    return serve(lambda sock: threading.Thread(target=answer, args=(sock.dup(),), daemon=True).start())


def test_a_connection_closed_by_the_server_is_replaced(serve: Serve, connections: Connections) -> None:
    peer = serve(_replying(ok(b"")))
    for _ in range(3):
        assert _post(connections, peer.url).status == 200
    assert peer.connections == 3


def test_a_call_is_repeated_once_if_an_idle_connection_is_dead(serve: Serve, connections: Connections) -> None:
    received: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        received.append(read_request(sock))
        if len(received) == 1:
            sock.sendall(ok(b""))
            # The server closes without a response to the second call, which only fails on a new connection.
            received.append(read_request(sock))

    peer = serve(talk)
    _post(connections, peer.url)
    with pytest.raises(OutboundFailed):
        _post(connections, peer.url)
    assert (len(received), peer.connections) == (3, 2)


def test_a_call_is_not_repeated_after_a_partial_response(serve: Serve, connections: Connections) -> None:
    peer = serve(_replying(ok(b""), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))
    _post(connections, peer.url)
    with pytest.raises(OutboundFailed):
        _post(connections, peer.url)
    assert peer.connections == 1


def test_a_call_is_not_repeated_after_a_timeout(serve: Serve, connections: Connections) -> None:
    done, received = threading.Event(), []

    def talk(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(ok(b""))
        received.append(read_request(sock))
        done.wait(5)

    peer = serve(talk)
    _post(connections, peer.url)
    with pytest.raises(OutboundTimeout):
        _post(connections, peer.url)
    done.set()
    assert (len(received), peer.connections) == (1, 1)


def test_idle_and_old_connections_are_closed(
    serve: Serve, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        while data := sock.recv(65_536):
            sock.sendall(ok(b""))
        closed.append(data)

    peer = serve(talk)
    monkeypatch.setattr(outbound_connections, "_IDLE_SECONDS", 60.0)
    _post(connections, peer.url)
    connections.close_idle()
    assert closed == []
    monkeypatch.setattr(outbound_connections, "_IDLE_SECONDS", 0.0)
    connections.close_idle()
    assert connections._idle == {}
    assert connections._idle_count == 0
    # A busy connection is closed as well, in time, because its name may resolve to another address by now.
    monkeypatch.setattr(outbound_connections, "_MAX_AGE_SECONDS", 0.0)
    _post(connections, peer.url)
    _post(connections, peer.url)
    assert peer.connections == 3


def test_idle_connections_are_capped(serve: Serve, connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound_connections, "MAX_IDLE", 1)
    peer = _many(serve)
    for owner in ("wh_a", "wh_b", "wh_a", "wh_b"):
        _post(connections, peer.url, owner=owner)
    assert peer.connections == 3


def test_the_address_of_every_new_connection_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(Limits(connect_timeout_seconds=1))
    asked = name_server(monkeypatch, ["127.0.0.1"])
    for _ in range(2):
        with pytest.raises(AddressRefused):
            _post(connections, "http://hooks.example.com/")
    assert asked == ["hooks.example.com"] * 2


def test_a_tls_connection_is_reused(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server.pem").write_text(SERVER)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    talk = _replying(ok(b"one"), ok(b"two"))

    def talk_tls(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            talk(wrapped)

    peer = serve(talk_tls)
    name_server(monkeypatch, ["127.0.0.1"])
    connections = Connections(LOCAL, tls=ssl.create_default_context(cadata=AUTHORITY))
    url = f"https://hooks.example.com:{peer.port}/"
    assert [_post(connections, url).body for _ in range(3)] == [b"one", b"two", b"one"]
    assert peer.connections == 2
    connections.close()
