"""`/v1/ava/queues`: how many jobs wait and run."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import records, responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.records import QueuesRecord

__all__ = ["blueprint"]

blueprint = Blueprint("queues", __name__, url_prefix="/v1/ava/queues")


@blueprint.get("")
@operation(
    summary="Count waiting and running jobs",
    description="By worker, for the caller's tenant. `high_priority` counts the queued jobs of priority 1 to 3. The "
    "queued jobs of one worker are counted up to 10,000; beyond, its numbers are lower bounds.",
    answer=QueuesRecord(),
)
def show() -> Response:
    """The tenant's counts."""
    return responses.data(records.queues(context().jobs.queue_counts(caller())))
