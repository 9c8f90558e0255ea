"""`/v1/ava/jobs/:id/tree`: the jobs of a tree and their edges."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response

from ava.api.http import gate, responses
from ava.api.http.callers import auth
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.streams import client_watch, watching
from ava.api.schemas.trees import TreeQuery, TreeRecord, write_tree

blueprint = Blueprint("trees", __name__, url_prefix="/v1/ava/jobs")


@blueprint.get("/<job:job_id>/tree")
@operation(
    summary="Show the tree of a job",
    description="The jobs that belong together, without their inputs and outputs, and the edges between them: the "
    "entries of a bulk with names or `after`, and the jobs that handlers have made, at most 10,000 below a root. Of a "
    "job that belongs to nothing, itself alone.",
    query=TreeQuery(),
    record=TreeRecord(),
    failures=(404,),
)
def tree(job_id: str, query: dict[str, Any]) -> Response:
    """Show a tree, at once or when each job of it is final."""
    job = context().jobs.show(caller(), job_id)
    if query["wait"] is not None:
        _wait(job.id, query["wait"])
    return responses.data(write_tree(context().jobs.tree(caller(), job_id)))


def _wait(job_id: str, seconds: int) -> None:
    """Wait for each unfinished job of a tree in turn, the newest first, for `seconds` in total."""
    ends = time.monotonic() + seconds
    client = client_watch()
    with watching(context().shares.waits, caller().tenant_id):
        while (left := ends - time.monotonic()) > 0:
            unfinished = context().jobs.unfinished_of_tree(caller(), job_id)
            if unfinished is None:
                break
            with gate.suspended():
                context().watches.wait(unfinished, left, client, tenant_id=caller().tenant_id)
    auth.identify()
