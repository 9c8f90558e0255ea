"""`/v1/ava/subscriptions`: rules that start jobs for events."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery
from ava.api.routes.audit import record_change
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.subscriptions import (
    SubscriptionBody,
    SubscriptionChangeBody,
    SubscriptionDeletedRecord,
    SubscriptionListQuery,
    SubscriptionRecord,
    SubscriptionTestBody,
    SubscriptionTestRecord,
    SubscriptionTestRequest,
    write_subscription,
    write_tried,
)
from ava.domain.limits import table as limits
from ava.services.events.subscriptions import try_rule

blueprint = Blueprint("subscriptions", __name__, url_prefix="/v1/ava/subscriptions")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<subscription:subscription_id>",
    noun="a subscription",
    find=lambda: context().subscriptions,
    write=write_subscription,
    record=SubscriptionRecord(),
)


@blueprint.post("")
@operation(
    summary="Create a subscription",
    call=PublicCall(
        arguments="event_type worker_id",
        help="Create a subscription: each event with the type and a matching pattern creates a job of the worker.",
        example="'order.*' wkr_book --match '{\"data\": {\"paid\": [true]}}'",
    ),
    description="From now on, each event that matches the type and pattern creates a job of the worker. An invalid "
    "pattern or template is refused with the path of the mistake.",
    body=SubscriptionBody(),
    body_as="fields",
    max_bytes=limits.SUBSCRIPTION_BODY_BYTES,
    record=SubscriptionRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
    takes_key=True,
)
def create(fields: dict[str, Any], key: str | None) -> Response:
    created, is_replay = context().subscriptions.create(caller(), **fields, key=key)
    return _calls.created(created, is_replay=is_replay)


_calls.add_list(
    SubscriptionListQuery(),
    "subscription_filter",
    reads_standby=True,
    call=PublicCall(
        help="List subscriptions, newest first.", columns="id* EVENTS=event_type worker_id name? PAUSED=is_paused"
    ),
)


@blueprint.post("/test")
@operation(
    summary="Test a subscription",
    call=PublicCall(
        arguments="event",
        help="Try a pattern and a template on an event; nothing is stored.",
        example="@event.json --match @pattern.json",
    ),
    description="Reports whether the event matches, the first path that does not match, and the input of its job. "
    "Nothing is stored.",
    body=SubscriptionTestBody(),
    body_as="asked",
    record=SubscriptionTestRecord(),
    failures=(413, 415, 422),
)
def test(asked: SubscriptionTestRequest) -> Response:
    return responses.data(write_tried(try_rule(asked.event, event_type=asked.event_type, rule=asked.rule)))


_calls.add_show()


@blueprint.patch("/<subscription:subscription_id>")
@operation(
    summary="Update a subscription",
    call=PublicCall(
        help="Change a subscription, for the events from now on.", example="--event-type order.paid --unset match"
    ),
    description="Changes only the fields in the body, for events from now on.",
    body=SubscriptionChangeBody(),
    body_as="changes",
    max_bytes=limits.SUBSCRIPTION_BODY_BYTES,
    record=SubscriptionRecord(),
    failures=(404, 409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def change(subscription_id: str, changes: dict[str, Any]) -> Response:
    before = write_subscription(context().subscriptions.show(caller(), subscription_id))
    after = write_subscription(context().subscriptions.change(caller(), subscription_id, changes))
    record_change(before, after, SubscriptionChangeBody().fields)
    return responses.data(after)


_calls.add_pauses(
    pause="Events from now on create no jobs for the subscription, also after it is resumed.",
    resume="Events from now on create jobs again.",
    needs_payloads=True,
)
_calls.add_delete(
    "Deletes the subscription immediately. Its jobs continue.", SubscriptionDeletedRecord(), needs_payloads=True
)
