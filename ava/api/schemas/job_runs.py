"""The runs of a job: what clients get back."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http.fields import Instant, Text, WholeNumber
from ava.api.http.records import compile_schema


class JobRunRecord(Schema):
    """One run of a job's handler."""

    started_at = Instant()
    ended_at = Instant(allow_none=True, metadata={"description": "Null while it runs."})
    outcome = Text(
        allow_none=True,
        metadata={
            "description": "`completed`, `failed`, `cancelled`, `lost`, `interrupted`, `put_off`, or `waits`: its "
            "handler waited. Null while it runs."
        },
    )
    duration_ms = WholeNumber(minimum=0, maximum=2**53, allow_none=True)
    cpu_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "Its processor time; null while it runs, and if it is not known."},
    )
    peak_memory_mb = WholeNumber(
        minimum=0,
        maximum=2**31,
        allow_none=True,
        metadata={"description": "The most MiB of memory that its node saw; null of a run that ended before a look."},
    )
    wait_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "From when it could start to its start."},
    )


class JobRunsRecord(Schema):
    """The runs of a job, with how long it waited and ran in total."""

    waited_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "From when the job was due to its first start; null if it has not started."},
    )
    ran_ms = WholeNumber(
        minimum=0, maximum=2**53, allow_none=True, metadata={"description": "The sum of the runs that have ended."}
    )
    runs = fields.List(fields.Nested(JobRunRecord), metadata={"description": "The first 200, oldest first."})


write_job_runs = compile_schema(JobRunsRecord())
