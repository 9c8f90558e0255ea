"""`/v1/ava/workers`: the definitions that can be run."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import cursors, records, responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.responses import Page
from ava.api.schemas.records import WorkerRecord
from ava.api.schemas.requests import WorkerList, WorkerListQuery

__all__ = ["blueprint"]

blueprint = Blueprint("workers", __name__, url_prefix="/v1/ava/workers")


@blueprint.get("")
@operation(summary="List workers", description="By id.", query=WorkerListQuery(), answer=WorkerRecord(), is_list=True)
def list_workers(query: WorkerList) -> Response:
    """A page of workers."""
    skipped = 0 if query.page is None else (query.page - 1) * query.per_page
    found, total = context().workers.page(caller(), limit=query.per_page + 1, after_id=query.after_id, offset=skipped)
    shown, has_more = found[: query.per_page], len(found) > query.per_page
    page = Page(
        page=None if query.after_id else query.page or 1,
        per_page=query.per_page,
        total=total,
        has_more=has_more,
        next_cursor=cursors.of_worker(shown[-1].id) if has_more else None,
    )
    return responses.data_list([records.worker(worker) for worker in shown], page)


@blueprint.get("/<worker_id>")
@operation(summary="Show a worker", answer=WorkerRecord(), failures=(404,))
def show(worker_id: str) -> Response:
    """One worker."""
    return responses.data(records.worker(context().workers.show(caller(), worker_id)))
