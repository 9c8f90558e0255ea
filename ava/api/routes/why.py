"""`/v1/ava/jobs/:id/why`: why a job is in its state."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.why import ExplanationRecord, write_explanation

blueprint = Blueprint("why", __name__, url_prefix="/v1/ava/jobs")


@blueprint.get("/<job:job_id>/why")
@operation(
    summary="Explain a job's state",
    description="One sentence, and the facts behind it. `ahead` counts the tenant's own jobs that start before this "
    "one, up to 10,000, among the first 20,000 of all tenants; the estimate takes all of these into account, each as "
    "long as the tenant's own newest jobs of the worker took. Without such a job there is none, and the sentence says "
    "why.",
    record=ExplanationRecord(),
    failures=(404,),
)
def show(job_id: str) -> Response:
    """Explain one job's state."""
    explanation = context().jobs.explain(caller(), job_id, node_dead_seconds=context().settings.node_dead_seconds)
    return responses.data(write_explanation(explanation))
