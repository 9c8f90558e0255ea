"""Workers: what clients send and what they get back."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, post_load

from ava.api.http import cursors
from ava.api.http.fields import Choice, Flag, Id, Instant, Number, Text, WholeNumber
from ava.api.http.paging import PageQuery, PageRequest, cursor_field, take_page
from ava.api.http.records import compile_schema
from ava.domain.worker import WorkerStatus

__all__ = ["WorkerListQuery", "WorkerRecord", "write_worker"]


class WorkerListQuery(PageQuery):
    """The parameters of the list of workers."""

    cursor = cursor_field(cursors.to_worker_id)

    @post_load
    def _request(self, values: dict[str, Any], **_: Any) -> PageRequest:
        return PageRequest(**take_page(values))


class WorkerRecord(Schema):
    """A worker: a definition that can be run."""

    id = Id("wkr")
    name = Text()
    description = Text()
    runtime = Text()
    status = Choice(WorkerStatus)
    timeout_seconds = Number()
    max_retries = WholeNumber(least=0, most=5)
    queue = Text()
    created_at = Instant()
    updated_at = Instant()
    live = Flag(
        attribute="is_live", metadata={"description": "True if a live node has its handler and consumes its queue."}
    )


write_worker = compile_schema(WorkerRecord())
