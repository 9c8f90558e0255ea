"""The guarded HTTP client against real servers on this machine: responses, limits, time, failures, TLS."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ava import JobCancelled
from ava.domain.outbound.outbound_rules import ANY
from ava.errors import OutboundError, OutboundFailed, OutboundTimeout
from ava.outbound.http import Limits, open_stream, send
from harness.polling import wait_until
from harness.servers.certificates import AUTHORITY, SERVER
from harness.servers.peer import Serve, answering, name_server, ok, read_request

#: Seconds in which a call that times out has ended on a busy machine too; a server here stays silent for a minute.
_LONG_SECONDS = 20
LOCAL = Limits(rules=ANY, connect_timeout_seconds=2, exchange_timeout_seconds=2)


# An ordinary call --------------------------------------------------------------------------------------------------


def test_a_call_returns_status_headers_and_body(serve: Serve) -> None:
    received: list[bytes] = []
    peer = serve(answering(ok(b"hello", "X-Thing: a", "x-thing:  b ", "Content-Type: text/plain"), seen=received))
    response = send("post", f"{peer.url}/a/ü?b=c", headers={"X-Key": "k"}, body=b"payload", limits=LOCAL)
    assert (response.status, response.body, response.truncated) == (200, b"hello", False)
    assert response.headers["x-thing"] == "a, b"
    assert 0 <= response.elapsed_ms < 2000
    head, _, body = received[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a/%C3%BC?b=c HTTP/1.1"
    assert {f"Host: 127.0.0.1:{peer.port}", "X-Key: k", "Content-Length: 7", "Accept-Encoding: gzip"} <= set(lines)
    assert body == b"payload"


def test_a_header_of_the_caller_replaces_our_default(serve: Serve) -> None:
    received: list[bytes] = []
    peer = serve(answering(ok(b""), seen=received))
    send("GET", peer.url, headers={"user-agent": "mine", "ACCEPT-ENCODING": "identity"}, limits=LOCAL)
    assert received[0].lower().count(b"user-agent:") == received[0].lower().count(b"accept-encoding:") == 1
    assert b"User-Agent: mine" in received[0]


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 308, 404, 500])
def test_every_status_is_a_response_and_no_redirect_is_followed(serve: Serve, status: int) -> None:
    elsewhere = serve(answering(ok(b"secret")))
    peer = serve(answering(f"HTTP/1.1 {status} X\r\nLocation: {elsewhere.url}/\r\nContent-Length: 0\r\n\r\n".encode()))
    response = send("GET", peer.url, limits=LOCAL)
    assert (response.status, response.body) == (status, b"")
    assert elsewhere.connections == 0


def test_the_body_of_a_redirect_is_limited_like_any_other(serve: Serve) -> None:
    sent = 0

    def talk(sock: socket.socket) -> None:
        nonlocal sent
        read_request(sock)
        sock.sendall(b"HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            sock.sendall(bytes(100_000))
            sent += 100_000

    response = send("GET", serve(talk).url, limits=LOCAL)
    assert (response.status, len(response.body), response.truncated) == (302, 65_536, True)
    assert sent < 20_000_000


def test_a_head_request_waits_for_no_body(serve: Serve) -> None:
    response = send("HEAD", serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")).url, limits=LOCAL)
    assert (response.status, response.body, response.headers["content-length"]) == (200, b"", "99")


@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_a_response_up_to_the_limit_is_whole(serve: Serve, size: int) -> None:
    response = send("GET", serve(answering(ok(b"x" * size))).url, limits=Limits(rules=ANY, max_response_bytes=1000))
    assert (len(response.body), response.truncated) == (size, False)


def test_a_response_beyond_the_limit_is_marked_truncated(serve: Serve) -> None:
    response = send("GET", serve(answering(ok(b"x" * 1001))).url, limits=Limits(rules=ANY, max_response_bytes=1000))
    assert (len(response.body), response.truncated) == (1000, True)


def test_chunks_and_gzip_are_decoded_and_limited_after_decoding(serve: Serve) -> None:
    packed = gzip.compress(bytes(10_000_000))
    frame = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    peer = serve(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n" + frame))
    assert len(send("GET", peer.url, limits=Limits(rules=ANY, max_response_bytes=10_000_000)).body) == 10_000_000
    assert send("GET", peer.url, limits=LOCAL).truncated


def test_a_stream_is_read_while_it_is_received(serve: Serve) -> None:
    may_end = threading.Event()

    def talk(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(65_536))
        may_end.wait(60)
        sock.sendall(b"end")

    with open_stream("GET", serve(talk).url, limits=Limits(rules=ANY, max_response_bytes=10**9)) as stream:
        chunks = stream.chunks()
        assert len(next(chunks)) == 65_536
        may_end.set()
        assert b"".join(chunks) == b"end"


def test_an_early_response_counts_although_the_body_was_not_read(serve: Serve) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65_536):
            pass

    assert send("POST", serve(talk).url, body=bytes(5_000_000), limits=LOCAL).status == 413


def test_proxies_and_passwords_of_the_environment_are_ignored(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = serve(answering(ok(b"from the proxy")))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    received: list[bytes] = []
    assert send("GET", serve(answering(ok(b"direct"), seen=received)).url, limits=LOCAL).body == b"direct"
    assert b"authorization" not in received[0].lower()
    assert proxy.connections == 0


# Time --------------------------------------------------------------------------------------------------------------


def dripping(first: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    def talk(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(first)
        while True:
            sock.sendall(drop)
            time.sleep(0.02)

    return talk


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["in a header", "in the body", "chunk by chunk", "in a chunk's size", "in the trailers", "continue for ever"],
)
def test_a_server_that_sends_slowly_times_out(serve: Serve, first: bytes, drop: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(OutboundTimeout, match=r"did not .* within 0\.4 s"):
        send("GET", serve(dripping(first, drop)).url, limits=Limits(rules=ANY, exchange_timeout_seconds=0.4))
    assert time.monotonic() - start < _LONG_SECONDS


def test_a_server_that_does_not_read_times_out(serve: Serve) -> None:
    done = threading.Event()
    peer = serve(lambda sock: bool(done.wait(60)) and None)
    start = time.monotonic()
    with pytest.raises(OutboundTimeout):
        send("POST", peer.url, body=bytes(50_000_000), limits=Limits(rules=ANY, exchange_timeout_seconds=0.4))
    assert time.monotonic() - start < _LONG_SECONDS
    done.set()


def test_a_silent_server_times_out_before_the_deadline(serve: Serve) -> None:
    done = threading.Event()
    peer = serve(lambda sock: bool(done.wait(60)) and None)
    limits = Limits(rules=ANY, exchange_timeout_seconds=60, silence_timeout_seconds=0.3)
    start = time.monotonic()
    with pytest.raises(OutboundTimeout):
        send("GET", peer.url, limits=limits)
    assert time.monotonic() - start < _LONG_SECONDS
    done.set()


def test_a_tls_handshake_without_end_times_out(serve: Serve) -> None:
    def talk(sock: socket.socket) -> None:
        while True:
            sock.sendall(b"\x16")
            time.sleep(0.02)

    start = time.monotonic()
    with pytest.raises(OutboundError):
        send("GET", f"https://127.0.0.1:{serve(talk).port}/", limits=LOCAL)
    done = threading.Event()
    quiet = serve(lambda sock: bool(done.wait(60)) and None)
    with pytest.raises(OutboundTimeout, match=r"did not accept a connection within 0\.4 s"):
        send("GET", f"https://127.0.0.1:{quiet.port}/", limits=Limits(rules=ANY, connect_timeout_seconds=0.4))
    assert time.monotonic() - start < _LONG_SECONDS
    done.set()


def test_a_name_lookup_without_a_response_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: done.wait(60) and [])
    start = time.monotonic()
    with pytest.raises(OutboundTimeout, match=r"within 0\.3 s"):
        send("GET", "http://slow.example.com/", limits=Limits(connect_timeout_seconds=0.3))
    assert time.monotonic() - start < _LONG_SECONDS
    done.set()


# Failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"abc" * 99, mtime=0)[:-9],
    ],
)
def test_a_response_that_breaks_off_or_is_not_http_fails_with_a_clear_error(serve: Serve, response: bytes) -> None:
    with pytest.raises(OutboundFailed, match="could not be called") as failure:
        send("GET", f"{serve(answering(response)).url}/hunter2", limits=LOCAL)
    assert "hunter2" not in str(failure.value)


def test_a_closed_port_fails_with_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OutboundFailed, match=f"http://127.0.0.1:{port} could not be called: it refuses connections"):
        send("GET", f"http://127.0.0.1:{port}/hunter2", limits=LOCAL)


def test_an_unknown_name_fails_with_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(OutboundFailed, match="its name was not found"):
        send("GET", "http://no-such-name.example.com/", limits=Limits())


def test_a_name_without_an_address_fails_with_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])
    with pytest.raises(OutboundFailed, match="its name was not found"):
        send("GET", "http://empty.example.com/", limits=Limits())


def test_the_next_address_is_tried_if_the_first_does_not_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = serve(answering(ok(b"here")))
    name_server(monkeypatch, ["::1", "127.0.0.1"])
    assert send("GET", f"http://two.example.com:{peer.port}/", limits=LOCAL).body == b"here"


def test_the_connection_is_closed_when_the_caller_raises(serve: Serve) -> None:
    ended: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100_000))
        try:
            ended.append(sock.recv(1))
        except ConnectionResetError:
            ended.append(b"")

    peer = serve(talk)

    def read_and_raise() -> None:
        with open_stream("GET", peer.url, limits=LOCAL) as stream:
            next(stream.chunks())
            raise JobCancelled

    with pytest.raises(JobCancelled):
        read_and_raise()
    wait_until(lambda: ended, what="the server sees the end")
    assert ended == [b""]


# TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_port(serve: Serve, tmp_path: Path) -> int:
    """A TLS server with a certificate for hooks.example.com. It responds with the name that the client requested."""
    (tmp_path / "server.pem").write_text(SERVER)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    names: dict[int, str | None] = {}

    def on_name(sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        names[0] = name

    context.sni_callback = on_name

    def talk(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            host = next(line for line in read_request(wrapped).split(b"\r\n") if line.startswith(b"Host:"))
            wrapped.sendall(ok(f"{names[0]} {host.decode()}".encode()))

    return serve(talk).port


@pytest.fixture
def our_authority() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY)


def test_tls_sends_and_verifies_the_name_not_the_address(
    tls_port: int, our_authority: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, ["127.0.0.1"])
    response = send("GET", f"https://hooks.example.com:{tls_port}/", limits=LOCAL, tls=our_authority)
    assert response.body.decode() == f"hooks.example.com Host: hooks.example.com:{tls_port}"


def test_a_certificate_for_another_name_is_refused(
    tls_port: int, our_authority: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, ["127.0.0.1"])
    for host in ("other.example.com", "127.0.0.1"):
        with pytest.raises(OutboundFailed, match="certificate was not accepted"):
            send("GET", f"https://{host}:{tls_port}/", limits=LOCAL, tls=our_authority)


def test_a_certificate_of_an_unknown_authority_is_refused(tls_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name_server(monkeypatch, ["127.0.0.1"])
    with pytest.raises(OutboundFailed, match="certificate was not accepted"):
        send("GET", f"https://hooks.example.com:{tls_port}/", limits=LOCAL)


def test_https_to_a_plain_port_fails_with_a_clear_error(serve: Serve) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 400 Bad request\r\n\r\n")

    with pytest.raises(OutboundFailed, match="check that the port speaks https"):
        send("GET", f"https://127.0.0.1:{serve(talk).port}/", limits=LOCAL)
