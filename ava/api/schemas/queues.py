"""Queues: schemas of responses."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import Schema, fields

from ava.api.http.fields import Flag, Id, Instant, Text, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain.jobs import priority
from ava.store.fleet.queues import PausedQueue
from ava.store.reports.queue_counts import QueueCounts


class QueueRecord(Schema):
    """The numbers of waiting and running jobs of one worker."""

    worker_id = Id("wkr")
    queued = WholeNumber(minimum=0, maximum=2**53)
    running = WholeNumber(minimum=0, maximum=2**53)
    high_priority = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={"description": f"Queued jobs of priority {priority.FIRST} to {priority.HIGH}."},
    )


class PausedQueueRecord(Schema):
    """A paused queue; its jobs do not start until it is resumed."""

    queue = Text()
    paused_by = Id(
        "usr",
        "key",
        allow_none=True,
        metadata={"description": "The user or API key that paused the queue; null for the roles of a tenant."},
    )
    paused_at = Instant()


class ResumedQueueRecord(Schema):
    """A queue that is not paused."""

    queue = Text()
    was_paused = Flag()


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
    by_worker = fields.List(fields.Nested(QueueRecord))
    sampled_at = Instant()


class QueuesRecord(CountsRecord):
    """The numbers of waiting and running jobs, and the paused queues."""

    paused_queues = fields.List(fields.Nested(PausedQueueRecord))


write_paused = compile_schema(PausedQueueRecord())
_write_counts = compile_schema(CountsRecord())


def write_queues(counts: QueueCounts, paused: Sequence[PausedQueue]) -> str:
    """Return the record of `/v1/ava/queues` as JSON."""
    return f'{_write_counts(counts)[:-1]},"paused_queues":[{",".join(map(write_paused, paused))}]}}'
