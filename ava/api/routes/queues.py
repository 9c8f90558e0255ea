"""`/v1/ava/queues`: numbers of waiting and running jobs, and paused queues."""

from __future__ import annotations

import json

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import NoBody
from ava.api.routes.audit import record_pairs
from ava.api.schemas.queues import PausedQueueRecord, QueuesRecord, ResumedQueueRecord, write_paused, write_queues
from ava.domain.jobs import priority

blueprint = Blueprint("queues", __name__, url_prefix="/v1/ava/queues")


@blueprint.get("")
@operation(
    summary="Count waiting and running jobs",
    description="By worker, for the caller's tenant. `high_priority` counts the queued jobs of priority "
    f"{priority.FIRST} to {priority.HIGH}. The queued jobs of one worker are counted up to 10,000; beyond, its "
    "numbers are lower bounds. `paused_queues` names the paused queues; a role below platform-admin sees only the "
    "queues that its workers use, and not who paused them.",
    record=QueuesRecord(),
    reads_standby=True,
)
def show() -> Response:
    """Show the tenant's counts."""
    return responses.data(write_queues(*context().queues.counts(caller())))


@blueprint.post("/<queue:queue>/pause")
@operation(
    summary="Pause a queue",
    description="For the roles of the platform. Triggers for the queue are still accepted; within 2 s no more of its "
    "jobs start, not even published jobs. Running jobs continue. Repeated calls have no effect.",
    body=NoBody(),
    may_be_empty=True,
    record=PausedQueueRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
    is_for_operators=True,
)
def pause(queue: str) -> Response:
    """Pause one queue."""
    paused, was_paused = context().queues.pause(caller(), queue)
    record_pairs(paused=(was_paused, True))
    return responses.data(write_paused(paused))


@blueprint.post("/<queue:queue>/resume")
@operation(
    summary="Resume a queue",
    description="For the roles of the platform. The jobs of the queue start in their exact order. Repeated calls "
    "have no effect.",
    body=NoBody(),
    may_be_empty=True,
    record=ResumedQueueRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
    is_for_operators=True,
)
def resume(queue: str) -> Response:
    """Resume one queue."""
    was_paused = context().queues.resume(queue)
    record_pairs(paused=(was_paused, False))
    return responses.data(json.dumps({"queue": queue, "was_paused": was_paused}))
