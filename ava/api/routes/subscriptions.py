"""`/v1/ava/subscriptions`: rules that start jobs for events."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.http.strict import DryRunQuery
from ava.api.routes.audit import record_change
from ava.api.routes.pause_calls import add_pauses
from ava.api.schemas.subscriptions import (
    SubscriptionBody,
    SubscriptionChangeBody,
    SubscriptionDeletedRecord,
    SubscriptionListQuery,
    SubscriptionListRequest,
    SubscriptionRecord,
    SubscriptionTestBody,
    SubscriptionTestRecord,
    SubscriptionTestRequest,
    write_subscription,
    write_tried,
)
from ava.domain.limits import inbound_limits
from ava.services.events.subscriptions import try_rule

blueprint = Blueprint("subscriptions", __name__, url_prefix="/v1/ava/subscriptions")


@blueprint.post("")
@operation(
    summary="Create a subscription",
    description="From now on, each event that matches the type and pattern creates a job of the worker. An invalid "
    "pattern or template is refused with the path of the mistake.",
    body=SubscriptionBody(),
    body_as="fields",
    max_bytes=inbound_limits.SUBSCRIPTION_BODY_BYTES,
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
    return responses.data(
        write_subscription(created), 201, location=f"{blueprint.url_prefix}/{created.id}", is_replay=is_replay
    )


@blueprint.get("")
@operation(
    summary="List subscriptions",
    description="Newest first.",
    query=SubscriptionListQuery(),
    record=SubscriptionRecord(),
    is_list=True,
    reads_standby=True,
)
def list_subscriptions(query: SubscriptionListRequest) -> Response:
    found, total = context().subscriptions.page(caller(), query.subscription_filter, bounds=query.bounds)
    return page_of(query, found, total, write_subscription)


@blueprint.post("/test")
@operation(
    summary="Test a subscription",
    description="Reports whether the event matches, the first path that does not match, and the input of its job. "
    "Nothing is stored.",
    body=SubscriptionTestBody(),
    body_as="asked",
    record=SubscriptionTestRecord(),
    failures=(413, 415, 422),
)
def test(asked: SubscriptionTestRequest) -> Response:
    return responses.data(write_tried(try_rule(asked.event, event_type=asked.event_type, rule=asked.rule)))


@blueprint.get("/<subscription:subscription_id>")
@operation(summary="Show a subscription", record=SubscriptionRecord(), failures=(404,))
def show(subscription_id: str) -> Response:
    """Show one subscription."""
    return responses.data(write_subscription(context().subscriptions.show(caller(), subscription_id)))


@blueprint.patch("/<subscription:subscription_id>")
@operation(
    summary="Update a subscription",
    description="Changes only the fields in the body, for events from now on.",
    body=SubscriptionChangeBody(),
    body_as="changes",
    max_bytes=inbound_limits.SUBSCRIPTION_BODY_BYTES,
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


add_pauses(
    blueprint,
    "/<subscription:subscription_id>",
    lambda: context().subscriptions,
    write_subscription,
    noun="a subscription",
    effects=(
        "Events from now on create no jobs for the subscription, also after it is resumed.",
        "Events from now on create jobs again.",
    ),
    record=SubscriptionRecord(),
    needs_payloads=True,
)


@blueprint.delete("/<subscription:subscription_id>")
@operation(
    summary="Delete a subscription",
    description="Deletes the subscription immediately. Its jobs continue.",
    record=SubscriptionDeletedRecord(),
    failures=(404,),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def delete(subscription_id: str) -> Response:
    context().subscriptions.delete(caller(), subscription_id)
    return responses.data(f'{{"id":"{subscription_id}","deleted":true}}')
