"""`/v1/ava/queues`: how many jobs wait and run."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.queues import QueuesRecord, write_queues
from ava.domain import priority

__all__ = ["blueprint"]

blueprint = Blueprint("queues", __name__, url_prefix="/v1/ava/queues")


@blueprint.get("")
@operation(
    summary="Count waiting and running jobs",
    description="By worker, for the caller's tenant. `high_priority` counts the queued jobs of priority "
    f"{priority.FIRST} to {priority.HIGH}. The queued jobs of one worker are counted up to 10,000; beyond, its "
    "numbers are lower bounds.",
    record=QueuesRecord(),
)
def show() -> Response:
    """Show the tenant's counts."""
    return responses.data(write_queues(context().jobs.queue_counts(caller())))
