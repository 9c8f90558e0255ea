"""`/v1/ava/jobs/:id/logs`: a job's log in pages, or to download."""

from __future__ import annotations

import errno
import json
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace

from flask import Blueprint, Response

from ava.api.http import paging, payloads, request_turns, responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import within_response
from ava.api.routes.streams import SharedStream, client_watch, watching
from ava.api.schemas.job_logs import (
    JobLogRecord,
    LogFilterQuery,
    LogRequest,
    LogsQuery,
    write_log_line,
    write_plain_line,
)
from ava.domain.jobs.job import LogLine
from ava.errors import InvalidParameters
from ava.store.jobs.reads.job_logs import LogRange

blueprint = Blueprint("job_logs", __name__, url_prefix="/v1/ava/jobs")


@blueprint.get("/<job:job_id>/logs")
@operation(
    summary="Show a job's log",
    call=PublicCall(
        method="jobs.logs", options={"q": "--grep"}, help="Show a job's log.", example="-f", tool="get_logs"
    ),
    description="Oldest line first. To follow a log, poll with `after` set to the `next_cursor` of the previous "
    "response; it stays the same until there is a new line. `tail` returns the last lines, and `before` with a "
    "`previous_cursor` the preceding lines; `has_more` then reports that earlier lines exist. A response ends early "
    "at 8 MiB, or after scanning 100,000 lines for `q` or `since`; its cursor continues it.",
    query=LogsQuery(),
    record=JobLogRecord(),
    failures=(404,),
    reads_standby=True,
)
def logs(job_id: str, query: LogRequest) -> Response:
    wanted = _wanted(job_id, query)
    if query.wanted.search is not None:
        payloads.require()
    is_backward = wanted.before_seq is not None
    status, found = context().jobs.logs(caller(), job_id, wanted)
    lines = list(found.lines)
    # A response that would be too large keeps the lines nearest to the requested position.
    written = within_response(map(write_log_line, reversed(lines) if is_backward else lines))
    has_more = found.has_more or len(written) < len(lines)
    scanned_until = found.scanned_until if len(written) == len(lines) else None
    if is_backward:
        written, lines = written[::-1], lines[len(lines) - len(written) :]
    else:
        lines = lines[: len(written)]
    hidden = "" if payloads.are_visible() else f",{payloads.HIDDEN_FLAG}"
    log = f'{{"job_id":"{job_id}","job_status":"{status}","logs":[{",".join(written)}]{hidden}}}'
    cursors = _pagination(job_id, query, wanted, lines, has_more, scanned_until)
    return responses.as_json(f'{{"data":{log},"pagination":{cursors}}}\n')


def _wanted(job_id: str, query: LogRequest) -> LogRange:
    if query.after is not None:
        return replace(query.wanted, after_seq=_seq(job_id, "after", query.after))
    if query.before is not None:
        # A cursor is the position after a line.
        return replace(query.wanted, before_seq=_seq(job_id, "before", query.before) + 1)
    return query.wanted


def _seq(job_id: str, name: str, cursor: str) -> int:
    if (seq := paging.line_of_cursor(job_id, cursor)) is None:
        reason = "It must be a cursor of an earlier response for this job, unchanged."
        raise InvalidParameters(f"{name}: {reason}", {name: [reason]})
    return seq


def _pagination(
    job_id: str, query: LogRequest, wanted: LogRange, lines: list[LogLine], has_more: bool, scanned_until: int | None
) -> str:
    first = paging.cursor_of_line(job_id, lines[0].seq - 1) if lines else None
    last = paging.cursor_of_line(job_id, lines[-1].seq) if lines else None
    if wanted.before_seq is not None:
        previous = first if scanned_until is None else paging.cursor_of_line(job_id, scanned_until - 1)
        cursors = {"previous_cursor": previous if has_more else None, "next_cursor": last or query.before}
    else:
        following = last if scanned_until is None else paging.cursor_of_line(job_id, scanned_until)
        is_start = query.after is None
        cursors = {
            "previous_cursor": None if is_start else first or query.after,
            "next_cursor": following or query.after,
        }
    return json.dumps({"has_more": has_more, **cursors}, separators=(",", ":"))


@blueprint.get("/<job:job_id>/logs/download")
@operation(
    summary="Download a job's log",
    call=None,
    description="The whole log, or the lines selected by the parameters, as plain lines of time, level and message. "
    "Continuation lines of a message are indented.",
    query=LogFilterQuery(),
    failures=(404,),
    media_type="text/plain",
)
def download(job_id: str, query: LogRange) -> Response:
    if query.search is not None:
        payloads.require()
    context().jobs.logs(caller(), job_id, replace(query, limit=1))
    share = ExitStack()
    share.enter_context(watching(context().shares.streams, caller().tenant_id))
    parts = SharedStream(request_turns.part_by_part(_pieces(job_id, query)), share)
    response = Response(parts, content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{job_id}.log"'
    return response


def _pieces(job_id: str, wanted: LogRange) -> Generator[str]:
    """Yield the lines of a log, page by page."""
    # Read the caller and the services now, because the request has ended when the parts are sent.
    who, jobs, is_disconnected = caller(), context().jobs, client_watch()

    def read() -> Generator[str]:
        part = wanted
        while True:
            found = jobs.logs(who, job_id, part)[1]
            yield "".join(map(write_plain_line, found.lines))
            if not found.has_more:
                return
            if is_disconnected():
                # EPIPE, because gunicorn logs other errors with a traceback, which would be noise for a client that
                # left.
                raise BrokenPipeError(errno.EPIPE, "the client left its download")
            last_seq = found.scanned_until or found.lines[-1].seq
            part = replace(part, after_seq=last_seq)

    return read()
