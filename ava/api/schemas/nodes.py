"""Nodes: schemas of responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load

from ava.api.http.fields import WholeNumber
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, cursor_of_name, name_reader, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.schemas.pause_fields import paused_field, paused_filter
from ava.domain import ids
from ava.store.fleet.node_reads import NodeView, RunningJob


@dataclass(frozen=True, kw_only=True)
class NodeListRequest(PageRequest):
    """A page and filters of nodes."""

    is_paused: bool | None

    @property
    def after(self) -> tuple[bool, str] | None:
        """Return whether the last node before the page had stopped, and its UUID; None for the first page."""
        return None if self.after_id is None else _read_cursor(self.after_id)


def _read_cursor(encoded: str) -> tuple[bool, str] | None:
    state, _, digits = encoded.partition("_")
    uuid = ids.decode("node", f"node_{digits}")
    return None if uuid is None or state not in ("live", "stopped") else (state == "stopped", str(uuid))


def node_cursor(node: NodeView) -> str:
    return cursor_of_name(f"{'live' if node.stopped_at is None else 'stopped'}_{node.id.partition('_')[2]}")


class NodeListQuery(PageQuery):
    """The parameters of the list of nodes."""

    is_paused = paused_filter("nodes")
    cursor = cursor_field(name_reader(lambda encoded: _read_cursor(encoded) is not None))

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> NodeListRequest:
        return NodeListRequest(**take_page(values), is_paused=values["is_paused"])


class RunningJobRecord(RecordSchema, of=RunningJob):
    """A job of the tenant that runs on a node."""

    names = "id worker_id attempt started_at progress"
    attempt = WholeNumber(minimum=0, maximum=6)


class NodeRecord(RecordSchema, of=NodeView):
    """A node: one Celery worker process with its children."""

    names = (
        "id name host pid version code_version queues refused_queues refused_messages workers processes has_slots busy "
        "memory_bytes state started_at seen_at stopped_at paused jobs"
    )
    paused = paused_field()
    jobs = fields.List(
        fields.Nested(RunningJobRecord), metadata={"description": "The jobs of the caller's tenant that it is running."}
    )


write_node = compile_schema(NodeRecord())
