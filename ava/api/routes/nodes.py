"""`/v1/ava/nodes`: the nodes that run jobs."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import NoBody
from ava.api.routes.audit import record_pairs
from ava.api.schemas.nodes import NodeRecord, write_node

blueprint = Blueprint("nodes", __name__, url_prefix="/v1/ava/nodes")


@blueprint.get("")
@operation(
    summary="List nodes",
    description="Live nodes first; an ended node is listed for an hour. `jobs` lists only the jobs of the caller's "
    "tenant, while `busy` counts the jobs of all tenants. A role below platform-admin sees the nodes and workers "
    "that it can use, with their queues and with `busy` for its own jobs, but no names and no memory of machines.",
    record=NodeRecord(many=True),
    reads_standby=True,
)
def list_nodes() -> Response:
    """Show the nodes."""
    found = context().admin.nodes.list(caller())
    return responses.data(f"[{','.join([write_node(node) for node in found])}]")


@blueprint.post("/<node_id>/drain")
@operation(
    summary="Drain a node",
    description="For platform-admin and above. Within seconds the node stops claiming jobs; running jobs finish, "
    "however long they take. The node stays drained and does not exit, because its supervisor would restart it: stop "
    "it once `busy` is 0. A restarted node claims jobs.",
    body=NoBody(),
    may_be_empty=True,
    record=NodeRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
)
def drain(node_id: str) -> Response:
    """Have a node take no more jobs."""
    return _set_drained(node_id, is_drained=True)


@blueprint.post("/<node_id>/resume")
@operation(
    summary="Resume a drained node",
    description="For platform-admin and above. Within seconds the node claims jobs again.",
    body=NoBody(),
    may_be_empty=True,
    record=NodeRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
)
def resume(node_id: str) -> Response:
    """Have a drained node take jobs again."""
    return _set_drained(node_id, is_drained=False)


def _set_drained(node_id: str, *, is_drained: bool) -> Response:
    was_drained, node = context().admin.nodes.set_drained(caller(), node_id, is_drained=is_drained)
    record_pairs(drained=(was_drained, is_drained))
    return responses.data(write_node(node))
