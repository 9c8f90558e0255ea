"""MCP with real clients: its conformance suite, FastMCP's client, and the bridge for stdio, on one running system."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.polling import wait_until
from harness.servers.redis import fresh_redis_url
from harness.system import ROOT, System
from tests import agents, npm
from tests.acceptance.conftest import running_system

pytestmark = pytest.mark.redis

#: Both programs of others call the same tools.
_LONG = pytest.mark.long(
    kept_by="tests/acceptance/test_mcp.py::test_the_bridge_answers_every_line_that_asks_for_an_answer"
)
_SUITE = Path(__file__).with_name("mcp")
_PROGRAM = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
#: What the suite is run with, and the scenarios of each run that concern what this server offers. Of those for tasks it
#: leaves out `tasks-mrtr-input` and `tasks-mrtr-composition`, in which a task asks for input.
_RUNS = {
    ("--suite", "all", "--spec-version", "2026-07-28"): (
        *("server-stateless", "tools-list", "tools-call-simple-text", "tools-call-error"),
        *("caching", "http-header-validation", "dns-rebinding-protection"),
    ),
    ("--suite", "pending"): (
        *("tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal"),
        *("tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-required-task-error"),
    ),
    ("--suite", "active", "--spec-version", "2025-11-25"): (
        *("server-initialize", "ping", "tools-list", "tools-call-simple-text", "tools-call-error"),
        "dns-rebinding-protection",
    ),
}
#: Milliseconds for a scenario: 30,000 is too little for three suites on a busy machine.
_PATIENCE = ("--timeout", "180000")
#: Checks of what this server does not offer: a tool that asks the client to sample, prompts and resources; and a tool
#: that only clients with tasks may call, because others get the id of the job.
_NOT_OFFERED = {
    "sep-2663-server-returns-missing-capability-when-required",
    *("sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"),
    *(f"sep-2549-{name}-list-caching-hints" for name in ("prompts", "resources", "resources-templates")),
}


@pytest.fixture(scope="module")
def mcp(_databases: Any, redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with _databases.fresh() as database_url:
        start = {"concurrency": 4, "environ": {"AVA_HANDLERS": "tests.acceptance.mcp_handlers"}}
        folder = tmp_path_factory.mktemp("mcp")
        with running_system(folder, database_url, fresh_redis_url(redis_server), **start) as system:
            yield system


@pytest.fixture(scope="module")
def key(mcp: System) -> str:
    return str(mcp.post("/v1/ava/keys", json={"name": "agent", "role": "tenant-system-admin"}).json()["data"]["token"])


@contextmanager
def _authorized(system: System, key: str) -> Iterator[str]:
    """The address of a server that adds the key to each request, because the suite sends none."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
            connection = http.client.HTTPConnection("127.0.0.1", system.port)
            try:
                connection.request(self.command, self.path, body, {**headers, "Authorization": f"Bearer {key}"})
                found = connection.getresponse()
                content = found.read()
                self.send_response(found.status)
                for name, value in found.getheaders():
                    if name.lower() in ("content-type", "content-encoding", "allow"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            finally:
                connection.close()

        do_POST = do_GET = do_DELETE = _forward

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@_LONG
@pytest.mark.timeout(240)
def test_the_conformance_suite_finds_no_failure(mcp: System, key: str, tmp_path: Path) -> None:
    packages = npm.packages(_SUITE)
    with _authorized(mcp, key) as url, ThreadPoolExecutor(3) as pool:

        def check(options: tuple[str, ...]) -> list[dict[str, Any]]:
            folder = tmp_path / "".join(options)
            arguments = ["--import", str(_SUITE / "preload.mjs"), _PROGRAM, "server", "--url", url, *options]
            done = npm.run("node", *arguments, *_PATIENCE, "--output-dir", str(folder), folder=packages)
            checks: list[dict[str, Any]] = []
            for scenario in _RUNS[options]:
                found = list(folder.glob(f"server-{scenario}-20*/checks.json"))
                assert len(found) == 1, (scenario, done.stdout[-2_000:], done.stderr)
                checks += json.loads(found[0].read_text())
            return checks

        checks = [each for found in pool.map(check, _RUNS) for each in found]
    failed = [each for each in checks if each["status"] not in ("SUCCESS", "INFO", "SKIPPED")]
    reasons = [f"{each['id']} ({each['name']}): {each.get('errorMessage')}" for each in failed]
    assert {each["id"] for each in failed} == _NOT_OFFERED, "\n".join(reasons)
    assert sum(each["status"] == "SUCCESS" for each in checks) >= 90


# The conformance suite calls the same tools over HTTP, and the next test over stdio.
@_LONG
@pytest.mark.timeout(300)
def test_fastmcp_runs_workers_over_http_and_over_stdio(mcp: System, key: str, tmp_path: Path) -> None:
    program = agents.python(_SUITE / "requirements.txt")
    bridge = [sys.executable, "-m", "ava.cli.main", "mcp"]
    environ = {"AVA_API_KEY": key, "AVA_URL": mcp.url, "PYTHONPATH": str(ROOT)}
    done = npm.run(str(program), str(_SUITE / "agent.py"), *bridge, folder=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr[-4_000:]
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(seen) == 2
    for each in seen:
        assert {"greet", "slow_compute", "get_job", "cancel_job"} <= set(each["tools"])
        assert "hidden" not in each["tools"]
        assert each["schema"] == {"type": "number"}
        assert each["greeted"] == "Hello, Ada!"
        assert each["computed"] == {"label": "a", "seconds": 0.2}
        assert each["task"] == ["job_", "working", "cancelled"]
        assert "ValueError: no such channel" in each["error"]
        assert each["why"] == "cancelled"


def test_the_bridge_answers_every_line_that_asks_for_an_answer(mcp: System, key: str) -> None:
    old = {"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
    with _bridge(mcp, key) as bridge:
        assert bridge.ask(old)["result"]["protocolVersion"] == "2025-06-18"
        bridge.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        call = {"name": "greet", "arguments": {"name": "Grace"}}
        found = bridge.ask({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
        assert found["result"]["content"][0]["text"] == "Hello, Grace!"
        assert "resultType" not in found["result"]
        assert bridge.ask("{")["error"]["code"] == -32700
        assert bridge.ask({"jsonrpc": "2.0", "id": 3, "method": "none"})["error"]["code"] == -32601
        # A call that waits delays none of the others, and one that was cancelled has no answer.
        slow = {"name": "slow_compute", "arguments": {"seconds": 3}}
        bridge.send({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": slow})
        bridge.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4}})
        assert bridge.ask({"jsonrpc": "2.0", "id": 5, "method": "ping"})["id"] == 5
        assert bridge.end() == []
    with _bridge(mcp, key) as bridge:
        # The API is killed while a call waits: the bridge repeats it, and it is the same job.
        slow = {"name": "slow_compute", "arguments": {"seconds": 4, "label": "killed"}}
        bridge.send({"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": slow})
        jobs = "/v1/ava/jobs?filter[worker_id]=wkr_slow_compute&per_page=1"
        wait_until(lambda: mcp.get(jobs).json()["data"][0]["input"].get("label") == "killed", what="the job is there")
        assert mcp.api
        for process in mcp.api.children:
            process.kill()
        found = bridge.ask({"jsonrpc": "2.0", "id": 7, "method": "none"})
        assert found["id"] == 7
        found = bridge.next()
        assert found["result"]["structuredContent"] == {"label": "killed", "seconds": 4}
        assert mcp.query("SELECT count(*) FROM jobs WHERE input->>'label' = 'killed'") == [(1,)]
    with _bridge(mcp, f"{key[:-4]}none") as bridge:
        refused = bridge.ask(old)
        assert (refused["id"], refused["error"]["data"]["code"]) == ("first", "unauthorized")


class _Bridge:
    """`ava mcp` as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, message: Any) -> None:
        """Send a message, or a text as it is."""
        assert self._process.stdin
        self._process.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
        self._process.stdin.flush()

    def ask(self, message: Any) -> dict[str, Any]:
        """Send a message. Returns the next answer."""
        self.send(message)
        return self.next()

    def next(self) -> dict[str, Any]:
        """Returns the next answer."""
        assert self._process.stdout
        response: dict[str, Any] = json.loads(self._process.stdout.readline())
        return response

    def end(self) -> list[str]:
        """End the input, and wait for the end. Returns what else was written."""
        written, _ = self._process.communicate(timeout=30)
        assert self._process.returncode == 0
        return written.splitlines()


@contextmanager
def _bridge(system: System, key: str) -> Iterator[_Bridge]:
    environ = {**os.environ, "AVA_API_KEY": key, "AVA_URL": system.url}
    argv = [sys.executable, "-m", "ava.cli.main", "mcp"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ
    ) as process:
        try:
            yield _Bridge(process)
        finally:
            process.kill()
