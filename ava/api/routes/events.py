"""`/v1/ava/events`: events from other systems, and the jobs that they started."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from flask import Blueprint, Response, request

from ava.api.http import body, offload, responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.schemas.events import (
    EventListQuery,
    EventListRequest,
    EventRecord,
    EventsBody,
    SentEventRecord,
    SentEvents,
    write_event,
    write_sent,
)
from ava.domain import client_json
from ava.domain.access.caller import Caller, Role
from ava.domain.events.cloud_events import BATCH, STRUCTURED, is_cloud_event, read_binary, read_structured
from ava.domain.events.event import EventSpec, InboundEvent, redacted
from ava.domain.limits import table as limits
from ava.domain.limits.table import BULK_EVENTS
from ava.errors import InvalidFields, MediaTypeRefused

_CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "data": {"number": 7}}

blueprint = Blueprint("events", __name__, url_prefix="/v1/ava/events")


def _read_structured(raw: bytes, *, is_batch: bool) -> list[EventSpec]:
    return read_structured(client_json.parse(raw), is_batch=is_batch)


def _read_cloud_events() -> SentEvents | None:
    """Return the events of a CloudEvents request; None for any other request."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if not is_cloud_event(request.mimetype, headers):
        return None
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MediaTypeRefused("The body must be sent without Content-Encoding.")
    raw = body.raw_bytes(limits.BULK_BODY_BYTES if request.mimetype == BATCH else limits.BODY_BYTES)
    if request.mimetype in (STRUCTURED, BATCH):
        read = partial(_read_structured, raw, is_batch=request.mimetype == BATCH)
        specs = read() if len(raw) <= offload.LARGE_BYTES else body.outside_loop(read, is_last=True)
    elif request.mimetype.startswith("application/cloudevents"):
        raise MediaTypeRefused(f"This CloudEvents format is not supported; send {STRUCTURED} or {BATCH}.")
    else:
        specs = [read_binary(headers, request.headers.get("content-type", ""), raw)]
    is_batch = request.mimetype == BATCH
    if is_batch and not 1 <= len(specs) <= BULK_EVENTS.value:
        reason = BULK_EVENTS.message(f"There must be 1 to {BULK_EVENTS.value:,} events.")
        raise InvalidFields(f"events: {reason}", {"events": [reason]})
    return SentEvents(specs=specs, is_bulk=is_batch)


@blueprint.post("")
@operation(
    summary="Send an event",
    call=PublicCall(
        method="events.send",
        arguments="type data",
        options={"data": "--data", "time": ""},
        defaults={"data": {}},
        help="Send an event. It creates a job for each matching subscription.",
        example="order.paid --data '{\"number\": 7}'",
    ),
    description="Creates a job for each subscription that the event matches: the first 100 in the same transaction, "
    "the others within 5 s (`more`). `refused` names subscriptions that cannot create their job; the event and the "
    "other jobs are stored. `events` takes up to 1,000 events, all or none; the response is a list in the same "
    "order. CloudEvents 1.0 are accepted too: structured, batch and binary (`ce-` headers).",
    body=EventsBody(),
    body_as="sent",
    other_body=_read_cloud_events,
    other_media={STRUCTURED: _CLOUD_EVENT, BATCH: [_CLOUD_EVENT]},
    max_bytes=limits.BULK_BODY_BYTES,
    record=SentEventRecord(),
    status=201,
    failures=(413, 415, 422),
    is_write=True,
    takes_key=True,
)
def send(sent: SentEvents, key: str | None) -> Response:
    found, is_replay = context().events.send(caller(), sent.specs, key)
    records = [write_sent(event) for event in found]
    if sent.is_bulk:
        return responses.data(f"[{','.join(records)}]", 201, is_replay=is_replay)
    location = f"{blueprint.url_prefix}/{found[0].id}"
    return responses.data(records[0], 201, location=location, is_replay=is_replay)


@blueprint.get("")
@operation(
    summary="List events",
    call=PublicCall(
        help="List events, newest first.", columns="id* type source? JOBS=job_ids WOKEN=woken_job_ids created_at+"
    ),
    description="Newest first: sent events, and events received by hooks.",
    query=EventListQuery(),
    record=EventRecord(),
    is_list=True,
    reads_standby=True,
)
def list_events(query: EventListRequest) -> Response:
    found, total = context().events.page(caller(), query.event_filter, bounds=query.bounds)
    return page_of(query, [_shown_to(caller(), event) for event in found], total, write_event)


@blueprint.get("/<event_id>")
@operation(
    summary="Show an event",
    call=PublicCall(help="Show an event with the jobs that it created, and the jobs that waited for it."),
    description="The event with the jobs that it has created so far, and the waiting jobs that received it.",
    record=EventRecord(),
    failures=(404,),
)
def show(event_id: str) -> Response:
    return responses.data(write_event(_shown_to(caller(), context().events.show(caller(), event_id))))


def _shown_to(who: Caller, event: InboundEvent) -> InboundEvent:
    return event if who.role >= Role.TENANT_ADMIN else replace(event, spec=redacted(event.spec))
