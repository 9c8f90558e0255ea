"""Nodes: schemas of responses."""

from __future__ import annotations

from enum import StrEnum

from marshmallow import Schema, fields

from ava.api.http.fields import Choice, Flag, Id, Instant, JsonText, Text, WholeNumber
from ava.api.http.records import compile_schema

_MAX_COUNT = 2**53


class NodeLiveness(StrEnum):
    """The state of a node."""

    LIVE = "live"
    SILENT = "silent"
    STOPPED = "stopped"


class RunningJobRecord(Schema):
    """A job of the tenant that runs on a node."""

    id = Id("job")
    worker_id = Id("wkr")
    attempt = WholeNumber(minimum=0, maximum=6)
    started_at = Instant()
    progress = JsonText(attribute="progress_json", allow_none=True, metadata={"type": "object"})


class NodeRecord(Schema):
    """A node: one Celery worker process with its children."""

    id = Id("node")
    name = Text(metadata={"description": "Celery's name; the id for the roles of a tenant."})
    host = Text(allow_none=True, metadata={"description": "Null for the roles of a tenant."})
    pid = WholeNumber(
        minimum=0, maximum=_MAX_COUNT, allow_none=True, metadata={"description": "Null for the roles of a tenant."}
    )
    version = Text()
    queues = fields.List(Text(), metadata={"description": "The queues that it consumes."})
    refused_queues = fields.List(
        Text(), metadata={"description": "Those that the broker refuses to it; it tries them again every few seconds."}
    )
    refused_messages = fields.List(
        Text(),
        metadata={
            "description": "Why it has refused messages of the broker in the last minute. `unsigned`: its "
            "`AVA_MESSAGE_KEY` lacks the key that signs, and their jobs wait; else something that is not ours writes "
            "them. Empty for the roles of a tenant."
        },
    )
    workers = fields.List(Text())
    processes = WholeNumber(
        minimum=0, maximum=_MAX_COUNT, metadata={"description": "How many jobs it can run at once."}
    )
    has_slots = Flag(
        metadata={"description": "Whether these are slots of one process, for the jobs of concurrent workers."}
    )
    busy = WholeNumber(
        minimum=0,
        maximum=_MAX_COUNT,
        metadata={"description": "How many jobs it runs, of all tenants; for the roles of a tenant, its own."},
    )
    memory_bytes = WholeNumber(
        minimum=0, maximum=_MAX_COUNT, allow_none=True, metadata={"description": "Null for the roles of a tenant."}
    )
    state = Choice(NodeLiveness)
    started_at = Instant()
    seen_at = Instant()
    stopped_at = Instant(allow_none=True)
    drained_at = Instant(
        allow_none=True,
        metadata={"description": "Since when it takes no more jobs; it still finishes what runs. Null: it takes jobs."},
    )
    drained_by = Text(
        allow_none=True, metadata={"description": "Who asked for it. Null as well for the roles of a tenant."}
    )
    jobs = fields.List(
        fields.Nested(RunningJobRecord), metadata={"description": "The jobs of the caller's tenant that it runs."}
    )


write_node = compile_schema(NodeRecord())
