"""The API under gunicorn: real processes and sockets, and clients that break the rules."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from ava.local.start import free_port
from harness.api import HEADERS, JOBS
from harness.polling import wait_until
from harness.servers.postgres import Databases
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import System

on_redis = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)

HEAD = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


WORKER = (
    "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
    " VALUES ('wkr_open', 'Open', 300, 0, 10, 'default', 'requeue')"
)


@pytest.fixture(scope="module")
def shared(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that runs the API only, for all tests that leave it as it is."""
    with _databases.fresh(is_pooled=True) as url:
        system = System(tmp_path_factory.mktemp("api"), database_url=url, broker_url=fresh_redis_url(redis_server))
        try:
            system.start_api()
            system.query(WORKER)
            yield system
        finally:
            system.stop()
        system.assert_clean()


@pytest.fixture
def running(system: System) -> System:
    """A system that runs the API only, for one test."""
    system.api_processes = 2
    system.start_api()
    system.query(WORKER)
    return system


def _jobs(system: System) -> int:
    total: int = system.get(JOBS).json()["pagination"]["total"]
    return total


def _exchange(system: System, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and read until the server closes. Returns the last response's status, headers and body."""
    with socket.create_connection(("127.0.0.1", system.port), timeout=20) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


INVALID_REQUESTS = [
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nbroken header\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n", 400),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 4_100 + b"\r\n\r\n", 431),
    # It does not end, and is refused at once nevertheless.
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9_000, 431),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * 40 + b"\r\n", 431),
    (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nope\r\n\r\n", 501),
]


def test_an_invalid_http_request_is_refused_in_the_contracts_form(shared: System) -> None:
    for sent, status in INVALID_REQUESTS:
        answered, headers, body = _exchange(shared, sent)
        error = json.loads(body)["error"]
        assert (answered, headers["content-type"]) == (status, "application/json"), sent
        assert error["request_id"] == headers["x-request-id"]
        assert error["message"]
        if status == 431:
            limit = "header_field_bytes" if b"aaa" in sent else "header_fields"
            assert error["message"].endswith(f"(limit {limit})"), sent


