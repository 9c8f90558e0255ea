"""`/v1/ava/workers`: the definitions that can be run."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import PageRequest, page_of
from ava.api.schemas.workers import WorkerListQuery, WorkerRecord, write_worker

__all__ = ["blueprint"]

blueprint = Blueprint("workers", __name__, url_prefix="/v1/ava/workers")


@blueprint.get("")
@operation(summary="List workers", description="By id.", query=WorkerListQuery(), record=WorkerRecord(), is_list=True)
def list_workers(query: PageRequest) -> Response:
    """Show a page of workers."""
    found, total = context().workers.page(caller(), limit=query.limit, after_id=query.after_id, offset=query.offset)
    return page_of(query, found, total, write_worker)


@blueprint.get("/<worker_id>")
@operation(summary="Show a worker", record=WorkerRecord(), failures=(404,))
def show(worker_id: str) -> Response:
    """Show one worker."""
    return responses.data(write_worker(context().workers.show(caller(), worker_id)))
