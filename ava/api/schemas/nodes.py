"""Nodes: schemas of responses."""

from __future__ import annotations

from marshmallow import fields

from ava.api.http.fields import WholeNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.pause_fields import PausedField, paused_filter
from ava.store.fleet.node_reads import NodeView, RunningJob


class NodeListQuery(Strict):
    """The parameters of the list of nodes."""

    is_paused = paused_filter("nodes")


class RunningJobRecord(RecordSchema, of=RunningJob):
    """A job of the tenant that runs on a node."""

    names = "id worker_id attempt started_at progress"
    attempt = WholeNumber(minimum=0, maximum=6)


class NodeRecord(RecordSchema, of=NodeView):
    """A node: one Celery worker process with its children."""

    names = (
        "id name host pid version queues refused_queues refused_messages workers processes has_slots busy memory_bytes "
        "state started_at seen_at stopped_at paused jobs"
    )
    paused = PausedField()
    jobs = fields.List(
        fields.Nested(RunningJobRecord), metadata={"description": "The jobs of the caller's tenant that it is running."}
    )


write_node = compile_schema(NodeRecord())
