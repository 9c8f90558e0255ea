"""What operators' routes take and give."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load

from ava.api.http.fields import Choice, ClientId, Cursor, Flag, Id, Instant, JsonText, Number, Text, WholeNumber
from ava.api.schemas.requests import NoParameters
from ava.domain import ids, priority
from ava.store.reports.audit import AuditFilter

__all__ = ["AuditEntryRecord", "AuditList", "AuditListQuery", "NodeRecord", "NodeState", "OverviewRecord"]

_MOST = 2**53
_MOST_LETTERS = 100


class _Name(Text):
    """A name in a query."""

    def read(self, value: Any) -> str:
        """The name; raises `ValidationError` where it cannot be one."""
        if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= _MOST_LETTERS:
            raise ValidationError(f"It must be a name of 1 to {_MOST_LETTERS} letters.")
        return value


class NodeState(StrEnum):
    """How a node is."""

    LIVE = "live"
    SILENT = "silent"
    STOPPED = "stopped"


class DepthRecord(Schema):
    """How many jobs of one priority wait."""

    priority = WholeNumber(least=priority.FIRST, most=priority.LAST)
    queued = WholeNumber(least=0, most=_MOST)


class MinuteRecord(Schema):
    """What ended in one minute."""

    minute = Instant()
    completed = WholeNumber(least=0, most=_MOST)
    failed = WholeNumber(least=0, most=_MOST)
    cancelled = WholeNumber(least=0, most=_MOST)


class LatencyRecord(Schema):
    """Percentiles of the newest jobs of the last hour."""

    sampled = WholeNumber(least=0, most=_MOST, metadata={"description": "Of how many jobs."})
    start_p50_ms = Number(allow_none=True, metadata={"description": "From being due to the handler's start."})
    start_p95_ms = Number(allow_none=True)
    run_p50_ms = Number(allow_none=True, metadata={"description": "From the handler's start to its end."})
    run_p95_ms = Number(allow_none=True)


class OverviewRecord(Schema):
    """The tenant's jobs in sum."""

    queued = WholeNumber(least=0, most=_MOST)
    queued_is_exact = Flag(metadata={"description": "False where `queued` is a lower bound."})
    scheduled = WholeNumber(least=0, most=_MOST, metadata={"description": "Queued jobs that wait for their time."})
    running = WholeNumber(least=0, most=_MOST)
    by_priority = fields.List(fields.Nested(DepthRecord))
    oldest_due_at = Instant(allow_none=True)
    backlog_age_seconds = Number(allow_none=True, metadata={"description": "How long the oldest due job has waited."})
    latency = fields.Nested(LatencyRecord)
    minutes = fields.List(fields.Nested(MinuteRecord), metadata={"description": "The last 60, oldest first."})
    counted_until = Instant(metadata={"description": "Up to when ended jobs are counted in `minutes`."})
    sampled_at = Instant()


class RunningJobRecord(Schema):
    """A job of the tenant that a node runs."""

    id = Id("job")
    worker_id = Id("wkr")
    attempt = WholeNumber(least=0, most=6)
    started_at = Instant()
    progress = JsonText(attribute="progress_json", allow_none=True, metadata={"type": ["object", "null"]})


class NodeRecord(Schema):
    """A node: one Celery worker process with its children."""

    id = Id("node")
    name = Text()
    host = Text()
    pid = WholeNumber(least=0, most=_MOST)
    version = Text()
    queues = fields.List(Text())
    workers = fields.List(Text())
    processes = WholeNumber(least=0, most=_MOST, metadata={"description": "How many jobs it can run at once."})
    busy = WholeNumber(least=0, most=_MOST, metadata={"description": "How many it runs, whoever's they are."})
    memory_bytes = WholeNumber(least=0, most=_MOST, allow_none=True)
    state = Choice(NodeState)
    started_at = Instant()
    seen_at = Instant()
    stopped_at = Instant(allow_none=True)
    jobs = fields.List(fields.Nested(RunningJobRecord), metadata={"description": "Those of the caller's tenant."})


@dataclass(frozen=True, kw_only=True)
class AuditList:
    """Which entries a list shows."""

    audit_filter: AuditFilter
    per_page: int
    before_id: str | None


class AuditListQuery(NoParameters):
    """The parameters of the audit trail."""

    action = _Name(
        data_key="filter[action]",
        load_default=None,
        allow_none=False,
        metadata={"description": "As in `jobs.cancel`."},
    )
    user_id = ClientId("usr", data_key="filter[user_id]", load_default=None, allow_none=False)
    target = _Name(
        data_key="filter[target]",
        load_default=None,
        allow_none=False,
        metadata={"description": "The id of what was changed."},
    )
    per_page = WholeNumber(least=1, most=100, is_text=True, load_default=20)
    cursor = Cursor(
        lambda text: text if ids.decode("aud", text) is not None else None,
        load_default=None,
        allow_none=False,
        metadata={"description": "The next_cursor of the page before, for what follows it."},
    )

    @post_load
    def _list(self, values: dict[str, Any], **_: Any) -> AuditList:
        before_id, per_page = values.pop("cursor"), values.pop("per_page")
        return AuditList(audit_filter=AuditFilter(**values), per_page=per_page, before_id=before_id)


class AuditEntryRecord(Schema):
    """A change that somebody asked for."""

    id = Id("aud")
    at = Instant()
    tenant_id = Id("ten")
    user_id = Id("usr")
    role = Text()
    action = Text()
    target = Text(allow_none=True)
    status = WholeNumber(least=100, most=599, metadata={"description": "The answer's status: refusals stand here too."})
    address = Text(metadata={"description": "The peer's, and what a proxy said of the one behind it."})
    request_id = Text()
