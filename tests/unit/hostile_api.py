"""An API whose every text holds what a terminal obeys."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

__all__ = ["HOSTILE", "HostileApi"]

#: It clears the screen, sets the title (by C0 and by C1), rings, returns, and reverses what follows it.
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\x9d0;title\x9c\r\x08\x7f\u202e\u2066\u200f\u2028\x85 end\U000e0041"

JOB: dict[str, Any] = {
    "id": f"job_1{HOSTILE}", "worker_id": f"wkr_{HOSTILE}", "tenant_id": HOSTILE, "status": "completed",
    "trigger": HOSTILE, "priority": 5, "input": {HOSTILE: [HOSTILE]}, "triggered_by": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "started_at": None, "completed_at": None, "duration_ms": 3,
    "output": {HOSTILE: HOSTILE}, "error": HOSTILE, "scheduled_at": None, "attempt": 1, "max_attempts": 1,
    "cancel_requested_at": None, "cancelled_by": HOSTILE, "progress": {"fraction": 0.5, "message": HOSTILE},
    "retry_of": HOSTILE, "waits_for": HOSTILE,
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
    "refused_queues": [HOSTILE], "refused_messages": [HOSTILE], "workers": [HOSTILE],
    "processes": 2, "has_slots": False, "busy": 1, "memory_bytes": 1, "state": HOSTILE,
    "started_at": "2026-01-01T00:00:00Z", "seen_at": "2026-01-01T00:00:00Z", "stopped_at": None, "jobs": [JOB],
}  # fmt: skip
WEBHOOK = {
    "id": HOSTILE, "url": HOSTILE, "events": [HOSTILE], "status": HOSTILE, "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z", "disabled_reason": HOSTILE, "previous_secret_until": None, "roots_only": True,
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
PAUSED_QUEUE = {"queue": HOSTILE, "paused_by": HOSTILE, "paused_at": "2026-01-01T00:00:00Z"}
QUEUES = {
    "total_queued": 1, "total_running": 0, "sampled_at": "2026-01-01T00:00:00Z",
    "by_worker": [{"worker_id": HOSTILE, "queued": 1, "running": 0, "high_priority": 0}],
    "paused_queues": [PAUSED_QUEUE],
}  # fmt: skip
OPERATION = {
    "id": HOSTILE, "kind": HOSTILE, "filter": {HOSTILE: HOSTILE}, "state": HOSTILE, "total": 2, "done": 1, "failed": 1,
    "created_by": HOSTILE, "created_at": "2026-01-01T00:00:00Z", "completed_at": None, "result": None,
    "reason": HOSTILE,
}  # fmt: skip
KEY = {
    "id": HOSTILE, "name": HOSTILE, "role": HOSTILE, "prefix": HOSTILE, "created_by": HOSTILE, "token": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "expires_at": None, "last_used_at": None, "workers": None,
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
TREE = {
    "tree_id": HOSTILE, "edges": [{"from": HOSTILE, "to": JOB["id"], "kind": HOSTILE}],
    "jobs": [{**JOB, "name": HOSTILE, "waits": [{"began_at": HOSTILE, "ended_at": None}]}],
}  # fmt: skip
JOURNAL = {
    "job_id": HOSTILE, "next_cursor": None,
    "entries": [{"kind": HOSTILE, "name": HOSTILE, "state": HOSTILE, "attempt": 1, "value": {HOSTILE: HOSTILE},
                 "child_id": HOSTILE, "until": None, "written_at": "2026-01-01T00:00:00Z"}],
    "waits": [{"condition": HOSTILE, "jobs": [HOSTILE], "began_at": "2026-01-01T00:00:00Z", "ended_at": None}],
}  # fmt: skip
TENANT_RULES = {
    "tenant_id": HOSTILE, "max_running": HOSTILE, "weight": HOSTILE, "most_urgent_priority": HOSTILE,
    "updated_by": HOSTILE, "updated_at": None, "retention_days": None,
}  # fmt: skip
SCHEDULE = {
    "id": HOSTILE, "worker_id": HOSTILE, "tenant_id": HOSTILE, "name": HOSTILE, "cron": HOSTILE, "timezone": HOSTILE,
    "input": {HOSTILE: [HOSTILE]}, "priority": 5, "enabled": True, "overlap": HOSTILE, "catch_up": HOSTILE,
    "catch_up_seconds": 60, "spread_seconds": 0, "starts_at": None, "ends_at": None,
    "next_run_at": "2026-01-01T00:00:00Z", "last_run_at": None, "last_job_id": HOSTILE, "created_by": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
FIRING = {
    "slot": "2026-01-01T00:00", "at": "2026-01-01T00:00:00Z", "outcome": HOSTILE, "reason": HOSTILE, "job_id": HOSTILE,
}  # fmt: skip
SLOT = {"slot": "2026-01-01T00:00", "at": "2026-01-01T00:00:00Z", "note": HOSTILE}
HOOK = {
    "id": HOSTILE, "tenant_id": HOSTILE, "name": HOSTILE, "provider": HOSTILE, "verifier": {HOSTILE: HOSTILE},
    "secrets": 1, "worker_id": HOSTILE, "event_type": HOSTILE, "match": {HOSTILE: [HOSTILE]}, "input": None,
    "priority": 5, "dedupe": HOSTILE, "tolerance_seconds": 300, "enabled": True, "prefix": HOSTILE,
    "previous_token_until": None, "created_by": HOSTILE, "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z", "url": HOSTILE, "secret": HOSTILE,
}  # fmt: skip
HOOK_DELIVERY = {
    "id": HOSTILE, "hook_id": HOSTILE, "verdict": HOSTILE, "status": 401, "reason": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "event_type": HOSTILE, "job_ids": [HOSTILE], "headers": {HOSTILE: HOSTILE},
    "body": HOSTILE, "address": HOSTILE,
}  # fmt: skip
HOOK_TEST = {"status": 401, "reason": HOSTILE, "delivery_id": HOSTILE, "job_ids": [HOSTILE]}
SUBSCRIPTION = {
    "id": HOSTILE, "tenant_id": HOSTILE, "event_type": HOSTILE, "worker_id": HOSTILE, "name": HOSTILE,
    "match": {HOSTILE: [HOSTILE]}, "input": {HOSTILE: HOSTILE}, "priority": 5, "enabled": True, "created_by": HOSTILE,
    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
EVENT = {
    "id": HOSTILE, "source_id": HOSTILE, "type": HOSTILE, "source": HOSTILE, "subject": HOSTILE, "time": None,
    "data": {HOSTILE: HOSTILE}, "headers": {HOSTILE: HOSTILE}, "created_at": "2026-01-01T00:00:00Z",
    "job_ids": [HOSTILE], "refused": [{"subscription_id": HOSTILE, "reason": HOSTILE}],
}  # fmt: skip
LISTS = {
    "/v1/ava/hooks": HOOK, "/v1/ava/hooks/hk_1/deliveries": HOOK_DELIVERY, "/v1/ava/subscriptions": SUBSCRIPTION,
    "/v1/ava/events": EVENT,
    "/v1/ava/keys": KEY, "/v1/ava/errors": ERROR_GROUP, "/v1/ava/tenants": TENANT,
    "/v1/ava/operations": OPERATION, "/v1/ava/promotions": PROMOTION,
    "/v1/ava/jobs": JOB, "/v1/ava/workers": WORKER, "/v1/ava/limits": LIMIT, "/v1/ava/nodes": NODE,
    "/v1/ava/limits/workers": WORKER_LIMIT,
    "/v1/ava/schedules": SCHEDULE, "/v1/ava/schedules/sch_1/firings": FIRING, "/v1/ava/schedules/sch_1/next": SLOT,
    "/v1/ava/audit": AUDIT_ENTRY, "/v1/webhooks": WEBHOOK, "/v1/webhooks/wh_1/deliveries": DELIVERY,
}  # fmt: skip
#: What a POST makes, where it is no job.
MADE = {"/v1/ava/workers": WORKER}
RECORDS = {
    "/v1/ava/hooks": HOOK, "/v1/ava/hooks/hk_1": HOOK, "/v1/ava/hooks/hk_1/rotate": HOOK,
    "/v1/ava/hooks/hk_1/test": HOOK_TEST, "/v1/ava/hooks/hk_1/deliveries/del_1": HOOK_DELIVERY,
    "/v1/ava/subscriptions": SUBSCRIPTION, "/v1/ava/subscriptions/sub_1": SUBSCRIPTION,
    "/v1/ava/events": EVENT, "/v1/ava/events/evt_1": EVENT,
    "/v1/ava/keys": KEY, "/v1/ava/errors/err_1/retry": OPERATION,
    "/v1/ava/nodes/node_1/drain": NODE, "/v1/ava/nodes/node_1/resume": NODE,
    **dict.fromkeys(
        ("/v1/ava/errors/err_1", *(f"/v1/ava/errors/err_1/{name}" for name in ("resolve", "ignore", "reopen"))),
        ERROR_GROUP,
    ),
    "/v1/ava/operations/op_1": OPERATION, "/v1/ava/operations/op_1/abort": OPERATION, "/v1/ava/jobs/retry": OPERATION,
    "/v1/ava/workers/wkr_a": WORKER, "/v1/ava/overview": OVERVIEW, "/v1/ava/jobs/job_1/tree": TREE,
    "/v1/ava/jobs/job_1/journal": JOURNAL, "/v1/ava/analytics": ANALYTICS,
    **dict.fromkeys((f"/v1/ava/jobs/{name}/runs" for name in ("job_1", JOB["id"])), RUNS),
    "/v1/ava/queues": QUEUES, "/v1/ava/queues/default/pause": PAUSED_QUEUE,
    "/v1/ava/schedules": SCHEDULE, "/v1/ava/schedules/sch_1": SCHEDULE, "/v1/ava/tenants/ten_1/limits": TENANT_RULES,
    "/v1/ava/jobs/cancel": OPERATION, "/v1/ava/sessions": {"ended": 1}, "/v1/ava/session/links": {"path": HOSTILE},
    "/v1/webhooks": WEBHOOK,
    "/v1/webhooks/wh_1": WEBHOOK, "/v1/webhooks/wh_1/test": DELIVERY,
    "/v1/webhooks/wh_1/deliveries/dlv_1/redeliver": DELIVERY,
    "/v1/webhooks/wh_1/deliveries/dlv_1/body": {"body": HOSTILE, "body_bytes": 9},
}  # fmt: skip
PAGE = {"page": 1, "per_page": 20, "total": 1, "has_more": False, "next_cursor": None}


class HostileApi(BaseHTTPRequestHandler):
    """Answers each request with a hostile record, or refuses it with a hostile error if its path says `refused`."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/stream"):
            events = [("log", LINE), ("progress", JOB["progress"]), ("status", {"status": HOSTILE}), ("end", JOB)]
            text = "".join(
                f"id: {n}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for n, (kind, data) in enumerate(events)
            )
            self._send(text.encode(), "text/event-stream")
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
