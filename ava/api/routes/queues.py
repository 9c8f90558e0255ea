"""`/v1/ava/queues`: numbers of waiting and running jobs, and the queues with their pauses."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.pause_calls import add_pauses
from ava.api.schemas.fleet import QueueRecord, QueuesQuery, QueuesRecord, write_queue, write_queues
from ava.domain.jobs import priority

blueprint = Blueprint("queues", __name__, url_prefix="/v1/ava/queues")


@blueprint.get("")
@operation(
    summary="Count waiting and running jobs",
    description="By worker, for the caller's tenant. `high_priority` counts the queued jobs of priority "
    f"{priority.FIRST} to {priority.HIGH}. The queued jobs of one worker are counted up to 10,000; beyond, its "
    "numbers are lower bounds. `queues` lists the queues that the tenant's workers use, with the tenant's own jobs; "
    "for platform-admin and above also the paused queues of other tenants' workers.",
    query=QueuesQuery(),
    record=QueuesRecord(),
    reads_standby=True,
)
def show(query: dict[str, Any]) -> Response:
    return responses.data(write_queues(*context().queues.counts(caller(), **query)))


add_pauses(
    blueprint,
    "/<queue:queue>",
    lambda: context().queues,
    write_queue,
    noun="a queue",
    effects=(
        "For the roles of the platform. Triggers for the queue are still accepted; within 2 s no more of its jobs "
        "start, not even published jobs. Running jobs continue.",
        "For the roles of the platform. The jobs of the queue start in their exact order.",
    ),
    record=QueueRecord(),
    is_for_operators=True,
)
