"""Nothing that comes from a job, a client or a server controls the terminal on which it is shown."""

from __future__ import annotations

import json
import logging
import os
import re
import selectors
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import click
import pytest
from click.testing import CliRunner

import ava.cli
from ava import logs, settings
from ava.cli import printing
from ava.cli.main import cli
from ava.client import ApiUnavailable, Client
from ava.domain.text import printable
from ava.local.output import Output

#: It clears the screen, sets the title (by C0 and by C1), rings, returns, and reverses what follows it.
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\x9d0;title\x9c\r\x08\x7f\u202e\u2066\u200f\u2028\x85 end\U000e0041"
_ALLOWED = set("\n\t")

JOB: dict[str, Any] = {
    "id": f"job_1{HOSTILE}", "worker_id": f"wkr_{HOSTILE}", "tenant_id": HOSTILE, "status": "completed",
    "trigger": HOSTILE, "priority": 5, "input": {HOSTILE: [HOSTILE]}, "triggered_by": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "started_at": None, "completed_at": None, "duration_ms": 3,
    "output": {HOSTILE: HOSTILE}, "error": HOSTILE, "scheduled_at": None, "attempt": 1, "max_attempts": 1,
    "cancel_requested_at": None, "cancelled_by": HOSTILE, "progress": {"fraction": 0.5, "message": HOSTILE},
    "retry_of": HOSTILE,
}  # fmt: skip
LINE = {"ts": "2026-01-01T00:00:00Z", "level": f"info{HOSTILE}", "msg": f"{HOSTILE}\n2026 forged"}
WORKER = {
    "id": HOSTILE, "name": HOSTILE, "description": HOSTILE, "runtime": HOSTILE, "status": HOSTILE, "queue": HOSTILE,
    "timeout_seconds": 3, "max_retries": 0, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    "live": True,
}  # fmt: skip
LIMIT = {
    "name": HOSTILE, "value": 1, "unit": HOSTILE, "meaning": HOSTILE, "status": 409, "setting": HOSTILE, "used": 1,
    "used_is_exact": True,
}  # fmt: skip
WORKER_LIMIT = {
    "worker_id": HOSTILE, "max_running": 1, "max_running_per": HOSTILE, "rate": HOSTILE, "rate_per": HOSTILE,
    "running": 1, "waiting": 1, "waiting_is_exact": False,
}  # fmt: skip
NODE = {
    "id": HOSTILE, "name": HOSTILE, "host": HOSTILE, "pid": 1, "version": HOSTILE, "queues": [HOSTILE],
    "refused_queues": [HOSTILE], "workers": [HOSTILE], "processes": 2, "busy": 1, "memory_bytes": 1, "state": HOSTILE,
    "started_at": "2026-01-01T00:00:00Z", "seen_at": "2026-01-01T00:00:00Z", "stopped_at": None, "jobs": [JOB],
}  # fmt: skip
WEBHOOK = {
    "id": HOSTILE, "url": HOSTILE, "events": [HOSTILE], "status": HOSTILE, "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z", "disabled_reason": HOSTILE, "previous_secret_until": None,
}  # fmt: skip
DELIVERY = {
    "id": HOSTILE, "webhook_id": HOSTILE, "event_id": HOSTILE, "event_type": HOSTILE, "job_id": HOSTILE,
    "status": HOSTILE, "created_at": "2026-01-01T00:00:00Z", "completed_at": None, "next_attempt_at": None,
    "attempts": [{"number": 1, "status": 500, "error": HOSTILE, "answer": HOSTILE}],
}  # fmt: skip
AUDIT_ENTRY = {
    "id": HOSTILE, "at": "2026-01-01T00:00:00Z", "tenant_id": HOSTILE, "user_id": HOSTILE, "role": HOSTILE,
    "action": HOSTILE, "target": HOSTILE, "status": 200, "address": HOSTILE, "request_id": HOSTILE,
    "occurrences": None, "changes": {HOSTILE: [HOSTILE, HOSTILE]},
}  # fmt: skip
OVERVIEW = {
    "queued": 1, "queued_is_exact": False, "scheduled": 0, "running": 0, "by_priority": [{"priority": 5, "queued": 1}],
    "oldest_due_at": None, "backlog_age_seconds": 3.5, "latency": {"start_p50_ms": 1, "start_p95_ms": 20, "x": HOSTILE},
    "failures": [{"id": HOSTILE, "worker_id": HOSTILE, "error": HOSTILE, "completed_at": "2026-01-01T00:00:00Z"}],
    "minutes": [], "counted_until": "2026-01-01T00:00:00Z", "sampled_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
QUEUES = {
    "total_queued": 1, "total_running": 0, "sampled_at": "2026-01-01T00:00:00Z",
    "by_worker": [{"worker_id": HOSTILE, "queued": 1, "running": 0, "high_priority": 0}],
}  # fmt: skip
OPERATION = {
    "id": HOSTILE, "kind": HOSTILE, "filter": {HOSTILE: HOSTILE}, "state": HOSTILE, "total": 2, "done": 1, "failed": 1,
    "created_by": HOSTILE, "created_at": "2026-01-01T00:00:00Z", "completed_at": None, "result": None,
    "reason": HOSTILE,
}  # fmt: skip
KEY = {
    "id": HOSTILE, "name": HOSTILE, "role": HOSTILE, "prefix": HOSTILE, "created_by": HOSTILE, "token": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "expires_at": None, "last_used_at": None,
}  # fmt: skip
ERROR_GROUP = {
    "id": HOSTILE, "worker_id": HOSTILE, "kind": HOSTILE, "message": HOSTILE, "count": 1, "status": HOSTILE,
    "first_seen_at": "2026-01-01T00:00:00Z", "last_seen_at": "2026-01-01T00:00:00Z", "sample_job_id": HOSTILE,
    "daily": [],
}  # fmt: skip
TENANT = {
    "tenant_id": HOSTILE, "waiting": 1, "scheduled": 0, "running": 0, "completed": 0, "failed": 0, "cancelled": 0,
}  # fmt: skip
PROMOTION = {"timeline": HOSTILE, "seen_at": "2026-01-01T00:00:00Z", "running": 3, "lossy": True}
ANALYTICS = {
    "period_days": 30, "since": "2026-01-01T00:00:00Z", "series": None, "percentiles": None,
    "jobs": {"total": 1, "completed": 1, "failed": 0, "cancelled": 0, "success_rate": 100.0, "avg_duration_ms": 3,
             "by_trigger": {HOSTILE: 1}},
    "by_worker": {HOSTILE: {"total": 1, "completed": 1, "failed": 0, "avg_duration_ms": 3}},
}  # fmt: skip
RUNS = {
    "waited_ms": 3, "ran_ms": 4,
    "runs": [{"started_at": "2026-01-01T00:00:00Z", "ended_at": None, "outcome": HOSTILE, "duration_ms": None}],
}  # fmt: skip
LISTS = {
    "/v1/ava/keys": KEY, "/v1/ava/errors": ERROR_GROUP, "/v1/ava/tenants": TENANT,
    "/v1/ava/operations": OPERATION, "/v1/ava/promotions": PROMOTION,
    "/v1/ava/jobs": JOB, "/v1/ava/workers": WORKER, "/v1/ava/limits": LIMIT, "/v1/ava/nodes": NODE,
    "/v1/ava/limits/workers": WORKER_LIMIT,
    "/v1/ava/audit": AUDIT_ENTRY, "/v1/webhooks": WEBHOOK, "/v1/webhooks/wh_1/deliveries": DELIVERY,
}  # fmt: skip
RECORDS = {
    "/v1/ava/keys": KEY, "/v1/ava/errors/err_1/retry": OPERATION,
    "/v1/ava/nodes/node_1/drain": NODE, "/v1/ava/nodes/node_1/resume": NODE,
    **dict.fromkeys(
        ("/v1/ava/errors/err_1", *(f"/v1/ava/errors/err_1/{name}" for name in ("resolve", "ignore", "reopen"))),
        ERROR_GROUP,
    ),
    "/v1/ava/operations/op_1": OPERATION, "/v1/ava/operations/op_1/abort": OPERATION, "/v1/ava/jobs/retry": OPERATION,
    "/v1/ava/workers/wkr_a": WORKER, "/v1/ava/overview": OVERVIEW, "/v1/ava/analytics": ANALYTICS,
    **dict.fromkeys((f"/v1/ava/jobs/{name}/runs" for name in ("job_1", JOB["id"])), RUNS),
    "/v1/ava/queues": QUEUES, "/v1/webhooks": WEBHOOK,
    "/v1/webhooks/wh_1": WEBHOOK, "/v1/webhooks/wh_1/test": DELIVERY,
    "/v1/webhooks/wh_1/deliveries/dlv_1/redeliver": DELIVERY,
    "/v1/webhooks/wh_1/deliveries/dlv_1/body": {"body": HOSTILE, "body_bytes": 9},
}  # fmt: skip
PAGE = {"page": 1, "per_page": 20, "total": 1, "has_more": False, "next_cursor": None}


class _HostileApi(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/stream"):
            events = [("log", LINE), ("progress", JOB["progress"]), ("status", {"status": HOSTILE}), ("end", JOB)]
            text = "".join(
                f"id: {n}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for n, (kind, data) in enumerate(events)
            )
            self._send(text.encode(), "text/event-stream")
            return
        data: Any = JOB
        if path.endswith("/logs"):
            data = {"job_id": HOSTILE, "job_status": HOSTILE, "logs": [LINE]}
        elif path.endswith("/why"):
            data = {"job_id": HOSTILE, "status": HOSTILE, "sentence": HOSTILE, "facts": {HOSTILE: HOSTILE}}
        elif path in LISTS:
            data = [LISTS[path]]
        elif path in RECORDS:
            data = RECORDS[path]
        self._send(json.dumps({"data": data, "pagination": PAGE}).encode(), "application/json")

    def do_POST(self) -> None:
        if "refused" in self.path:
            error = {"error": {"code": HOSTILE, "message": HOSTILE, "request_id": HOSTILE, "docs_url": HOSTILE}}
            self._send(json.dumps(error).encode(), "application/json", 422)
        else:
            self._send(json.dumps({"data": RECORDS.get(self.path, JOB)}).encode(), "application/json", 201)

    def do_PATCH(self) -> None:
        self.do_POST()

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HostileApi)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


COMMANDS = [
    ["jobs", "trigger", "wkr_a"],
    ["jobs", "trigger", "wkr_a", "--follow"],
    ["jobs", "list"],
    ["jobs", "show", "job_1"],
    ["jobs", "show", "job_1", "--wait"],
    ["jobs", "logs", "job_1"],
    ["jobs", "logs", "job_1", "--follow"],
    ["jobs", "cancel", "job_1"],
    ["jobs", "cancel", "refused"],
    ["jobs", "retry", "job_1"],
    ["jobs", "retry", "job_1", "--follow"],
    ["jobs", "cancel", "job_1", "refused"],
    ["jobs", "retry", "--status", "failed", "--yes"],
    ["operations", "list"],
    ["operations", "show", "op_1"],
    ["operations", "show", "op_1", "--follow"],
    ["operations", "abort", "op_1"],
    ["jobs", "why", "job_1"],
    ["jobs", "watch", "job_1"],
    ["workers", "list"],
    ["workers", "show", "wkr_a"],
    ["workers", "set", "wkr_a", "--config", "A=1"],
    ["workers", "pause", "wkr_a"],
    ["workers", "resume", "wkr_a"],
    ["limits"],
    ["limits", "--workers"],
    ["overview"],
    ["analytics"],
    ["queues", "list"],
    ["nodes", "list"],
    ["promotions"],
    ["nodes", "drain", "node_1"],
    ["nodes", "resume", "node_1"],
    ["tenants", "list"],
    ["keys", "list"],
    ["keys", "create", "one"],
    ["errors", "list"],
    ["errors", "show", "err_1"],
    ["errors", "resolve", "err_1"],
    ["errors", "ignore", "err_1"],
    ["errors", "reopen", "err_1"],
    ["errors", "retry", "err_1"],
    ["audit", "list"],
    ["webhooks", "list"],
    ["webhooks", "show", "wh_1"],
    ["webhooks", "create", "https://example.com/", "--secret-file", "-"],
    ["webhooks", "change", "wh_1", "--to", "https://example.com/"],
    ["webhooks", "pause", "wh_1"],
    ["webhooks", "resume", "wh_1"],
    ["webhooks", "test", "wh_1"],
    ["webhooks", "deliveries", "wh_1"],
    ["webhooks", "redeliver", "wh_1", "dlv_1"],
    ["webhooks", "body", "wh_1", "dlv_1"],
]


@pytest.fixture(autouse=True)
def environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVA_URL", url)
    monkeypatch.setenv("AVA_INTERNAL_SECRET", "of-the-tests-of-terminals")


@pytest.mark.parametrize("form", ["table", "wide", "json", "id", "csv"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_what_a_terminal_obeys(command: list[str], form: str) -> None:
    if form == "id" and command[0:2] in (
        ["jobs", "logs"],
        ["overview"],
        ["analytics"],
        ["tenants", "list"],
        ["promotions"],
        ["webhooks", "body"],
    ):
        pytest.skip("these records have no id")
    result = CliRunner().invoke(cli, [*command, "-o", form], color=True)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    # The colours are our own.
    text = re.sub(r"\x1b\[\d+m", "", result.output)
    assert "end" in text
    assert {char for char in text if not char.isprintable()} <= _ALLOWED
    assert not any(line.startswith("2026 forged") for line in text.splitlines())
    if form == "json" and result.exit_code == 0:
        assert all(json.dumps(HOSTILE)[1:-1] in json.dumps(json.loads(line)) for line in text.splitlines())


def test_a_log_line_has_no_id_to_print() -> None:
    result = CliRunner().invoke(cli, ["jobs", "logs", "job_1", "-o", "id"])
    assert result.exit_code == 2
    assert "these records have no id" in result.output


def test_the_list_of_commands_is_complete() -> None:
    tested = {tuple(command[:2]) for command in COMMANDS}
    groups = {name: command for name, command in cli.commands.items() if isinstance(command, click.Group)}
    calling = {
        (name, inner) for name, group in groups.items() for inner, command in group.commands.items() if _prints(command)
    }
    assert calling - tested - {("schedules", name) for name in groups["schedules"].commands} == set()


def _prints(command: click.Command) -> bool:
    return any(parameter.name == "output" for parameter in command.params)


def test_only_one_module_prints_texts_of_others() -> None:
    files = {
        path: path.read_text()
        for path in Path(str(ava.cli.__file__)).parent.glob("*.py")
        if path.name not in ("connection.py", "output.py", "printing.py", "tables.py", "terminal.py")
    }
    calling = [text for text in files.values() if "connection import" in text or "ava.client" in text]
    printed = {line.strip() for text in calling for line in text.splitlines() if "click.echo(" in line}
    assert printed <= {"click.echo()", "click.echo(printing.fold(job.output))"}


def test_a_log_of_our_processes_shows_texts_and_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    environ = {"DATABASE_URL": "postgresql://u@h/d", "BROKER_URL": "redis://h"}
    logs.configure(settings.load(environ), "worker")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("ava.tests").exception("%s\n2026 forged", HOSTILE, extra={"job_id": f"{HOSTILE}\nforged"})
    finally:
        root.handlers[:], root.level = before
    text = capsys.readouterr().err
    assert {char for char in text if not char.isprintable()} <= _ALLOWED
    assert not any(line.startswith(("2026 forged", "forged")) for line in text.splitlines())


def test_the_output_of_the_processes_of_ava_up_is_escaped() -> None:
    printed: list[str] = []
    with selectors.DefaultSelector() as selector:
        output = Output(selector, printed.append)
        read, write = os.pipe()
        output.add("worker", read)
        os.write(write, f"{HOSTILE}\n".encode())
        os.close(write)
        output.drain()
        output.close()
    assert printed
    assert all(line.isprintable() for line in printed)


def test_plain_text_stays_as_it_is() -> None:
    assert printable("Übergröße, 日本語 😀 and\ttabs", kept="\t") == "Übergröße, 日本語 😀 and\ttabs"
    assert json.loads(printing.as_json({"a": HOSTILE, "ü": "日本"})) == {"a": HOSTILE, "ü": "日本"}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_client_sends_its_secret_through_no_proxy_of_the_environment(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch, proxied: Callable[[], int]
) -> None:
    monkeypatch.setenv(name, os.environ["TEST_PROXY"])
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(url, secret="s", tenant="ten_a", user="usr_a") as client:
        client.get("job_1")
    assert proxied() == 0
    # One that was asked for is used.
    proxy = os.environ["TEST_PROXY"]
    client = Client(url, secret="s", tenant="ten_a", user="usr_a", proxy=proxy, retries=0)
    with client, pytest.raises(ApiUnavailable):
        client.get("job_1")
    assert proxied() == 1


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """A proxy that answers 502. Returns the number of its requests."""
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(502)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("TEST_PROXY", f"http://127.0.0.1:{server.server_port}")
    yield lambda: len(seen)
    server.shutdown()
    server.server_close()
