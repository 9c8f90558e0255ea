"""Queues: schemas of requests and responses."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import Schema, fields

from ava.api.http.fields import Id, Instant, Number, String, WholeNumber
from ava.api.http.records import compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.pause_fields import paused_field, paused_filter
from ava.domain.jobs import priority
from ava.store.fleet.queues import Queue
from ava.store.reports.queue_counts import QueueCounts


class QueuesQuery(Strict):
    """The parameters of the queues."""

    is_paused = paused_filter("queues")


class WorkerCountRecord(Schema):
    """The numbers of waiting and running jobs of one worker."""

    worker_id = Id("wkr")
    queued = WholeNumber(minimum=0, maximum=2**53)
    running = WholeNumber(minimum=0, maximum=2**53)
    high_priority = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={"description": f"Queued jobs of priority {priority.FIRST} to {priority.HIGH}."},
    )


class QueueRecord(Schema):
    """A queue, and the tenant's own jobs of the workers that use it."""

    queue = String()
    queued = WholeNumber(minimum=0, maximum=2**53)
    running = WholeNumber(minimum=0, maximum=2**53)
    waiting = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={"description": "Jobs that wait for other jobs, an event or a time; not among the queued jobs."},
    )
    paused = paused_field()
    oldest_seconds = Number(
        allow_none=True,
        metadata={"description": "The waiting time of the oldest startable job; null if none could start."},
    )


class CountsRecord(Schema):
    """The numbers of waiting and running jobs."""

    total_queued = WholeNumber(minimum=0, maximum=2**53)
    total_running = WholeNumber(minimum=0, maximum=2**53)
    total_waiting = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={
            "description": "Jobs that wait for other jobs, an event or a time. They are not included in the "
            "queued jobs."
        },
    )
    by_worker = fields.List(fields.Nested(WorkerCountRecord))
    sampled_at = Instant()


class QueuesRecord(CountsRecord):
    """The numbers of waiting and running jobs, and the queues."""

    queues = fields.List(fields.Nested(QueueRecord))


write_queue = compile_schema(QueueRecord())
_write_counts = compile_schema(CountsRecord())


def write_queues(counts: QueueCounts, found: Sequence[Queue]) -> str:
    """Return the record of `/v1/ava/queues` as JSON."""
    return f'{_write_counts(counts)[:-1]},"queues":[{",".join(map(write_queue, found))}]}}'
