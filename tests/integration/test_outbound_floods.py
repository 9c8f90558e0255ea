"""The guarded HTTP client against servers that send without end around a small answer."""

from __future__ import annotations

import gzip
import socket

import pytest

from ava.domain.outbound.outbound_rules import ANY
from ava.errors import OutboundFailed
from ava.outbound.http import Limits, send
from harness.servers.peer import Serve, answering, read_request

LOCAL = Limits(rules=ANY, connect_timeout_seconds=2, exchange_timeout_seconds=2)

_EMPTY_MEMBER = gzip.compress(b"")
_HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (_HEAD + b"Content-Encoding: gzip\r\n\r\n", _EMPTY_MEMBER * 1_000),
        (_HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"a"), b"padding " * 4_000),
        (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000 + b"\r\na\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    ],
    ids=["empty members of gzip", "padding of gzip", "extensions of chunks", "informational responses"],
)
def test_a_server_that_sends_without_end_around_its_answer_is_cut_off(serve: Serve, head: bytes, piece: bytes) -> None:
    sent = [0]

    def flood(sock: socket.socket) -> None:
        read_request(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        sock.sendall(head)
        while True:
            sock.sendall(piece)
            sent[0] += len(piece)

    with pytest.raises(OutboundFailed):
        send("GET", serve(flood).url, limits=LOCAL)
    # What was received is at most 768 KiB; the rest waits in the buffers of both sockets.
    assert sent[0] < 8 * 2**20


def test_a_body_in_many_small_chunks_is_whole(serve: Serve) -> None:
    chunks = b"".join(b"1\r\na\r\n" for _ in range(60_000))
    response = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert send("GET", serve(answering(response)).url, limits=LOCAL).body == b"a" * 60_000
