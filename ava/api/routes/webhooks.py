"""`/v1/webhooks`: receivers of job events, and the outcome of each delivery."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes import deliveries
from ava.api.routes.audit import record_change
from ava.api.routes.pause_calls import add_pauses
from ava.api.schemas.deliveries import (
    DeliveryListRequest,
    DeliveryRecord,
    RedeliverBody,
    SentDeliveryListQuery,
    write_delivery,
)
from ava.api.schemas.pause_fields import PausedListRequest
from ava.api.schemas.webhooks import (
    DeletedRecord,
    WebhookBody,
    WebhookChangeBody,
    WebhookListQuery,
    WebhookRecord,
    write_webhook,
)
from ava.domain.limits import table as limits
from ava.domain.secrets.redaction import HIDDEN
from ava.store.delivery_table import DeliveryFilter

blueprint = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")


@blueprint.post("")
@operation(
    summary="Create a webhook",
    description="The webhook receives events from now on. The secret is encrypted and never shown again. The URL "
    "must be public; each request checks the address of its host again.",
    body=WebhookBody(),
    body_as="fields",
    max_bytes=limits.WEBHOOK_BODY_BYTES,
    record=WebhookRecord(),
    status=201,
    failures=(409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
    is_outgoing=True,
    takes_key=True,
)
def create(fields: dict[str, Any], key: str | None) -> Response:
    endpoint, is_replay = context().webhooks.create(caller(), **fields, key=key)
    return responses.data(
        write_webhook(endpoint), 201, location=f"{blueprint.url_prefix}/{endpoint.id}", is_replay=is_replay
    )


@blueprint.get("")
@operation(
    summary="List webhooks", description="Newest first.", query=WebhookListQuery(), record=WebhookRecord(), is_list=True
)
def list_webhooks(query: PausedListRequest) -> Response:
    found, total = context().webhooks.page(caller(), paused=query.paused, bounds=query.bounds)
    return page_of(query, found, total, write_webhook)


@blueprint.get("/<webhook_id>")
@operation(summary="Show a webhook", record=WebhookRecord(), failures=(404,))
def show(webhook_id: str) -> Response:
    """Show one webhook."""
    return responses.data(write_webhook(context().webhooks.show(caller(), webhook_id)))


@blueprint.patch("/<webhook_id>")
@operation(
    summary="Update a webhook",
    description="Changes only the fields in the body. After a new secret, requests are signed with both secrets for "
    "24 hours, so that the receiver can switch.",
    body=WebhookChangeBody(),
    body_as="changes",
    max_bytes=limits.WEBHOOK_BODY_BYTES,
    record=WebhookRecord(),
    failures=(404, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def change(webhook_id: str, changes: dict[str, Any]) -> Response:
    before = context().webhooks.show(caller(), webhook_id)
    changed = context().webhooks.change(caller(), webhook_id, **changes)
    hidden: dict[str, tuple[str, str]] = {}
    if "secret" in changes:
        hidden["secret"] = (HIDDEN, HIDDEN)
    if before.url != changed.url:
        # The path of a URL may be secret.
        hidden["url"] = (_without_path(before.url), _without_path(changed.url))
    record_change(write_webhook(before), write_webhook(changed), ("events", "roots_only"), hidden=hidden)
    return responses.data(write_webhook(changed))


def _without_path(url: str) -> str:
    scheme, host, *_ = urlsplit(url)
    return f"{scheme}://{host}"


add_pauses(
    blueprint,
    "/<webhook_id>",
    lambda: context().webhooks,
    write_webhook,
    noun="a webhook",
    effects=(
        "Sends no further events to the webhook. Its pending deliveries are retained.",
        "Sends the pending deliveries of the webhook, and events from now on.",
    ),
    record=WebhookRecord(),
    needs_payloads=True,
)


@blueprint.delete("/<webhook_id>")
@operation(
    summary="Delete a webhook",
    description="Deletes the webhook and its secret. It gets no further requests.",
    record=DeletedRecord(),
    failures=(404,),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def delete(webhook_id: str) -> Response:
    context().webhooks.delete(caller(), webhook_id)
    return responses.data(f'{{"id":"{webhook_id}","deleted":true}}')


@blueprint.post("/<webhook_id>/test")
@operation(
    summary="Test a webhook",
    description="Sends an event of the type `ava.webhook.test`, signed and retried like any other. The webhook's "
    "deliveries show the outcome.",
    body=NoBody(),
    may_be_empty=True,
    record=DeliveryRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def test(webhook_id: str) -> Response:
    return responses.data(write_delivery(context().webhooks.send_test(caller(), webhook_id)), 201)


@blueprint.get("/<webhook_id>/deliveries")
@operation(
    summary="List a webhook's deliveries",
    description="Newest first, each with its requests (`attempts`), without bodies.",
    query=SentDeliveryListQuery(),
    **deliveries.LIST,
)
def list_deliveries(webhook_id: str, query: DeliveryListRequest) -> Response:
    return deliveries.page(context().sent_deliveries, webhook_id, query)


@blueprint.get("/<webhook_id>/deliveries/<delivery_id>")
@operation(
    summary="Show a webhook's delivery",
    description="The delivery with its body, which is the same in each request.",
    **deliveries.SHOW,
)
def show_delivery(webhook_id: str, delivery_id: str) -> Response:
    return deliveries.show(context().sent_deliveries, webhook_id, delivery_id)


@blueprint.post("/<webhook_id>/deliveries/<delivery_id>/redeliver")
@operation(
    summary="Redeliver an event",
    description="Sends the same id and bytes again, with a new retry schedule. A pending delivery becomes due now "
    "and keeps its schedule.",
    **deliveries.AGAIN,
)
def redeliver(webhook_id: str, delivery_id: str) -> Response:
    return deliveries.accepted(context().sent_deliveries.redeliver(caller(), webhook_id, delivery_id))


@blueprint.post("/<webhook_id>/deliveries/redeliver")
@operation(
    summary="Redeliver many events",
    description="Sends the deliveries of a time range again: abandoned deliveries, or deliveries with the given "
    "`status`.",
    body=RedeliverBody(),
    **deliveries.MANY_AGAIN,
)
def redeliver_many(webhook_id: str, wanted: DeliveryFilter) -> Response:
    return deliveries.accepted(context().sent_deliveries.redeliver_many(caller(), webhook_id, wanted))
