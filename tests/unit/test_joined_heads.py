"""The head of a response and what follows it are one send, and no head is held longer than its response."""

from __future__ import annotations

from typing import Any

import pytest

from ava.api.server.greenlet_worker import _ClientConnection

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"{}"


class _Socket:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)

    def sendfile(self, file: Any, **_: Any) -> None:
        self.sent.append(file)


@pytest.fixture
def sock() -> _Socket:
    return _Socket()


def test_a_head_and_its_body_are_one_send(sock: _Socket) -> None:
    connection = _ClientConnection(sock, idle_seconds=1)
    for _ in range(2):
        with connection.buffered_head():
            connection.sendall(HEAD)
            connection.sendall(BODY)
            connection.sendall(BODY)
    assert sock.sent == [HEAD + BODY, BODY] * 2


def test_a_head_without_a_body_is_sent_at_the_end_of_its_request(sock: _Socket) -> None:
    connection = _ClientConnection(sock, idle_seconds=1)
    with connection.buffered_head():
        connection.sendall(HEAD)
        assert sock.sent == []
    assert sock.sent == [HEAD]


def test_a_long_body_and_a_file_are_not_copied(sock: _Socket) -> None:
    connection, long = _ClientConnection(sock, idle_seconds=1), b"x" * 2**20
    with connection.buffered_head():
        connection.sendall(HEAD)
        connection.sendall(long)
    with connection.buffered_head():
        connection.sendall(HEAD)
        connection.sendfile(b"a file", offset=0, count=6)
    assert sock.sent == [HEAD, long, HEAD, b"a file"]


def test_a_refusal_after_a_request_that_has_failed_is_sent_at_once(sock: _Socket) -> None:
    connection = _ClientConnection(sock, idle_seconds=1)
    with pytest.raises(ZeroDivisionError), connection.buffered_head():
        raise ZeroDivisionError
    connection.sendall(HEAD)
    assert sock.sent == [HEAD]
