"""Detection of closed connections."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator

import pytest

from ava.api.routes.streams import _is_closed

#: A descriptor beyond the 1,024 that `select` supports.
_HIGH = 1_100


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2 * _HIGH), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("lowest", [3, _HIGH])
def test_a_client_is_gone_only_once_it_has_closed_its_connection(lowest: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, lowest)) as connection:
        connection.setblocking(False)
        assert connection.fileno() >= lowest
        assert not _is_closed(connection)
        theirs.send(b"GET")
        assert not _is_closed(connection)
        assert connection.recv(3) == b"GET"
        theirs.close()
        assert _is_closed(connection)
    assert _is_closed(connection)
