"""`/v1/ava/jobs/:id/journal`: the steps, children and waits of a job's handler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flask import Blueprint, Response

from ava.api.http import paging, responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.journals import JobJournalRecord, JournalQuery, write_journal
from ava.errors import InvalidParameters

blueprint = Blueprint("journals", __name__, url_prefix="/v1/ava/jobs")


@blueprint.get("/<job:job_id>/journal")
@operation(
    summary="Show the journal of a job",
    description="What its handler has done, by names: steps with their results, children, sleeps, waits with a "
    "time-out; and when the job has waited, for which jobs. A caller who does not see payloads sees neither names nor "
    "results.",
    query=JournalQuery(),
    record=JobJournalRecord(),
    failures=(404,),
    reads_standby=True,
)
def show(job_id: str, query: dict[str, Any]) -> Response:
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
        reason = "It must be the next_cursor of an earlier answer about this job, unchanged."
        raise InvalidParameters(f"after: {reason}", {"after": [reason]})
    return n
