"""An API whose every text holds what a terminal obeys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, get_args, get_origin, get_type_hints

from ava import client
from tools.client_methods import RECORDS, operations
from tools.openapi import description

#: It clears the screen, sets the title (by C0 and by C1), rings, returns, and reverses what follows it.
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\x9d0;title\x9c\r\x08\x7f\u202e\u2066\u200f\u2028\x85 end\U000e0041"

_TIME = "2026-01-01T00:00:00Z"


def _record(kind: type[Any], **values: Any) -> dict[str, Any]:
    """Returns the JSON of a record whose strings are hostile; `values` are those of some fields."""
    types = get_type_hints(kind)
    made = {each.metadata.get("name", each.name): _value(types[each.name]) for each in fields(kind)}
    return made | values


def _value(type_: Any) -> Any:
    inner = get_args(type_)
    if get_origin(type_) is list:
        return [_value(inner[0])]
    if found := next(filter(is_dataclass, (type_, *inner)), None):
        return _record(found)
    if dict in (get_origin(type_), *map(get_origin, inner)):
        return {HOSTILE: HOSTILE}
    return {datetime: _TIME, int: 1, float: 3.5, bool: True}.get(inner[0] if inner else type_, HOSTILE)


#: The fields of records whose values their types do not say, or that lead a command to more of its output.
_FIELDS: dict[str, dict[str, Any]] = {
    "Job": {
        "id": f"job_1{HOSTILE}", "status": "completed", "progress": {"fraction": 0.5, "message": HOSTILE},
        "waiting_for": None, "usage": None, "payload_hidden": False,
    },
    "LogLine": {"level": f"info{HOSTILE}", "msg": f"{HOSTILE}\n2026 forged"},
    "Worker": {"platform": None, "retry": None},
    "Node": {"stopped_at": None},
    "Delivery": {"attempts": [{"number": 1, "status": 500, "error": HOSTILE, "answer": HOSTILE}]},
    "AuditEntry": {"occurrences": None, "changes": {HOSTILE: [HOSTILE, HOSTILE]}},
    "Overview": {
        "by_priority": [{"priority": 5, "queued": 1}], "minutes": [],
        "latency": {"start_p50_ms": 1, "start_p95_ms": 20, "x": HOSTILE},
        "failures": [{"id": HOSTILE, "worker_id": HOSTILE, "error": HOSTILE, "completed_at": _TIME}],
    },
    "Operation": {"result": None},
    "ErrorGroup": {"daily": []},
    "Promotion": {"timeline": HOSTILE},
    "Analytics": {
        "series": None, "percentiles": None,
        "jobs": {"total": 1, "completed": 1, "failed": 0, "cancelled": 0, "success_rate": 100.0, "avg_duration_ms": 3,
                 "by_trigger": {HOSTILE: 1}},
        "by_worker": {HOSTILE: {"total": 1, "completed": 1, "failed": 0, "avg_duration_ms": 3}},
    },
    "Series": {
        "ended": {"completed": [1], "failed": [0], "cancelled": [None]}, "start": {"p95_ms": [3.5]},
        "run": {"p95_ms": [None]}, "backlog": [{"queue": HOSTILE, "priority": 5, "jobs": [2]}], "failures": [],
        "marks": [{"type": HOSTILE, "name": HOSTILE, "starts_at": _TIME, "ends_at": None}],
    },
    "JobRun": {"ended_at": None, "duration_ms": None},
    "JournalEntry": {"child": {"id": HOSTILE}},
    "TenantRules": {"max_running": HOSTILE, "weight": HOSTILE, "most_urgent_priority": HOSTILE},
    "Notice": {"on": [{"event": HOSTILE}]},
    "Approval": {"payload": {HOSTILE: HOSTILE}, "schema": {HOSTILE: 1}, "decisions": []},
}  # fmt: skip


def _of(kind: str) -> dict[str, Any]:
    return _record(getattr(client, kind), **_FIELDS.get(kind, {}))


JOB, LINE = _of("Job"), _of("LogLine")
_FIELDS["Node"]["jobs"] = [JOB]
_FIELDS["Tree"] = {
    "edges": [{"from": HOSTILE, "to": JOB["id"], "kind": HOSTILE}],
    "jobs": [_record(client.TreeJob, **JOB, waits=[{"began_at": HOSTILE, "ended_at": None}])],
}
PAGE = {"page": 1, "per_page": 20, "total": 1, "has_more": False, "next_cursor": None}


def _responses() -> Iterator[tuple[re.Pattern[str], Any]]:
    """Yield the hostile data of each operation, by its verb and path."""
    for each in operations(description()):
        content = each.success.get("application/json", {}).get("schema", {})
        data = content.get("properties", {}).get("data", {})
        schema = data.get("items", data).get("$ref", "").rpartition("/")[2]
        kind = RECORDS.get(schema, schema.removesuffix("Record"))
        if hasattr(client, kind):
            path = re.sub(r"{\w+}", "[^/]+", each.path)
            yield re.compile(f"{each.verb} {path}"), [_of(kind)] if "items" in data else _of(kind)


#: The responses without a record of the client come first.
RESPONSES: list[tuple[re.Pattern[str], Any]] = [
    (re.compile("POST .*/events"), _of("SentEvent")),
    (re.compile("GET .*/logs"), {"job_id": HOSTILE, "job_status": HOSTILE, "logs": [LINE]}),
    (
        re.compile("GET .*/why"),
        {"job_id": HOSTILE, "status": HOSTILE, "sentence": HOSTILE, "facts": {HOSTILE: HOSTILE}},
    ),
    (re.compile("GET .*/proof"), {"complete": HOSTILE, "lifted": HOSTILE}),
    (re.compile("DELETE .*/sessions"), {"ended": 1}),
    (re.compile("POST .*/links"), {"path": HOSTILE}),
    *_responses(),
]


class HostileApi(BaseHTTPRequestHandler):
    """Answers each request with a hostile record, or refuses it with a hostile error if its path says `refused`."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/stream"):
            events = [("log", LINE), ("progress", JOB["progress"]), ("status", {"status": HOSTILE}), ("end", JOB)]
            body = "".join(
                f"id: {n}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for n, (kind, data) in enumerate(events)
            )
            self._send(body.encode(), "text/event-stream")
            return
        if path.endswith("/export"):
            self._send(f"{json.dumps(JOB)}\n".encode(), "application/x-ndjson")
            return
        self._send(json.dumps({"data": self._data(path), "pagination": PAGE}).encode(), "application/json")

    def _data(self, path: str) -> Any:
        return next((data for of, data in RESPONSES if of.fullmatch(f"{self.command} {path}")), JOB)

    def do_POST(self) -> None:
        if "refused" in self.path:
            error = {"error": {"code": HOSTILE, "message": HOSTILE, "request_id": HOSTILE, "docs_url": HOSTILE}}
            self._send(json.dumps(error).encode(), "application/json", 422)
        else:
            data = self._data(self.path.partition("?")[0])
            self._send(json.dumps({"data": data}).encode(), "application/json", 201)

    def do_PATCH(self) -> None:
        self.do_POST()

    def do_PUT(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
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
