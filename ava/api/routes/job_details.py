"""Details of a job: `/v1/ava/jobs/:id/runs`, `/why`, `/tree` and `/journal`."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from flask import Blueprint, Response

from ava.api.http import paging, request_turns, responses
from ava.api.http.callers import auth
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.routes.streams import client_watch, watching
from ava.api.schemas.job_details import ExplanationRecord, JobRunsRecord, write_explanation, write_job_runs
from ava.api.schemas.journals import JobJournalRecord, JournalQuery, write_journal
from ava.api.schemas.trees import TreeQuery, TreeRecord, write_tree
from ava.errors import InvalidParameters

runs = Blueprint("job_runs", __name__, url_prefix="/v1/ava/jobs")


@runs.get("/<job:job_id>/runs", endpoint="show")
@operation(
    summary="List the runs of a job",
    description="Each attempt, and each run that was lost or interrupted, with its times; how long the job waited "
    "for its first start, and its total run time. The runs are read from the lines of the log that begin and end "
    "them.",
    record=JobRunsRecord(),
    failures=(404,),
    reads_standby=True,
)
def show_runs(job_id: str) -> Response:
    """Show the runs of one job."""
    return responses.data(write_job_runs(context().jobs.runs(caller(), job_id)))


reasons = Blueprint("why", __name__, url_prefix="/v1/ava/jobs")


@reasons.get("/<job:job_id>/why", endpoint="show")
@operation(
    summary="Explain a job's state",
    description="One sentence, and its facts. `ahead` counts the tenant's own jobs that start before this one, up to "
    "10,000, among the first 20,000 of all tenants. The estimate considers all of these jobs, each with the duration "
    "of the tenant's newest jobs of the worker. Without completed jobs of the worker there is no estimate, and the "
    "sentence says so.",
    record=ExplanationRecord(),
    failures=(404,),
)
def show_reason(job_id: str) -> Response:
    """Explain one job's state."""
    explanation = context().jobs.explain(caller(), job_id, node_dead_seconds=context().settings.node_dead_seconds)
    return responses.data(write_explanation(explanation))


trees = Blueprint("trees", __name__, url_prefix="/v1/ava/jobs")


@trees.get("/<job:job_id>/tree")
@operation(
    summary="Show the tree of a job",
    description="The jobs of the tree, without inputs and outputs, and the edges between them: bulk entries with "
    "names or `after`, and jobs created by handlers, at most 10,000 below a root. A job without a tree is returned "
    "as its only job.",
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
            with request_turns.suspended():
                context().watches.wait(unfinished, left, client, tenant_id=caller().tenant_id)
    auth.identify()


journals = Blueprint("journals", __name__, url_prefix="/v1/ava/jobs")


@journals.get("/<job:job_id>/journal", endpoint="show")
@operation(
    summary="Show the journal of a job",
    description="The named actions of its handler: steps with their results, children, sleeps, and waits with a "
    "timeout; and the times and jobs of its waits. Without payload permission, names and results are hidden.",
    query=JournalQuery(),
    record=JobJournalRecord(),
    failures=(404,),
    reads_standby=True,
)
def show_journal(job_id: str, query: dict[str, Any]) -> Response:
    """Show the next entries of a job's journal."""
    found = context().jobs.journal(caller(), job_id, after=_after(job_id, query["after"]), limit=query["limit"])
    shown = SimpleNamespace(
        job_id=job_id,
        entries=found.entries,
        next_cursor=paging.cursor_of_line(job_id, found.entries[-1].n) if found.has_more else None,
        waits=found.waits,
    )
    return responses.data(write_journal(shown))


def _after(job_id: str, cursor: str | None) -> int:
    if cursor is None:
        return 0
    if (n := paging.line_of_cursor(job_id, cursor)) is None:
        reason = "It must be the next_cursor of an earlier response for this job, unchanged."
        raise InvalidParameters(f"after: {reason}", {"after": [reason]})
    return n
