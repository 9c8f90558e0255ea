"""`/v1/ava/runs`: durable handlers over HTTP, which read and write the journal of their job."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response

from ava.api.http import paging, responses
from ava.api.http.callers.auth import open_to_workers
from ava.api.http.context import context
from ava.api.http.operations import operation
from ava.api.http.paging import PageRequest, cursor_of_line, page_of
from ava.api.routes import pulled_runs
from ava.api.schemas.durable_runs import (
    ChildOutputRecord,
    ChildrenBody,
    OutputsBody,
    StepBody,
    write_child,
    write_child_output,
)
from ava.api.schemas.job_details import ChildRecord, JournalEntryRecord, write_journal_entry
from ava.api.schemas.pulled_runs import StopRecord
from ava.domain.jobs.waits import NewChild
from ava.domain.limits.table import BULK_BODY_BYTES
from ava.services.durable_runs import SentStep

#: Shared with the other routes of a run, because only this blueprint accepts a run's token.
blueprint = pulled_runs.blueprint
#: Entries of one page of a journal.
_ENTRIES_PER_PAGE = 1_000


@blueprint.get("/<run>/journal")
@open_to_workers
@operation(
    summary="List a run's journal",
    call=None,
    description="The recorded steps, children and waits of the job, oldest first, with whole values. The first call of "
    "a new attempt deletes failed and cancelled children and waits, because the attempt repeats them.",
    query=paging.job_page_query(maximum=_ENTRIES_PER_PAGE, default=_ENTRIES_PER_PAGE),
    record=JournalEntryRecord(),
    is_list=True,
    failures=(404, 409),
)
def list_journal(run: str, query: PageRequest) -> Response:
    job_id, found, total = context().durable_runs.journal(
        run, after=query.after_line, limit=query.limit, offset=query.offset
    )
    return page_of(
        query, found, total, write_journal_entry.whole, cursor_of=lambda entry: cursor_of_line(job_id, entry.n)
    )


@blueprint.post("/<run>/outputs")
@open_to_workers
@operation(
    summary="Read the outputs of a run's children",
    call=None,
    description="In the order of the request; a response of 8 MiB ends early. Request the missing ones again.",
    body=OutputsBody(),
    record=ChildOutputRecord(),
    is_array=True,
    failures=(404, 409, 413, 415, 422),
)
def list_outputs(run: str, body: dict[str, list[str]]) -> Response:
    found = context().durable_runs.outputs(run, body["jobs"])
    return responses.data("[" + ",".join(write_child_output.whole(each) for each in found) + "]")


@blueprint.post("/<run>/steps")
@open_to_workers
@operation(
    summary="Record a step of a run",
    call=None,
    description="The first result of a name stays: the same call again is 200, another value 409. A step that an "
    "earlier run began and did not end is 409 `step_interrupted`.",
    body=StepBody(),
    body_as="step",
    record=StopRecord(),
    failures=(404, 409, 413, 415, 422),
)
def record_step(run: str, step: SentStep) -> Response:
    return pulled_runs.stop_response(context().durable_runs.write_step(run, step))


@blueprint.post("/<run>/children")
@open_to_workers
@operation(
    summary="Create children of a run's job",
    call=None,
    description="All or none; a name that exists returns its child. The key that claimed the run must list the workers "
    "in `triggers`. 409 once the job is to be cancelled.",
    body=ChildrenBody(),
    body_as="children",
    record=ChildRecord(),
    is_array=True,
    failures=(403, 404, 409, 413, 415, 422, 429),
    max_bytes=BULK_BODY_BYTES,
)
def create_children(run: str, children: Sequence[NewChild]) -> Response:
    made = context().durable_runs.make_children(run, children)
    return responses.data("[" + ",".join(map(write_child.whole, made)) + "]")
