"""`/v1/ava/jobs/:id/stream`: a job as Server-Sent Events (HTML standard, section 9.2); detects closed connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, AnyStr, Generic

from flask import Blueprint, Response, request

from ava.api.gate.tenant_shares import ALL_TENANTS, TenantShares
from ava.api.http import paging, payloads, request_turns
from ava.api.http.callers import auth
from ava.api.http.callers.credentials import revocation_watch
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.schemas.job_logs import write_log_line
from ava.api.schemas.jobs import write_job
from ava.domain.jobs.job import Job
from ava.errors import InvalidParameters, RequestError
from ava.services.followers import WatchUpdate
from ava.services.watches import Watches
from ava.store.jobs.reads.watches import WatchedState

blueprint = Blueprint("streams", __name__, url_prefix="/v1/ava/jobs")

#: Seconds without an event after which a stream sends a comment, so that neither side considers it broken.
HEARTBEAT_SECONDS = 10
#: Bytes of a stream that the kernel buffers until the client has received them (it uses twice that, for its own
#: records). By default it would buffer up to 4 MB for a client that does not read, and this process would read as much
#: of the log from PostgreSQL for it.
_SEND_BUFFER_BYTES = 64 * 1024
#: The buffer until `_PROOF_CHARACTERS` were sent, which prove that the client reads.
_FIRST_SEND_BUFFER_BYTES, _PROOF_CHARACTERS = 16 * 1024, 128 * 1024
#: Milliseconds after which a client that lost its stream reconnects.
_RETRY_MS = 2_000


@blueprint.get("/<job:job_id>/stream")
@operation(
    summary="Follow a job",
    call=PublicCall(method="jobs.events", command="jobs watch"),
    description="Server-Sent Events: `log` (a line, as in the log), `progress`, `status`, and at the end `end` with "
    "the record of the final job. A stream begins with the current `status` of the job. The id of a `log` event, "
    "sent as `Last-Event-ID`, resumes after that line, without a gap or a duplicate. Comments are heartbeats. "
    "Without payload permission the event `hidden` replaces the lines. A stream ends within 10 s after the API key "
    "or session that opened it is revoked.",
    failures=(404,),
    media_type="text/event-stream",
)
def stream(job_id: str) -> Response:
    who, jobs = caller(), context().jobs
    job = jobs.show(who, job_id)
    after_seq, is_disconnected = _resume_seq(job), client_watch()
    writer = _EventTexts(job_id, is_visible=who.sees_payloads)
    events = _events(context().watches, job, after_seq, is_disconnected, writer, lambda: jobs.show(who, job_id))
    return event_stream(events)


def event_stream(events: Generator[str]) -> Response:
    """Return a response of Server-Sent Events. Raises `TooMany` beyond the limit of streams."""
    share = ExitStack()
    share.enter_context(watching(context().shares.streams, caller().tenant_id))
    parts = _with_bounded_buffer(request.environ.get("gunicorn.socket"), events)
    response = Response(SharedStream(parts, share), mimetype="text/event-stream")
    # Prevents nginx from buffering the events.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _with_bounded_buffer(connection: Any, events: Generator[str]) -> Generator[str]:
    """Return the events; the connection's kernel buffer grows once its client is known to read."""
    sent = 0
    with closing(events):
        _set_send_buffer(connection, _FIRST_SEND_BUFFER_BYTES)
        while sent < _PROOF_CHARACTERS:
            if (part := next(events, None)) is None:
                return
            yield part
            sent += len(part)
        _set_send_buffer(connection, _SEND_BUFFER_BYTES)
        yield from events


def _set_send_buffer(connection: Any, size: int) -> None:
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


@contextmanager
def watching(shares: TenantShares, tenant_id: str) -> Iterator[None]:
    """Hold one watcher's share during the block. Raises `TooMany` beyond the limit of its tenant or of all tenants."""
    with shares.take(tenant_id), context().shares.watchers.take(ALL_TENANTS):
        yield


