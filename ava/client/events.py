"""Read Server-Sent Events (HTML standard, section 9.2), and resume after a lost connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ava.client.calls import Calls
from ava.client.errors import ApiUnavailable
from ava.client.flows import Chunk, ConnectionFailed, Element, Flow, Item, Listing, Request, Response, Sleep
from ava.client.reading import read
from ava.client.records import Job, JobStatus, LogLine

#: Max seconds of silence before a connection counts as lost; the server sends a comment every 10 s.
_SILENT_SECONDS = 35.0
#: Max consecutive connections without an event; then the stream fails.
_MAX_EMPTY_CONNECTIONS = 5


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress reported by the handler."""

    #: 0 to 1.
    fraction: float
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a job; exactly one field is set."""

    line: LogLine | None = None
    progress: Progress | None = None
    status: JobStatus | None = None
    #: The final record; it is the last event.
    ended: Job | None = None


@dataclass(frozen=True)
class _Message:
    event: str
    data: Any
    id: str | None


def follow(
    calls: Calls, path: str, pick: Callable[[Event], Element | None], last_id: str | None = None
) -> Listing[Element]:
    """Yield the value of `pick` for each event of a job, once and without None, until the job is final.

    It uses as many connections as needed. With `last_id`, a log cursor, only later lines.

    Raises `ApiError`; `ApiUnavailable` if the server stays unavailable.
    """
    known_status: str | None = None
    empty = 0
    while empty < _MAX_EMPTY_CONNECTIONS:
        empty += 1
        response, buffer = (yield from _connect(calls, path, last_id)), b""
        while chunk := (yield from _chunk(response)):
            *blocks, buffer = (buffer + chunk).split(b"\n\n")
            for message in filter(None, map(_message, blocks)):
                empty = 0
                last_id = message.id or last_id
                event = _event(message)
                if event is None or (event.status is not None and event.status == known_status):
                    # The first event of every connection is the current status.
                    continue
                known_status = event.status or known_status
                if (picked := pick(event)) is not None:
                    yield Item(picked)
                if event.ended is not None:
                    return
        yield Sleep(0.2 * empty)
    raise ApiUnavailable(f"The stream was disconnected {_MAX_EMPTY_CONNECTIONS} times in a row without an event.")


def _connect(calls: Calls, path: str, last_id: str | None) -> Flow[Response]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    request = Request(method="GET", url=path, headers=headers, is_stream=True, read_seconds=_SILENT_SECONDS)
    return (yield from calls.send(request))


def _chunk(response: Response) -> Flow[bytes]:
    """Read the next bytes. Returns b"" at the end, also of a lost connection: the next one resumes after it."""
    try:
        chunk: bytes = yield Chunk(response)
    except ConnectionFailed:
        return b""
    return chunk


def _message(block: bytes) -> _Message | None:
    fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line)
    if "event" not in fields:
        return None
    return _Message(fields["event"], json.loads(fields.get("data", "null")), fields.get("id"))


def _event(message: _Message) -> Event | None:
    if message.event == "log":
        return Event(line=read(LogLine, message.data))
    if message.event == "progress":
        return Event(progress=read(Progress, message.data))
    if message.event == "status":
        return Event(status=JobStatus(message.data["status"]))
    return Event(ended=read(Job, message.data)) if message.event == "end" else None