@pytest.fixture(scope="module")
def small(_databases: Databases, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with one API process that takes few connections and gives little time."""
    with _databases.fresh(is_pooled=True) as url:
        system = System(tmp_path_factory.mktemp("small"), database_url=url, broker_url=fresh_redis_url(redis_server))
        try:
            system.api_processes = 1
            arguments = ("api", "--host", "127.0.0.1", "--port", str(system.port))
            system.api = system.spawn(*arguments, module="tests.integration.small_api")
            system.await_api()
            system.query(WORKER)
            yield system
        finally:
            system.stop()
        system.assert_clean()


def test_a_client_that_does_not_complete_its_headers_in_time_is_closed(small: System) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        assert connection.recv(65536) == b""


def test_idle_connections_leave_room_for_a_health_check(small: System) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(_served_once(small)) for _ in range(100)]
        # The oldest ones are closed for it.
        assert _exchange(small, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 200
        assert idle[0].recv(1) == b""
        newest = idle[-1]
        newest.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert newest.recv(65536).startswith(b"HTTP/1.1 200")
        # The kernel holds back connections that send nothing, so they close none.
        for _ in range(50):
            stack.enter_context(socket.create_connection(("127.0.0.1", small.port), timeout=20))
        # No more than needed: 20 are kept, beside the one of the health check.
        assert sum(_is_open(each) for each in idle) >= 19


def _served_once(system: System) -> socket.socket:
    """Returns a connection on which one request was served."""
    connection = socket.create_connection(("127.0.0.1", system.port), timeout=20)
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    while not received.endswith(b"}\n"):
        received += connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 200")
    return connection


def test_the_request_of_one_tenant_comes_before_the_many_of_another(small: System) -> None:
    assert small.api
    (process,) = small.api.children
    # As long as one tenant is alone, its requests do not wait.
    assert small.get(JOBS).status_code == 200
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(_served_once(small)) for _ in range(18)]
        own = stack.enter_context(_served_once(small))
        # All requests are there when the process goes on, the one last.
        process.suspend()
        for connection, tenant in [*((each, "ten_many") for each in many), (own, "ten_own")]:
            head = HEAD.replace(HEADERS["x-tenant-id"], tenant)
            connection.sendall(f"GET {JOBS}?unknown=1 HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        process.resume()
        ids = [_request_id(connection) for connection in (*many, own)]
    # The ids are ordered by the time at which the API has begun the request.
    assert sum(each < ids[-1] for each in ids) <= 4


def _request_id(connection: socket.socket) -> str:
    received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 400")
    return received.lower().partition(b"x-request-id: ")[2].partition(b"\r")[0].decode()


def _is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True


def test_a_watcher_that_does_not_read_is_dropped(small: System) -> None:
    job = small.trigger("wkr_open")
    small.query(
        "INSERT INTO job_logs SELECT tenant_id, id, 4294967296 + n, ARRAY[now()], 'i', ARRAY[repeat('x', 16000)]"
        " FROM jobs, generate_series(1, 2000) AS n"
    )
    assert small.api
    (process,) = small.api.children
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", small.port))
        connection.sendall(f"GET {JOBS}/{job['id']}/stream HTTP/1.1\r\nHost: x\r\n{HEAD}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        port = connection.getsockname()[1]

        def is_served() -> bool:
            return any(c.raddr and c.raddr.port == port for c in psutil.Process(process.pid).net_connections())

        assert is_served()
        wait_until(lambda: not is_served(), seconds=20, what="the server has closed the stream")


def _docs_url(system: System, *headers: str) -> str:
    """Returns the URL of the explanation that an error names, which begins as the client called the API."""
    lines = "".join(f"{header}\r\n" for header in headers)
    sent = f"GET {JOBS} HTTP/1.1\r\nHost: jobs.example.com\r\nConnection: close\r\n{lines}\r\n"
    status, _, body = _exchange(system, sent.encode())
    assert status == 401
    url: str = json.loads(body)["error"]["docs_url"]
    return url.partition("#")[0]


PROXY_SAYS = ("X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.9")


@on_redis
def test_neither_variables_nor_headers_of_a_proxy_that_is_not_named_are_believed(
    system: System, shared: System
) -> None:
    _check_belief(shared, believed=False)
    theirs = {"SCRIPT_NAME": "/elsewhere", "FORWARDED_ALLOW_IPS": "*", "AVA_FORWARDED_ALLOW_IPS": "192.0.2.9"}
    system.api = system.spawn("api", "--host", "127.0.0.1", "--port", str(system.port), environ=theirs)
    system.await_api()
    for header in ("SCRIPT_NAME: /livez", "SCRIPT_NAME: /elsewhere", "PATH_INFO: /metrics"):
        sent = f"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n".encode()
        assert (_exchange(system, sent)[0], header) == (200, header)
    _check_belief(system, believed=False)


@on_redis
def test_the_headers_of_a_proxy_are_believed_if_it_is_named(system: System) -> None:
    ours = {"AVA_FORWARDED_ALLOW_IPS": "192.0.2.9, 127.0.0.1"}
    system.api = system.spawn("api", "--host", "127.0.0.1", "--port", str(system.port), environ=ours)
    system.await_api()
    _check_belief(system, believed=True)


def _check_belief(system: System, *, believed: bool) -> None:
    assert _docs_url(system) == "http://jobs.example.com/docs/errors"
    assert _docs_url(system, *PROXY_SAYS) == f"http{'s' * believed}://jobs.example.com/docs/errors"
    sent = b"GET /below/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSCRIPT_NAME: /below\r\n\r\n"
    assert _exchange(system, sent)[0] == (200 if believed else 404)


def _post(body: bytes, framing: str) -> bytes:
    head = (
        f"POST {JOBS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{HEAD}{framing}\r\n"
    )
    return head.encode() + body


def test_bodies_are_read_with_either_framing(shared: System) -> None:
    before, body = _jobs(shared), b'{"worker_id":"wkr_open"}'
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert _exchange(shared, _post(chunked, "Transfer-Encoding: chunked\r\n"))[0] == 201
    endless = b"%x\r\n%s\r\n" % (2**18, b"x" * 2**18) * 8 + b"0\r\n\r\n"
    assert _exchange(shared, _post(endless, "Transfer-Encoding: chunked\r\n"))[0] == 413
    response = shared.post(JOBS, data=b"x" * 3_000_000, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "payload_too_large")
    assert _jobs(shared) == before + 1


def test_a_refused_body_is_never_in_memory_whole(small: System) -> None:
    assert small.api
    (process,) = small.api.children
    body = b'{"jobs":[' + b"[]," * (5 * 2**20) + b"[]]}"
    sent = _post(body, f"Content-Length: {len(body)}\r\n").replace(JOBS.encode(), f"{JOBS}/bulk".encode(), 1)
    assert _exchange(small, sent)[0] == 413
    # The largest memory since then (proc(5), clear_refs).
    before = process.memory_info().rss
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    assert _exchange(small, sent)[0] == 413
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert int(peak) * 1024 - before < len(body) / 3


def test_a_body_that_ends_early_or_is_framed_wrong_stores_no_job(shared: System) -> None:
    before, chunks = _jobs(shared), "Transfer-Encoding: chunked\r\n"
    for body, framing in (
        (b"zz\r\n{}\r\n0\r\n\r\n", chunks),
        (b"5\r\n{}", chunks),
        (b"2\r\n{}XX0\r\n\r\n", chunks),
        (b'{"worker_id":"wkr_open"', "Content-Length: 500\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as connection:
            connection.sendall(_post(body, framing))
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65536).startswith((b"HTTP/1.1 400", b""))
    assert _jobs(shared) == before


def test_a_header_sent_twice_or_with_underscores_is_refused(shared: System) -> None:
    for header, value in HEADERS.items():
        twice = f"GET {JOBS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{HEAD}{header}: {value}\r\n\r\n"
        assert _exchange(shared, twice.encode())[0] in (400, 401, 403)
    spoofed = HEAD.replace("x-internal-secret", "x_internal_secret")
    sent = f"GET {JOBS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{spoofed}\r\n".encode()
    assert _exchange(shared, sent)[0] == 401


def test_a_hundred_concurrent_triggers_make_a_hundred_jobs(shared: System) -> None:
    before = _jobs(shared)
    with ThreadPoolExecutor(32) as threads:
        ids = set(threads.map(lambda n: shared.trigger("wkr_open", input={"n": n})["id"], range(100)))
    assert len(ids) == 100
    assert _jobs(shared) == before + 100


@on_redis
def test_gunicorn_workers_do_not_outlive_their_master(running: System) -> None:
    assert running.api
    children = running.api.children
    assert len(children) == 2
    running.api.kill()
    wait_until(lambda: not [child for child in children if child.is_running() and child.status() != "zombie"])


@on_redis
def test_the_api_does_not_outlive_its_parent(system: System) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        port = free_port()
        api = system.spawn("api", "--port", str(port), environ={"AVA_PARENT_PID": str(parent.pid)})
        wait_until(lambda: len(api.children) == 1)
        parent.kill()
        parent.wait()
        assert api.wait() == 0


def test_a_killed_gunicorn_worker_is_replaced(shared: System) -> None:
    assert shared.api
    victim = shared.api.children[0]
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: len({child.pid for child in shared.api.children} - {victim.pid}) == 2)  # type: ignore[union-attr]
    # The next connection may be of the process that was killed.
    wait_until(lambda: _answers(shared), what="the API answers")


def _answers(system: System) -> bool:
    try:
        return system.get(JOBS).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_port_in_use_is_reported_in_one_line(shared: System) -> None:
    assert shared.api
    second = shared.spawn("api", "--host", "127.0.0.1", "--port", str(shared.port))
    assert second.wait() == 1
    assert f"Port {shared.port}" in second.output
    assert len(second.output.strip().splitlines()) == 1


@on_redis
def test_an_unusable_setting_is_reported_in_one_line(system: System) -> None:
    wrong = {"DATABASE_URL": "postgresql://ava@127.0.0.1:1/x", "AVA_API_PROCESSES": "many"}
    for name, value in wrong.items():
        process = system.spawn("api", "--port", str(system.port), environ={name: value})
        assert process.wait() == 1
        assert name in process.output
        assert len(process.output.strip().splitlines()) == 1


@on_redis
def test_a_database_of_another_version_is_reported_in_one_line(system: System) -> None:
    # What is said of older ones: test_doctor.py.
    system.query("UPDATE schema_compatibility SET oldest_revision = '9999'")
    system.query("UPDATE alembic_version SET version_num = '9999'")
    process = system.spawn("api", "--port", str(system.port))
    assert process.wait() == 1
    assert "newer" in process.output
    assert len(process.output.strip().splitlines()) == 1


@on_redis
def test_an_idle_process_is_small_leads_a_session_and_stops_while_a_connection_is_open(running: System) -> None:
    assert running.api
    children = [child.pid for child in running.api.children]
    assert len(children) == 2
    # So autogroup gives it a share of the processors.
    assert [os.getsid(pid) for pid in children] == children
    # Root alone sees the proportional size of such a process.
    memory = [info.rss - info.shared for info in (psutil.Process(pid).memory_info() for pid in children)]
    assert max(memory) < 110 * 2**20
    running.get("/livez")
    assert running.api.terminate(seconds=10) == 0