@contextmanager
def waiting() -> Iterator[None]:
    """Hold the share of a waiting call during the block, and no turn. Identify the caller again afterwards."""
    with watching(context().shares.waits, caller().tenant_id), request_turns.suspended():
        yield
    auth.identify()


class SharedStream(Generic[AnyStr]):
    """The parts of a response; its share is released when the response is closed or garbage-collected unsent."""

    def __init__(self, parts: Generator[AnyStr], share: ExitStack) -> None:
        self._parts: Generator[AnyStr] = parts
        self._share = share

    def __iter__(self) -> Iterator[AnyStr]:
        return self._parts

    def close(self) -> None:
        self._parts.close()
        self._share.close()

    def __del__(self) -> None:
        self.close()


def client_watch() -> Callable[[], bool]:
    """Return a function that returns True once this request's client has disconnected or its credential is revoked."""
    connection, is_revoked = request.environ.get("gunicorn.socket"), revocation_watch()
    return lambda: (connection is not None and _is_closed(connection)) or is_revoked()


def _is_closed(connection: Any) -> bool:
    # Use the kernel's socket, because gevent's would wait. No `select`: with a thousand watchers there are descriptors
    # beyond the 1,024 that it supports.
    kernel = getattr(connection, "_sock", connection)
    try:
        # An empty read is the end of the connection; a byte would be an early next request.
        return not kernel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _resume_seq(job: Job) -> int:
    cursor = request.headers.get("last-event-id")
    if not cursor:
        return -1
    if (seq := paging.line_of_cursor(job.id, cursor)) is None:
        reason = "It must be the id of an earlier event of this job, unchanged."
        raise InvalidParameters(f"Header last-event-id: {reason}", {"last-event-id": [reason]})
    return seq


def _events(
    watches: Watches,
    job: Job,
    after_seq: int,
    is_disconnected: Callable[[], bool],
    writer: _EventTexts,
    read_final: Callable[[], Job],
) -> Generator[str]:
    with watches.follow(job, after_seq) as follower:
        yield f"retry: {_RETRY_MS}\n\n{writer.begin(follower.seen)}"
        while not watches.is_closing:
            updates = follower.read(HEARTBEAT_SECONDS)
            if is_disconnected():
                return
            has_ended = bool(updates) and updates[-1].is_end
            yield "".join([writer.of(update) for update in updates if not update.is_end]) or ":\n\n"
            if has_ended:
                with suppress(RequestError):
                    # Without the final event the client reconnects, as after any other break.
                    yield writer.end(read_final())
                return


class _EventTexts:
    """Write the events of one stream for its caller; the request has ended by then."""

    def __init__(self, job_id: str, *, is_visible: bool) -> None:
        self._job_id = job_id
        self._is_visible = is_visible
        self._line = write_log_line.shown(is_visible=is_visible)
        self._job = write_job.shown(is_visible=is_visible)

    def begin(self, state: WatchedState) -> str:
        """Return the first events of a stream."""
        hidden = "" if self._is_visible else payloads.HIDDEN_EVENT
        return hidden + _status(state) + (self._progress(state) if state.progress_json is not None else "")

    def of(self, update: WatchUpdate) -> str:
        """Return the event of one update; "" for a hidden line."""
        if update.line is not None:
            if not self._is_visible:
                return ""
            cursor = paging.cursor_of_line(self._job_id, update.line.seq)
            return f"id: {cursor}\nevent: log\ndata: {self._line(update.line)}\n\n"
        if update.status is not None:
            return _status(update.status)
        assert update.progress is not None
        return self._progress(update.progress)

    def end(self, job: Job) -> str:
        return f"event: end\ndata: {self._job(job)}\n\n"

    def _progress(self, state: WatchedState) -> str:
        progress = state.progress_json if self._is_visible else payloads.hide_progress(None, state.progress_json)
        return f"event: progress\ndata: {progress}\n\n"


def _status(state: WatchedState) -> str:
    is_requested = "true" if state.is_cancel_requested else "false"
    data = f'{{"status":"{state.status}","attempt":{state.attempt},"cancel_requested":{is_requested}}}'
    return f"event: status\ndata: {data}\n\n"
