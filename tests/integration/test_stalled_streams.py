"""Long responses whose client does not read, or leaves: what the API holds for them, and what it logs."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

import pytest

from harness.api import HEADERS
from harness.polling import wait_until
from harness.system import System

WORKER = (
    "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
    " VALUES ('wkr_open', 'Open', 300, 0, 10, 'default', 'requeue')"
)
#: 20 MB of log.
LINES = """
INSERT INTO job_logs SELECT tenant_id, id, n, ARRAY[now()], 'i', ARRAY[repeat('x', 1000)]
FROM jobs, generate_series(1, 20000) AS n
"""
#: 30 MB of jobs.
COPIES = """
INSERT INTO jobs (tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, max_attempts)
SELECT tenant_id, worker_id, status, trigger, priority, queue, input, triggered_by, max_attempts
FROM jobs, generate_series(1, 300)
"""


@pytest.mark.parametrize(
    ("read_first", "least", "most"), [(0, 2**13, 80_000), (500_000, 50_000, 200_000)], ids=["never", "no more"]
)
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_of_a_stream_that_is_not_read_little_leaves_the_api(
    system: System, read_first: int, least: int, most: int
) -> None:
    system.api_processes = 1
    api = system.start_api()
    system.query(WORKER)
    job = system.trigger("wkr_open")
    system.query(LINES)
    fields = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", system.port))
        client.sendall(f"GET /v1/ava/jobs/{job['id']}/stream HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        while read_first > 0:
            read_first -= len(client.recv(2**16))
        (process,) = api.children
        wait_until(lambda: len(client.recv(2**16, socket.MSG_PEEK)) > 1000, what="the API sends the log")
        waits: list[float] = []
        # It is stalled once the API reads nothing more, whatever it had to send before.
        wait_until(lambda: _rests(waits, sum(process.cpu_times()[:2])), what="the API sends nothing more")
        os.kill(process.pid, signal.SIGSTOP)
        try:
            received = _receive_all(client)
        finally:
            os.kill(process.pid, signal.SIGCONT)
    assert least < received < most


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_client_that_leaves_a_download_or_an_export_leaves_no_traceback(system: System) -> None:
    api = system.start_api()
    system.query(WORKER)
    job = system.trigger("wkr_open", input={"text": "x" * 100_000})
    system.query(LINES)
    system.query(COPIES)
    fields = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    for path in (f"{job['id']}/logs/download", "export"):
        with socket.create_connection(("127.0.0.1", system.port), timeout=30) as client:
            client.sendall(f"GET /v1/ava/jobs/{path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
            # The API can still write, so that it is the one who finds that the client has left.
            client.shutdown(socket.SHUT_WR)
            assert client.recv(2**16).startswith(b"HTTP/1.1 200")
            assert not _read_to_the_end(client).endswith(b"0\r\n\r\n")
    assert "Traceback" not in api.output


def _read_to_the_end(client: socket.socket) -> bytes:
    end = b""
    while piece := client.recv(2**16):
        end = (end + piece)[-16:]
    return end


def _rests(seen: list[float], cpu_seconds: float) -> bool:
    """Returns True once the processor time has hardly grown during the last ten looks."""
    seen.append(cpu_seconds)
    return len(seen) > 10 and cpu_seconds - seen[-10] < 0.02


def _receive_all(client: socket.socket) -> int:
    """Returns the bytes that are on their way."""
    received = 0
    client.settimeout(1.0)
    with suppress(TimeoutError):
        while piece := client.recv(2**16):
            received += len(piece)
    return received
