"""Bodies that never come, under gunicorn: what they may hold, and the health checks beside them."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from ava.domain.limits import table as limits
from ava.local.start import free_port
from harness.api import HEADERS, JOBS
from harness.system import System

on_redis = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)

WORKER = (
    "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
    " VALUES ('wkr_open', 'Open', 300, 0, 10, 'default', 'requeue')"
)


def _status_at(port: int, path: str, *, seconds: float) -> int:
    """Returns the status of a path at a port of this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return int(connection.recv(65536).split()[1])


def _request(system: System, tenant: str, body: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
    """Returns a connection that has sent a trigger of 100 bytes, or without a body its head alone."""
    connection = socket.create_connection(("127.0.0.1", system.port), timeout=20, source_address=(address, 0))
    headers = HEADERS | {"x-tenant-id": tenant, "content-type": "application/json", "content-length": "100"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"POST {JOBS} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
    return connection


def _answer(connection: socket.socket) -> int:
    """Returns the status of the next response."""
    return int(connection.recv(65536).split()[1])


def _refusal(connection: socket.socket) -> str:
    """Returns the message of the refusal of a held body."""
    received = b""
    while not received.endswith(b"}\n") and (piece := connection.recv(65536)):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429"), head
    assert b"Retry-After: 1" in head
    message: str = json.loads(body)["error"]["message"]
    return message


@on_redis
def test_bodies_that_never_come_are_limited_by_tenant_by_address_and_in_all(system: System) -> None:
    system.api_processes = 1
    system.start_api()
    system.query(WORKER)
    most = limits.TENANT_PENDING_BODIES.value
    with contextlib.ExitStack() as stack:

        def hold(tenant: str, address: str = "127.0.0.1") -> socket.socket:
            return stack.enter_context(_request(system, tenant, address=address))

        first = hold("ten_z", "127.0.0.2")
        for tenant in ("ten_a", "ten_b", "ten_c", "ten_d"):
            for _ in range(most):
                hold(tenant)
            # The requests of a tenant begin in their order, so the others are held by now.
            assert _refusal(hold(tenant)).endswith("(limit tenant_pending_bodies)")
            # No other request waits for them.
            assert system.get("/livez").status_code == 200
        # A body that comes is served, and leaves its place to another.
        body = b'{"worker_id":"wkr_open"}'.ljust(100)
        first.sendall(body)
        assert _answer(first) == 201
        for _ in range(most):
            hold("ten_e", "127.0.0.2")
        assert _refusal(hold("ten_e", "127.0.0.2")).endswith("(limit tenant_pending_bodies)")
        assert _refusal(hold("ten_f")).endswith("(limit address_pending_bodies)")
        assert _refusal(hold("ten_f", "127.0.0.3")).endswith("(limit pending_bodies)")
        # A body that comes with its request is served nevertheless.
        with _request(system, "ten_f", body) as complete:
            assert _answer(complete) == 201
        assert system.get("/livez").status_code == 200


@on_redis
def test_a_health_check_has_a_port_of_its_own_on_which_nothing_else_is_served(system: System) -> None:
    port = free_port()
    environ = {"AVA_API_PROCESSES": "1", "AVA_HEALTH_PORT": str(port), "TEST_CONNECTIONS": "30"}
    arguments = ("api", "--host", "127.0.0.1", "--port", str(system.port))
    system.api = system.spawn(*arguments, environ=environ, module="tests.integration.small_api")
    system.await_api()
    responses = [_status_at(port, path, seconds=5) for path in ("/livez", "/readyz", "/metrics", JOBS, "/openapi.json")]
    assert responses[:2] == [200, 200]
    assert responses[3:] == [404, 404]
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(_request(system, "ten_a"))
        with pytest.raises(TimeoutError):
            _status_at(system.port, "/livez", seconds=1)
        assert _status_at(port, "/livez", seconds=5) == 200
