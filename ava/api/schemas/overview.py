"""The overview of a tenant, the load of all tenants, and promotions of a standby: schemas of responses."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http import payloads
from ava.api.http.fields import Flag, Id, Instant, Number, String, WholeNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.domain.jobs import priority
from ava.store.reports.tenant_loads import TenantLoad

_MAX_COUNT = 2**53


class DepthRecord(Schema):
    """How many jobs of one priority are queued."""

    priority = WholeNumber(minimum=priority.FIRST, maximum=priority.LAST)
    queued = WholeNumber(minimum=0, maximum=_MAX_COUNT)
    scheduled = WholeNumber(
        minimum=0,
        maximum=_MAX_COUNT,
        metadata={"description": "The queued jobs of this priority with a `scheduled_at` in the future."},
    )


class FailureRecord(Schema):
    """A failed job."""

    id = Id("job")
    worker_id = Id("wkr")
    error = String(allow_none=True, metadata={"payload": payloads.hide_error})
    completed_at = Instant()


class MinuteRecord(Schema):
    """How many jobs ended in one minute."""

    minute = Instant()
    completed = WholeNumber(minimum=0, maximum=_MAX_COUNT)
    failed = WholeNumber(minimum=0, maximum=_MAX_COUNT)
    cancelled = WholeNumber(minimum=0, maximum=_MAX_COUNT)


class LatencyRecord(Schema):
    """Percentiles of the newest jobs of the last hour."""

    sampled = WholeNumber(
        minimum=0,
        maximum=_MAX_COUNT,
        metadata={"description": "The number of sampled jobs."},
    )
    start_p50_ms = Number(
        allow_none=True,
        metadata={"description": "The time from when a job is due to its handler's start, over the last 5 minutes."},
    )
    start_p95_ms = Number(allow_none=True)
    run_p50_ms = Number(allow_none=True, metadata={"description": "The time from the handler's start to its end."})
    run_p95_ms = Number(allow_none=True)


class OverviewRecord(Schema):
    """The tenant's jobs in total."""

    queued = WholeNumber(minimum=0, maximum=_MAX_COUNT)
    queued_is_exact = Flag(metadata={"description": "False if `queued` is a lower bound."})
    scheduled = WholeNumber(
        minimum=0,
        maximum=_MAX_COUNT,
        metadata={
            "description": "Queued jobs with a `scheduled_at` in the future. Pending retries and jobs deferred by "
            "their handler are not counted."
        },
    )
    running = WholeNumber(minimum=0, maximum=_MAX_COUNT)
    by_priority = fields.List(fields.Nested(DepthRecord))
    oldest_due_at = Instant(allow_none=True)
    backlog_age_seconds = Number(allow_none=True, metadata={"description": "The waiting time of the oldest due job."})
    latency = fields.Nested(LatencyRecord)
    minutes = fields.List(fields.Nested(MinuteRecord), metadata={"description": "The last 60 minutes, oldest first."})
    counted_until = Instant(metadata={"description": "The time until which ended jobs are counted in `minutes`."})
    failures = fields.List(
        fields.Nested(FailureRecord),
        metadata={"description": "The 5 most recent failures, newest first."},
    )
    sampled_at = Instant()


write_overview = compile_schema(OverviewRecord())


class PromotionRecord(Schema):
    """A PostgreSQL standby that became the primary."""

    timeline = WholeNumber(
        minimum=1, maximum=2**31, metadata={"description": "The PostgreSQL timeline that began with the promotion."}
    )
    seen_at = Instant(metadata={"description": "When the active dispatcher detected the promotion."})
    running = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={
            "description": "The number of runs in progress at the promotion. Their "
            "processes ask the new primary whether they still own them."
        },
    )
    lossy = Flag(
        attribute="is_lossy",
        metadata={"description": "True if committed transactions are known to be lost. False: no loss was detected."},
    )


write_promotion = compile_schema(PromotionRecord())


class TenantLoadRecord(RecordSchema, of=TenantLoad):
    """The jobs of one tenant."""

    names = "tenant_id waiting scheduled running completed failed cancelled share"


write_tenant_load = compile_schema(TenantLoadRecord())
