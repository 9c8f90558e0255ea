"""`/v1/ava/jobs/:id/runs`: each run of a job's handler."""

from __future__ import annotations

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.job_runs import JobRunsRecord, write_job_runs

blueprint = Blueprint("job_runs", __name__, url_prefix="/v1/ava/jobs")


@blueprint.get("/<job:job_id>/runs")
@operation(
    summary="List the runs of a job",
    description="Each attempt, and each run that was lost or interrupted, with its times; how long the job waited for "
    "its first start, and how long it ran in total. They are read from the lines of its log that begin and end them.",
    record=JobRunsRecord(),
    failures=(404,),
    reads_standby=True,
)
def show(job_id: str) -> Response:
    """Show the runs of one job."""
    return responses.data(write_job_runs(context().jobs.runs(caller(), job_id)))
