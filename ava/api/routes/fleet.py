"""`/v1/ava/nodes` and `/v1/ava/queues`: the nodes that run jobs, and the queues with their waiting and running jobs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.fleet import (
    NodeListQuery,
    NodeListRequest,
    NodeRecord,
    QueueRecord,
    QueuesQuery,
    QueuesRecord,
    node_cursor,
    write_node,
    write_queue,
    write_queues,
)
from ava.domain.jobs import priority

blueprint = Blueprint("nodes", __name__, url_prefix="/v1/ava/nodes")


@blueprint.get("")
@operation(
    summary="List nodes",
    call=PublicCall(
        help="List the nodes, live ones first; ended ones are listed for an hour.",
        example="--role platform-admin -o wide",
        lists_all=True,
        columns="id STATE=node_state* BUSY=busy* QUEUES=queues MEMORY=memory+ host+ PID=pid+ version+ "
        "STARTED=started_at+ SEEN=seen_at WORKERS=workers+",
    ),
    description="Live nodes first, the newest first; an ended node is listed for an hour. `jobs` lists only the jobs "
    "of the caller's tenant, while `busy` counts the jobs of all tenants. A role below platform-admin sees the nodes "
    "and workers that it can use, with their queues and with `busy` for its own jobs, but no names and no memory of "
    "machines.",
    query=NodeListQuery(),
    record=NodeRecord(),
    is_list=True,
    reads_standby=True,
)
def list_nodes(query: NodeListRequest) -> Response:
    found, total = context().admin.nodes.page(
        caller(), limit=query.limit, offset=query.offset, after=query.after, is_paused=query.is_paused
    )
    return page_of(query, found, total, write_node, cursor_of=node_cursor)


ResourceCalls(
    blueprint=blueprint,
    rule="/<node_id>",
    noun="a node",
    find=lambda: context().admin.nodes,
    write=write_node,
    record=NodeRecord(),
).add_pauses(
    pause="For the roles of the platform. Within seconds the node stops claiming jobs; running jobs finish, however "
    "long they take. The node stays paused and does not exit, because its supervisor would restart it: stop it "
    "once `busy` is 0. A restarted node claims jobs.",
    resume="For the roles of the platform. Within seconds the node claims jobs again.",
    is_for_operators=True,
)


queues_blueprint = Blueprint("queues", __name__, url_prefix="/v1/ava/queues")


@queues_blueprint.get("", endpoint="show")
@operation(
    summary="Count waiting and running jobs",
    call=PublicCall(
        method="queues.counts",
        command="queues list",
        help="List the queues with the tenant's own jobs. OLDEST is the waiting time of the oldest startable "
        "job.\n\nA table also has the jobs by worker, each counted up to 10,000. Urgent ones have priority 1 "
        "to 3.",
        columns="queue queued* running* waiting* OLDEST=oldest_seconds PAUSED=pause?",
    ),
    description="By worker, for the caller's tenant. `high_priority` counts the queued jobs of priority "
    f"{priority.FIRST} to {priority.HIGH}. The queued jobs of one worker are counted up to 10,000; beyond, its "
    "numbers are lower bounds. `queues` lists the queues that the tenant's workers use, with the tenant's own jobs; "
    "for platform-admin and above also the paused queues of other tenants' workers.",
    query=QueuesQuery(),
    record=QueuesRecord(),
    reads_standby=True,
)
def show_queues(query: dict[str, Any]) -> Response:
    return responses.data(write_queues(context().queues.counts(caller(), **query)))


ResourceCalls(
    blueprint=queues_blueprint,
    rule="/<queue:queue>",
    noun="a queue",
    find=lambda: context().queues,
    write=write_queue,
    record=QueueRecord(),
).add_pauses(
    pause="For the roles of the platform. Triggers for the queue are still accepted; within 2 s no more of its jobs "
    "start, not even published jobs. Running jobs continue.",
    resume="For the roles of the platform. The jobs of the queue start in their exact order.",
    is_for_operators=True,
)
