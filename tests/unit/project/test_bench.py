"""The parts of the bench that decide what its figures say."""

from __future__ import annotations

import socket
import threading

import pytest

from bench import load, table
from bench.stages import shares


def _serve(listener: socket.socket, responses: list[bytes], accepted: list[int]) -> None:
    connection: socket.socket | None = None
    for response in responses:
        if connection is None:
            connection, _ = listener.accept()
            accepted.append(1)
        connection.recv(65_536)
        connection.sendall(response)
        if b"close" in response:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()


@pytest.mark.parametrize(("field", "connections"), [(b"", 1), (b"Connection: close\r\n", 3)])
def test_a_load_connects_again_if_the_server_closes_the_connection(field: bytes, connections: int) -> None:
    response = b"HTTP/1.1 202 Accepted\r\n" + field + b"Content-Length: 2\r\n\r\n{}"
    accepted: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, [response] * 3, accepted))
        server.start()
        request = load.post("/", b"{}", {})
        found = load.generate(listener.getsockname()[1], lambda _: request, requests=3, connections=1)
        server.join(10)
    assert found.refused == 0
    assert len(accepted) == connections


def test_a_sample_belongs_to_the_stage_of_its_innermost_frame() -> None:
    request = "run (gunicorn/workers/x.py:1);view (flask/app.py:2);trigger (ava/services/jobs.py:3)"
    stacks = (
        f"{request};execute (ava/store/engine/database.py:4);wait (gevent/hub.py:5) 3\n"
        f"{request};publish (ava/broker/publisher.py:6);send (redis/connection.py:7) 2\n"
        f"{request} 1\n"
        "loop (gevent/hub.py:8) 2\n"
        "write (ava/services/audit.py:9);execute (ava/store/engine/database.py:4) 2"
    )
    assert shares(stacks) == {
        "the statement that stores the jobs": 30,
        "publishing": 20,
        "the event loop": 20,
        "the audit entries": 20,
        "sharing statements: quotas, rules, groups": 10,
    }


def test_a_bound_of_a_ratio_is_kept_or_missed() -> None:
    promise = table.Promise(least=3)
    assert [promise.holds(1, ratio) for ratio in (3.0, 2.9, None)] == [True, False, None]


def test_the_table_says_why_a_peer_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    results = table.Table(is_stored=False)
    results.note("drain, beside a peer", "it is not measured: no wheel")
    results.show()
    assert "| drain, beside a peer | it is not measured: no wheel |" in capsys.readouterr().out
