"""An API whose every text holds what a terminal obeys."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, get_args, get_origin, get_type_hints

from ava import client

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


def _forms(path: str) -> tuple[str, ...]:
    """Returns the path of a record, and those of its pause and its resume."""
    return path, f"{path}/pause", f"{path}/resume"


JOB = _record(
    client.Job, id=f"job_1{HOSTILE}", status="completed", progress={"fraction": 0.5, "message": HOSTILE},
    waiting_for=None, usage=None, payload_hidden=False,
)  # fmt: skip
LINE = _record(client.LogLine, level=f"info{HOSTILE}", msg=f"{HOSTILE}\n2026 forged")
WORKER = _record(client.Worker, platform=None, retry=None)
NODE = _record(client.Node, stopped_at=None, jobs=[JOB])
DELIVERY = _record(client.Delivery, attempts=[{"number": 1, "status": 500, "error": HOSTILE, "answer": HOSTILE}])
AUDIT_ENTRY = _record(client.AuditEntry, occurrences=None, changes={HOSTILE: [HOSTILE, HOSTILE]})
OVERVIEW = _record(
    client.Overview, by_priority=[{"priority": 5, "queued": 1}], minutes=[],
    latency={"start_p50_ms": 1, "start_p95_ms": 20, "x": HOSTILE},
    failures=[{"id": HOSTILE, "worker_id": HOSTILE, "error": HOSTILE, "completed_at": _TIME}],
)  # fmt: skip
OPERATION = _record(client.Operation, result=None)
ERROR_GROUP = _record(client.ErrorGroup, daily=[])
PROMOTION = _record(client.Promotion, timeline=HOSTILE)
ANALYTICS = _record(
    client.Analytics, series=None, percentiles=None,
    jobs={"total": 1, "completed": 1, "failed": 0, "cancelled": 0, "success_rate": 100.0, "avg_duration_ms": 3,
          "by_trigger": {HOSTILE: 1}},
    by_worker={HOSTILE: {"total": 1, "completed": 1, "failed": 0, "avg_duration_ms": 3}},
)  # fmt: skip
SERIES = _record(
    client.Series, ended={"completed": [1], "failed": [0], "cancelled": [None]}, start={"p95_ms": [3.5]},
    run={"p95_ms": [None]}, backlog=[{"queue": HOSTILE, "priority": 5, "jobs": [2]}], failures=[],
    marks=[{"type": HOSTILE, "name": HOSTILE, "starts_at": _TIME, "ends_at": None}],
)  # fmt: skip
RUN = _record(client.JobRun, ended_at=None, duration_ms=None)
TREE = _record(
    client.Tree, edges=[{"from": HOSTILE, "to": JOB["id"], "kind": HOSTILE}],
    jobs=[_record(client.TreeJob, **JOB, waits=[{"began_at": HOSTILE, "ended_at": None}])],
)  # fmt: skip
TENANT_RULES = _record(client.TenantRules, max_running=HOSTILE, weight=HOSTILE, most_urgent_priority=HOSTILE)
SCHEDULE, FIRING, SLOT = _record(client.Schedule), _record(client.Firing), _record(client.ScheduleSlot)
HOOK = _record(client.Hook)
NOTICE, CONTAINMENT = _record(client.Notice, on=[{"event": HOSTILE}]), _record(client.Containment)
EVENT = {**_record(client.SentEvent), **_record(client.ReceivedEvent)}
APPROVAL = _record(client.Approval, payload={HOSTILE: HOSTILE}, schema={HOSTILE: 1}, decisions=[])
LISTS = {
    "/v1/ava/hooks": HOOK, "/v1/ava/hooks/hk_1/deliveries": DELIVERY,
    "/v1/ava/subscriptions": _record(client.Subscription), "/v1/ava/events": EVENT,
    "/v1/ava/notices": NOTICE, "/v1/ava/containments": CONTAINMENT,
    "/v1/ava/keys": _record(client.ApiKey), "/v1/ava/errors": ERROR_GROUP, "/v1/ava/approvals": APPROVAL,
    "/v1/ava/tenants": _record(client.TenantLoad),
    "/v1/ava/operations": OPERATION, "/v1/ava/promotions": PROMOTION,
    "/v1/ava/jobs": JOB, "/v1/ava/workers": WORKER, "/v1/ava/limits": _record(client.Limit), "/v1/ava/nodes": NODE,
    "/v1/ava/limits/workers": _record(client.WorkerLimit), "/v1/ava/jobs/job_1/waits": _record(client.JobWait),
    "/v1/ava/jobs/job_1/deliveries": DELIVERY,
    "/v1/ava/jobs/job_1/journal": _record(client.JournalEntry, child={"id": HOSTILE}),
    **dict.fromkeys((f"/v1/ava/jobs/{name}/runs" for name in ("job_1", JOB["id"])), RUN),
    "/v1/ava/schedules": SCHEDULE, "/v1/ava/schedules/sch_1/firings": FIRING, "/v1/ava/schedules/sch_1/next": SLOT,
    "/v1/ava/audit": AUDIT_ENTRY, "/v1/webhooks": _record(client.Webhook), "/v1/webhooks/wh_1/deliveries": DELIVERY,
}  # fmt: skip
#: What a POST makes, where it is no job.
MADE = {"/v1/ava/workers": WORKER}
RECORDS = {
    "/v1/ava/hooks": HOOK, "/v1/ava/hooks/hk_1/rotate": HOOK, **dict.fromkeys(_forms("/v1/ava/hooks/hk_1"), HOOK),
    "/v1/ava/hooks/hk_1/test": _record(client.HookTest), "/v1/ava/hooks/hk_1/deliveries/del_1": DELIVERY,
    **dict.fromkeys((f"/v1/ava/subscriptions{id_}" for id_ in ("", *_forms("/sub_1"))), _record(client.Subscription)),
    "/v1/ava/events": EVENT, "/v1/ava/events/evt_1": EVENT,
    "/v1/ava/keys": _record(client.ApiKey), "/v1/ava/errors/err_1/retry": OPERATION,
    **dict.fromkeys(_forms("/v1/ava/nodes/node_1"), NODE),
    **dict.fromkeys(
        ("/v1/ava/errors/err_1", *(f"/v1/ava/errors/err_1/{name}" for name in ("resolve", "ignore", "reopen"))),
        ERROR_GROUP,
    ),
    **dict.fromkeys((f"/v1/ava/approvals/apr_1{act}" for act in ("", "/approve", "/deny")), APPROVAL),
    "/v1/ava/operations/op_1": OPERATION, "/v1/ava/operations/op_1/abort": OPERATION, "/v1/ava/jobs/retry": OPERATION,
    **dict.fromkeys(_forms("/v1/ava/workers/wkr_a"), WORKER),
    "/v1/ava/overview": OVERVIEW, "/v1/ava/jobs/job_1/tree": TREE,
    "/v1/ava/analytics": ANALYTICS, "/v1/ava/series": SERIES,
    "/v1/ava/queues": _record(client.Queues),
    **dict.fromkeys(_forms("/v1/ava/queues/default"), _record(client.Queue)),
    **dict.fromkeys((f"/v1/ava/schedules{id_}" for id_ in ("", *_forms("/sch_1"))), SCHEDULE),
    "/v1/ava/tenants/ten_1/limits": TENANT_RULES,
    "/v1/ava/jobs/cancel": OPERATION, "/v1/ava/sessions": {"ended": 1}, "/v1/ava/session/links": {"path": HOSTILE},
    **dict.fromkeys((f"/v1/webhooks{id_}" for id_ in ("", *_forms("/wh_1"))), _record(client.Webhook)),
    "/v1/webhooks/wh_1/test": DELIVERY, "/v1/ava/notices/ntc_1/test": DELIVERY,
    **dict.fromkeys((f"/v1/ava/notices{id_}" for id_ in ("", *_forms("/ntc_1"))), NOTICE),
    **dict.fromkeys((f"/v1/ava/containments{id_}" for id_ in ("", "/con_1")), CONTAINMENT),
    "/v1/ava/containments/con_1/lift": OPERATION,
    "/v1/ava/containments/con_1/proof": {"complete": HOSTILE, "lifted": HOSTILE},
    "/v1/webhooks/wh_1/deliveries/del_1/redeliver": DELIVERY, "/v1/webhooks/wh_1/deliveries/del_1": DELIVERY,
    "/v1/ava/hooks/hk_1/deliveries/del_1/replay": DELIVERY,
}  # fmt: skip
PAGE = {"page": 1, "per_page": 20, "total": 1, "has_more": False, "next_cursor": None}


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
            record = RECORDS.get(self.path, MADE.get(self.path, JOB))
            self._send(json.dumps({"data": record}).encode(), "application/json", 201)

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
