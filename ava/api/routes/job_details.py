"""Details of a job: `/v1/ava/jobs/:id/runs`, `/why`, `/tree`, `/journal`, `/waits` and `/deliveries`."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response

from ava.api.http import paging, request_turns, responses
from ava.api.http.callers import auth
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import PageRequest, cursor_of_line, page_of
from ava.api.routes import deliveries
from ava.api.routes.streams import client_watch, watching
from ava.api.schemas.deliveries import write_delivery
from ava.api.schemas.job_details import (
    ExplanationRecord,
    JobRunRecord,
    JobWaitRecord,
    JournalEntryRecord,
    TreeQuery,
    TreeRecord,
    write_explanation,
    write_job_run,
    write_job_wait,
    write_journal_entry,
    write_tree,
)

runs = Blueprint("job_runs", __name__, url_prefix="/v1/ava/jobs")


@runs.get("/<job:job_id>/runs", endpoint="list")
@operation(
    summary="List a job's runs",
    call=PublicCall(
        help="List a job's runs, oldest first.",
        lists_all=True,
        columns="attempt+ outcome* started_at RAN=duration_ms CPU=cpu_ms MEMORY=peak_memory WAITED=wait_ms",
    ),
    description="Oldest first: each attempt, and each run that was lost or interrupted, with its times. A handler "
    "that waits has a run before and after each wait.",
    query=paging.job_page_query(),
    record=JobRunRecord(),
    is_list=True,
    failures=(404,),
    reads_standby=True,
)
def list_runs(job_id: str, query: PageRequest) -> Response:
    found, total = context().jobs.runs(
        caller(), job_id, after=query.after_line(job_id), limit=query.limit, offset=query.offset
    )
    return page_of(query, found, total, write_job_run, cursor_of=lambda run: cursor_of_line(job_id, run.run_no))


reasons = Blueprint("why", __name__, url_prefix="/v1/ava/jobs")


@reasons.get("/<job:job_id>/why", endpoint="show")
@operation(
    summary="Explain a job",
    call=PublicCall(help="Print why a job has its status.", tool="why"),
    description="One sentence, and its facts. `ahead` counts the tenant's own jobs that start before this one, up to "
    "10,000, among the first 20,000 of all tenants. The estimate considers all of these jobs, each with the duration "
    "of the tenant's newest jobs of the worker. Without completed jobs of the worker the sentence "
    "has no estimate.",
    record=ExplanationRecord(),
    failures=(404,),
)
def show_reason(job_id: str) -> Response:
    explanation = context().jobs.explain(caller(), job_id, node_dead_seconds=context().settings.node_dead_seconds)
    return responses.data(write_explanation(explanation))


trees = Blueprint("trees", __name__, url_prefix="/v1/ava/jobs")


@trees.get("/<job:job_id>/tree")
@operation(
    summary="Show a job's tree",
    call=PublicCall(
        help="Show the tree of a job: children below their parents, and the dependencies between jobs.",
        example="--wait",
    ),
    description="The jobs of the tree, without inputs and outputs, and the edges between them: bulk entries with "
    "names or `after`, and jobs created by handlers, at most 10,000 below a root. A job without a tree is returned "
    "as its only job.",
    query=TreeQuery(),
    record=TreeRecord(),
    failures=(404,),
)
def tree(job_id: str, query: dict[str, Any]) -> Response:
    """Show a tree, immediately or once all its jobs are final."""
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


@journals.get("/<job:job_id>/journal", endpoint="list")
@operation(
    summary="List a job's journal",
    call=PublicCall(
        help="List the recorded steps, children and waits of a job's handler, oldest first.",
        lists_all=True,
        columns="kind* name state* WRITTEN=written_at VALUE=journal_value?",
    ),
    description="Oldest first: the named actions of its handler, i.e. steps with their results, children, sleeps, "
    "and waits with a timeout. Without payload permission, names and results are hidden.",
    query=paging.job_page_query(),
    record=JournalEntryRecord(),
    is_list=True,
    failures=(404,),
    reads_standby=True,
)
def list_journal(job_id: str, query: PageRequest) -> Response:
    found, total = context().jobs.journal(
        caller(), job_id, after=query.after_line(job_id), limit=query.limit, offset=query.offset
    )
    return page_of(query, found, total, write_journal_entry, cursor_of=lambda entry: cursor_of_line(job_id, entry.n))


waits = Blueprint("waits", __name__, url_prefix="/v1/ava/jobs")


@waits.get("/<job:job_id>/waits", endpoint="list")
@operation(
    summary="List a job's waits",
    call=PublicCall(
        help="List the waits of a job, the latest first.",
        lists_all=True,
        columns="WAIT_FOR=wait_reason BEGAN=began_at ENDED=ended_at",
    ),
    description="Latest first, each with its jobs or event, its start, and when the handler continued.",
    query=paging.job_page_query(),
    record=JobWaitRecord(),
    is_list=True,
    failures=(404,),
    reads_standby=True,
)
def list_waits(job_id: str, query: PageRequest) -> Response:
    found, total = context().jobs.waits(
        caller(), job_id, after=query.after_line(job_id), limit=query.limit, offset=query.offset
    )
    return page_of(query, found, total, write_job_wait, cursor_of=lambda wait: cursor_of_line(job_id, wait.run_no))


job_deliveries = Blueprint("job_deliveries", __name__, url_prefix="/v1/ava/jobs")


@job_deliveries.get("/<job:job_id>/deliveries", endpoint="list")
@operation(
    summary="List a job's deliveries",
    call=PublicCall(
        method="jobs.deliveries",
        help="List what webhooks have sent about a job, newest first, without bodies.",
        lists_all=True,
        columns="id* status EVENT=event_name RESPONSE=response_status JOBS=job_ids reason? created_at+ "
        "NEXT=next_attempt_at+ REQUESTS=attempts+",
    ),
    description="The deliveries of all webhooks of the tenant about the job, newest first, without bodies.",
    query=paging.page_query(paging.id_reader("del")),
    **deliveries.LIST,
)
def list_deliveries(job_id: str, query: PageRequest) -> Response:
    job = context().jobs.show(caller(), job_id)
    found, total = context().sent_deliveries.of_job(caller(), job.id, bounds=query.bounds)
    return page_of(query, found, total, write_delivery)
