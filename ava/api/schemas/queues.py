"""Queues: what clients get back."""

from __future__ import annotations

from marshmallow import Schema, fields

from ava.api.http.fields import Id, Instant, WholeNumber
from ava.api.http.records import compile_schema
from ava.domain import priority

__all__ = ["QueuesRecord", "write_queues"]


class QueueRecord(Schema):
    """How many jobs of one worker wait and run."""

    worker_id = Id("wkr")
    queued = WholeNumber(least=0, most=2**53)
    running = WholeNumber(least=0, most=2**53)
    high_priority = WholeNumber(
        least=0, most=2**53, metadata={"description": f"Queued jobs of priority {priority.FIRST} to {priority.HIGH}."}
    )


class QueuesRecord(Schema):
    """How many jobs wait and run."""

    total_queued = WholeNumber(least=0, most=2**53)
    total_running = WholeNumber(least=0, most=2**53)
    by_worker = fields.List(fields.Nested(QueueRecord))
    sampled_at = Instant()


write_queues = compile_schema(QueuesRecord())
