"""Queues: what clients get back."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import Schema, fields

from ava.api.http.fields import Flag, Id, Instant, Text, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain.jobs import priority
from ava.store.fleet.queues import PausedQueue
from ava.store.reports.queue_counts import QueueCounts


class QueueRecord(Schema):
    """How many jobs of one worker wait and run."""

    worker_id = Id("wkr")
    queued = WholeNumber(minimum=0, maximum=2**53)
    running = WholeNumber(minimum=0, maximum=2**53)
    high_priority = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={"description": f"Queued jobs of priority {priority.FIRST} to {priority.HIGH}."},
    )


class PausedQueueRecord(Schema):
    """A queue of which nothing starts until it is resumed."""

    queue = Text()
    paused_by = Id(
        "usr",
        "key",
        allow_none=True,
        metadata={"description": "The user or API key that paused it; null for the roles of a tenant."},
    )
    paused_at = Instant()


class ResumedQueueRecord(Schema):
    """A queue that is not paused."""

    queue = Text()
    was_paused = Flag()


class CountsRecord(Schema):
    """How many jobs wait and run."""

    total_queued = WholeNumber(minimum=0, maximum=2**53)
    total_running = WholeNumber(minimum=0, maximum=2**53)
    total_waiting = WholeNumber(
        minimum=0,
        maximum=2**53,
        metadata={"description": "Jobs that wait for other jobs, an event or a time. They count as no queued ones."},
    )
    by_worker = fields.List(fields.Nested(QueueRecord))
    sampled_at = Instant()


class QueuesRecord(CountsRecord):
    """How many jobs wait and run, and which queues are paused."""

    paused_queues = fields.List(fields.Nested(PausedQueueRecord))


write_paused = compile_schema(PausedQueueRecord())
_write_counts = compile_schema(CountsRecord())


def write_queues(counts: QueueCounts, paused: Sequence[PausedQueue]) -> str:
    """Returns the record of `/v1/ava/queues` as JSON text."""
    return f'{_write_counts(counts)[:-1]},"paused_queues":[{",".join(map(write_paused, paused))}]}}'
