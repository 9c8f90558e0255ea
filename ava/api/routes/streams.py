"""`/v1/ava/jobs/:id/stream`: a job as Server-Sent Events (HTML standard, section 9.2), and who is still listening."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from ava.api.http import cursors, records
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.domain.job import Job
from ava.errors import InvalidParameters
from ava.services.watches import News, Watches
from ava.store.jobs.watch_reads import WatchedState

__all__ = ["blueprint", "client_watch"]

blueprint = Blueprint("streams", __name__, url_prefix="/v1/ava/jobs")

#: Seconds after which a stream says that it still lives.
_HEARTBEAT_SECONDS = 10
#: Milliseconds after which a client that lost its stream should ask again.
_RETRY_MS = 2_000


@blueprint.get("/<job:job_id>/stream")
@operation(
    summary="Follow a job",
    description="Server-Sent Events: `log` (a line, as in the log), `progress`, `status`, then `end` with the record "
    "of the final job, after which the stream ends by itself. A stream begins with the job's present `status`. The id "
    "of a `log` event, sent as `Last-Event-ID`, resumes after that line, without a gap or a double. Comments are "
    "heartbeats.",
    failures=(404,),
    media_type="text/event-stream",
)
def stream(job_id: str) -> Response:
    """Follow one job."""
    job = context().jobs.show(caller(), job_id)
    events = _events(context().watches, job, _resume_seq(job), client_watch())
    answer = Response(events, mimetype="text/event-stream")
    # Proxies are not to hold back what must arrive at once.
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def client_watch() -> Callable[[], bool]:
    """A function that tells whether the client of this request has gone away."""
    connection = request.environ.get("gunicorn.socket")
    return lambda: connection is not None and _is_closed(connection)


def _is_closed(connection: Any) -> bool:
    # The kernel's own socket, which never blocks: gevent's would wait. And no `select`: with a thousand watchers there
    # are descriptors beyond the 1,024 that it knows.
    kernel = getattr(connection, "_sock", connection)
    try:
        # No byte to read is the end; a byte would be the next request, sent ahead.
        return not kernel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _resume_seq(job: Job) -> int:
    cursor = request.headers.get("last-event-id")
    if not cursor:
        return -1
    if (seq := cursors.to_line(job.id, cursor)) is None:
        reason = "It must be the id of an earlier event of this job, unchanged."
        raise InvalidParameters(f"Header last-event-id: {reason}", {"last-event-id": [reason]})
    return seq


def _events(watches: Watches, job: Job, after_seq: int, is_gone: Callable[[], bool]) -> Iterator[str]:
    with watches.follow(job, after_seq) as follower:
        yield f"retry: {_RETRY_MS}\n\n{_snapshot(follower.seen)}"
        while not watches.is_closing and not is_gone():
            news = follower.read(_HEARTBEAT_SECONDS)
            yield "".join([_event(job.id, item) for item in news]) or ":\n\n"
            if news and news[-1].ended is not None:
                return


def _snapshot(state: WatchedState) -> str:
    return _status(state) + (_progress(state) if state.progress_json is not None else "")


def _event(job_id: str, news: News) -> str:
    if news.line is not None:
        return f"id: {cursors.of_line(job_id, news.line.seq)}\nevent: log\ndata: {records.log_line(news.line)}\n\n"
    if news.status is not None:
        return _status(news.status)
    if news.progress is not None:
        return _progress(news.progress)
    assert news.ended is not None
    return f"event: end\ndata: {records.job(news.ended)}\n\n"


def _status(state: WatchedState) -> str:
    asked = "true" if state.is_cancel_requested else "false"
    data = f'{{"status":"{state.status}","attempt":{state.attempt},"cancel_requested":{asked}}}'
    return f"event: status\ndata: {data}\n\n"


def _progress(state: WatchedState) -> str:
    return f"event: progress\ndata: {state.progress_json}\n\n"
