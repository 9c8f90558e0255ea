"""The parts of the OpenAPI description that are not generated from routes and schemas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ava.api.http.callers.credentials import ROLES
from ava.domain.events.event import MAX_ID_CHARS, MAX_TEXT_CHARS
from ava.domain.jobs.job import Trigger
from ava.domain.limits.table import BULK_EVENTS
from ava.error_codes import ErrorCode

INTRODUCTION = (
    "A job is a single execution of a worker with a specific input payload. Jobs are asynchronous: triggering one "
    "returns immediately with a job record; execution happens in the background."
)

#: The description of each failure status: those of all error codes with this status.
FAILURES = {
    status: " ".join(f"`{code}`: {code.meanings[status]}" for code in ErrorCode if status in code.meanings)
    for status in sorted({status for code in ErrorCode for status in code.meanings})
}
#: The statuses that every operation may fail with.
ALWAYS = (400, 401, 403, 414, 429, 431, 500, 503)

SECURITY = {
    "InternalSecret": ("x-internal-secret", "A shared key."),
    "TenantId": (
        "x-tenant-id",
        "The tenant, such as ten_01hxyz: all data that the request reads or writes belongs to it.",
    ),
    "UserId": ("x-user-id", "The acting user, such as usr_01hxyz."),
    "PlatformRole": (
        "x-platform-role",
        f"One of {', '.join(ROLES)}; writing needs tenant-system-admin or above.",
    ),
}

COOKIE = "Session"
COOKIE_TEXT = (
    "A session of the dashboard. The cookie's name includes the port unless it is the default (`ava_session_8080`). "
    "Write requests also send x-tenant-id."
)
BEARER = "ApiKey"
BEARER_TEXT = "An API key, `ava_00.…`, instead of the four headers; x-user-id may name the acting user."

#: The attribute of a string in a response that lists the known values.
KNOWN_VALUES = "x-known-values"

#: Optional fields of records: written only on request or if they have a value.
OPTIONAL: dict[str, set[str]] = {"AnalyticsRecord": {"series", "percentiles"}, "TriggerCounts": set(Trigger)}

PAYLOAD_HIDDEN = {
    "type": "boolean",
    "description": "True if the caller may not see payloads: they are null or replaced. Otherwise it is absent.",
}
#: Records whose payloads are in records below them.
HIDING = ("JobLogRecord",)


def open_enum(values: Iterable[str | None], description: str = "") -> dict[str, Any]:
    """Return the attributes of a response's enumeration: a string, because a newer server may add values.

    The description lists the known values, unless it explains each of them.
    """
    known = [value for value in values if value is not None]
    if not all(f"`{value}`" in description for value in known):
        description = f"{description} Known values: {', '.join(f'`{value}`' for value in known)}.".lstrip()
    return {"description": description, KNOWN_VALUES: known}


ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id", "docs_url"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "string", **open_enum(code.value for code in ErrorCode)},
                "message": {"type": "string", "description": "The problem, its place and the remedy."},
                "request_id": {"type": "string"},
                "docs_url": {"type": "string"},
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
        }
    },
}

#: A CloudEvents 1.0 event in structured mode; any other fields are extensions.
CLOUD_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS},
        "source": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS},
        "type": {"type": "string", "pattern": "^[!-~]{1,200}$"},
        "subject": {"type": ["string", "null"], "maxLength": MAX_TEXT_CHARS},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "data": {"description": "Any JSON value. Send either data or data_base64."},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
    "additionalProperties": True,
}
CLOUD_EVENTS = {"type": "array", "minItems": 1, "maxItems": BULK_EVENTS.value, "items": CLOUD_EVENT}

#: The response to sent events.
SENT_EVENTS = {
    "description": "A `SentEventRecord`; with `events` an array of them, in their order.",
    "example": {
        "id": "evt_01jwnqrgt0e3rt0q9vz5k8x2mc",
        "job_ids": ["job_01jwnqrgt0e3rt0q9vz5k8x2mc"],
        "refused": [],
        "more": 0,
        "duplicate": False,
    },
}

PAGINATION = {
    "type": "object",
    "required": ["page", "per_page", "total", "has_more", "next_cursor"],
    "properties": {
        "page": {"type": ["integer", "null"], "description": "Null if a cursor was sent."},
        "per_page": {"type": "integer"},
        "total": {"type": "integer", "description": "Exact up to 1,000, and never higher."},
        "has_more": {"type": "boolean"},
        "next_cursor": {"type": ["string", "null"]},
        "scanned_until": {
            "type": "string",
            "format": "date-time",
            "description": "Only if a search ended before the page was full: the creation time of the last scanned "
            "job.",
        },
    },
}
LOG_PLACE = {
    "type": "object",
    "required": ["has_more", "previous_cursor", "next_cursor"],
    "properties": {
        "has_more": {"type": "boolean"},
        "previous_cursor": {"type": ["string", "null"], "description": "Send it as `before` to get earlier lines."},
        "next_cursor": {"type": ["string", "null"], "description": "Send it as `after` to get later lines."},
    },
}

HEADERS = ("x-request-id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

GIVEN: dict[str, Any] = {
    "x-request-id": {
        "description": "The id in the request, if it is valid; otherwise a new id.",
        "schema": {"type": "string"},
    },
    "X-RateLimit-Limit": {
        "description": "If rate limits are set: the max number of requests.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Remaining": {"description": "The number of remaining requests.", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {
        "description": "When the limit is reset, in seconds since 1970.",
        "schema": {"type": "number"},
    },
    "Location": {"description": "The path of the new record.", "schema": {"type": "string"}},
    "Existing-Job": {
        "description": "`true` if an earlier trigger with the same `dedupe` or `debounce` key created the job.",
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "`true` if an earlier call with this key created the jobs.",
        "schema": {"type": "string"},
    },
    "Durability": {
        "description": "`replicated` if the request had this header.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "The ETag of an ended record, which never changes.", "schema": {"type": "string"}},
    "Ava-Replica-Lag-Ms": {
        "description": "If the response was read from a standby: the replication lag in milliseconds.",
        "schema": {"type": "integer"},
    },
    "Retry-After": {"description": "Seconds to wait before the next attempt.", "schema": {"type": "integer"}},
}

#: All request headers of operations, except the headers that identify the caller.
TAKEN: dict[str, Any] = {
    "Idempotency-Key": {
        "description": "A repeated request with the same key within 24 hours returns the same jobs.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    },
    "Durability": {
        "description": "`replicated`: the server responds after the synchronous standbys required by PostgreSQL have "
        "applied the jobs. Without such standbys it responds 503.",
        "schema": {"type": "string", "enum": ["replicated"]},
    },
    "Last-Event-ID": {
        "description": "The id of the last event that the client received.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {"description": "The ETag of a record that the caller already has.", "schema": {"type": "string"}},
}

_PAYLOAD = {"incident_id": "inc_01hxyz", "channel": "#security-ops"}
_JOB = {
    "id": "job_01jwnqrgt0e3rt0q9vz5k8x2mc",
    "worker_id": "wkr_incident_notify",
    "tenant_id": "ten_01hxyz",
    "status": "queued",
    "trigger": "manual",
    "priority": 2,
    "input": _PAYLOAD,
    "triggered_by": "usr_01hxyz",
    "created_at": "2025-06-01T10:00:00Z",
    "started_at": None,
    "completed_at": None,
    "duration_ms": None,
    "output": None,
    "error": None,
    "scheduled_at": None,
    "attempt": 0,
    "max_attempts": 2,
    "cancel_requested_at": None,
    "cancelled_by": None,
    "progress": None,
    "retry_of": None,
    "tags": {},
    "expires_at": None,
    "parent_id": None,
    "tree_id": None,
    "waiting_for": None,
    "deadline_at": None,
    "usage": {"cpu_ms": 412, "peak_memory_mb": 71, "wait_ms": 9},
    "waits_for": None,
    "origin": {"id": "usr_01hxyz", "kind": "user", "via": "headers", "label": None},
}
STREAM_EXAMPLE = (
    'id: 1\nevent: log\ndata: {"ts":"2025-06-01T10:00:01.120Z","level":"info","msg":"Worker handler started"}\n\n'
)
_SLOT = {"slot": "2026-10-25T02:30", "at": "2026-10-25T00:30:00Z", "note": "overlap"}
_SCHEDULE = {
    "worker_id": "wkr_incident_notify",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "name": "Nightly report",
    "input": _PAYLOAD,
    "overlap": "skip",
}
_TRIGGER = {"worker_id": "wkr_incident_notify", "priority": 2, "input": _PAYLOAD}

_OPERATION = {
    "id": "op_01jwnqrgt0e3rt0q9vz5k8x2mc",
    "kind": "retry",
    "filter": {"worker_id": "wkr_incident_notify", "status": "failed"},
    "state": "running",
    "total": 3004,
    "done": 1500,
    "failed": 0,
    "created_by": "usr_01hxyz",
    "created_at": "2025-06-01T10:00:00Z",
    "completed_at": None,
    "result": None,
    "reason": None,
}

_EVENT: dict[str, Any] = {"type": "order.paid", "data": {"number": 7, "total": 250}, "source": "/shop"}
_EVENT_SEEN: dict[str, Any] = {"type": "order.paid", "data": {"number": 7, "total": 250}}
_RULE: dict[str, Any] = {
    "event_type": "order.*",
    "match": {"data": {"total": [{"numeric": [">", 100]}]}},
    "input": {"number": {"$get": "data.number", "default": 0}},
}
_SUBSCRIPTION: dict[str, Any] = {"worker_id": "wkr_incident_notify", **_RULE}

#: Examples by the name of their schema.
_RUN = f"avarun_00.{'x' * 59}"
EXAMPLES: dict[str, Any] = {
    "EventBody": _EVENT,
    "EventsBody": _EVENT,
    "SubscriptionBody": _SUBSCRIPTION,
    "SubscriptionChangeBody": {"priority": 3},
    "SubscriptionTestBody": {"event": _EVENT_SEEN, **_RULE},
    "HookBody": {"name": "pulls", "provider": "github", "worker_id": "wkr_incident_notify"},
    "HookChangeBody": {"tolerance_seconds": 120},
    "RedeliverBody": {"since": "2025-06-01T10:00:00Z", "status": "abandoned"},
    "NoticeRedeliverBody": {"since": "2025-06-01T10:00:00Z", "status": "abandoned"},
    "ReplayBody": {"since": "2025-06-01T10:00:00Z", "status": "refused"},
    "HookTestBody": {"mode": "signed", "body": "{}", "headers": {"x-github-event": "push"}},
    "TriggerBody": _TRIGGER,
    "BulkBody": {"jobs": [_TRIGGER]},
    "CancelManyBody": {"filter": {"worker_id": "wkr_incident_notify", "status": "queued"}},
    "RetryManyBody": {"filter": {"worker_id": "wkr_incident_notify", "status": "failed"}},
    "ContainmentBody": {"scope": {"tag": {"key": "agent", "value": "importer-7"}}, "reason": "deletes invoices"},
    "LiftBody": {"held": "release"},
    "RetryBody": {"input": _PAYLOAD, "priority": 2},
    "OperationRecord": _OPERATION,
    "JobRecord": _JOB,
    "KeyBody": {"name": "Incident notify", "role": "tenant-system-admin"},
    "WorkerBody": {"slug": "resize", "runtime": "pull", "timeout_seconds": 60, "retry": {"max": 3}},
    "ClaimBody": {"workers": ["wkr_resize"], "capacity": 4, "wait": 30},
    "EndBody": {"output": {"sent": True}},
    "HeartbeatBody": {"runs": [_RUN]},
    "WorkerChangeBody": {"config": {"CHANNEL": "#security-ops"}, "timeout_seconds": 60, "max_retries": 0},
    "ScheduleBody": _SCHEDULE,
    "ScheduleChangeBody": {"enabled": False},
    "ScheduleRecord": {
        "id": "sch_01jwnqrgt0e3rt0q9vz5k8x2mc",
        "worker_id": "wkr_incident_notify",
        "tenant_id": "ten_01hxyz",
        "name": "Nightly report",
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "input": _PAYLOAD,
        "priority": 5,
        "enabled": True,
        "overlap": "skip",
        "catch_up": "last",
        "catch_up_seconds": 3600,
        "spread_seconds": 0,
        "starts_at": None,
        "ends_at": None,
        "next_run_at": "2026-10-25T00:30:00Z",
        "last_run_at": "2026-10-24T00:30:00.120Z",
        "last_job_id": "job_01jwnqrgt0e3rt0q9vz5k8x2mc",
        "created_by": "usr_01hxyz",
        "created_at": "2025-06-01T10:00:00Z",
        "updated_at": "2025-06-01T10:00:00Z",
        "paused": None,
        "approval": None,
        "expires_in_seconds": None,
        "every_seconds": None,
    },
    "PreviewBody": {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "count": 1},
    "PreviewRecord": {"description": "Every day at 02:30, Berlin time", "next": [_SLOT]},
    "SlotRecord": _SLOT,
    "FiringRecord": {
        "slot": "2026-10-24T02:30",
        "at": "2026-10-24T00:30:00Z",
        "outcome": "skipped",
        "reason": "job_01jwnqrgt0e3rt0q9vz5k8x2mc is still running (overlap is skip)",
        "job_id": None,
    },
    "LogLineRecord": {"ts": "2025-06-01T10:00:01.120Z", "level": "info", "msg": "Worker handler started"},
    "Error": {
        "error": {
            "code": "validation_error",
            "message": "priority: It must be an integer from 1 to 10.",
            "request_id": "req_01jwnqrgt0e3rt0q9vz5k8x2mc",
            "docs_url": "https://jobs.example.com/docs/errors#validation_error",
            "fields": {"priority": ["It must be an integer from 1 to 10."]},
        }
    },
}
