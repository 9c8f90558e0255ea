"""Nodes and queues: schemas of responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import post_load

from ava.api.http.paging import PageQuery, PageRequest, cursor_field, cursor_of_name, name_reader, take_page
from ava.api.http.records import RecordSchema, compile_schema
from ava.api.http.strict import Strict
from ava.api.schemas.pause_fields import paused_filter
from ava.domain import ids
from ava.domain.fleet import NodeView, Queue, QueuesInUse


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


class NodeRecord(RecordSchema, of=NodeView):
    """A node: one Celery worker process with its children."""


write_node = compile_schema(NodeRecord())


class QueuesQuery(Strict):
    """The parameters of the queues."""

    is_paused = paused_filter("queues")


class QueueRecord(RecordSchema, of=Queue):
    """A queue, and the tenant's own jobs of the workers that use it."""


class QueuesRecord(RecordSchema, of=QueuesInUse):
    """The numbers of waiting and running jobs, and the queues."""

    names = "total_queued total_running total_waiting by_worker sampled_at queues"


write_queue = compile_schema(QueueRecord())
write_queues = compile_schema(QueuesRecord())
