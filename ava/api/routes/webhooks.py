"""`/v1/webhooks`: who is told of what happens to jobs, and what became of each delivery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.records import compile_schema
from ava.api.http.responses import Page
from ava.api.schemas.requests import NoBody
from ava.api.schemas.webhooks import (
    DeletedRecord,
    DeliveryList,
    DeliveryListQuery,
    DeliveryRecord,
    RedeliverBody,
    RedeliveredRecord,
    WebhookBody,
    WebhookChangeBody,
    WebhookList,
    WebhookListQuery,
    WebhookRecord,
    make_cursor,
)
from ava.domain.webhook import Delivery, Endpoint

__all__ = ["blueprint"]

blueprint = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")

#: The bytes of a body: a long URL, and what stands around it.
_MOST_BYTES = 2**16

_write_webhook = compile_schema(WebhookRecord())
_write_delivery = compile_schema(DeliveryRecord())


@blueprint.post("")
@operation(
    summary="Make a webhook",
    description="It is told of what happens from now on. The secret is sealed and never shown again. The URL must be "
    "public; where its name leads is judged again whenever it is called.",
    body=WebhookBody(),
    most_bytes=_MOST_BYTES,
    answer=WebhookRecord(),
    status=201,
    failures=(413, 415, 422),
    is_write=True,
)
def create(body: dict[str, Any]) -> Response:
    """Make one."""
    endpoint = context().webhooks.create(caller(), **body)
    answer = responses.data(_write_webhook(endpoint), 201)
    answer.headers["Location"] = f"{blueprint.url_prefix}/{endpoint.id}"
    return answer


@blueprint.get("")
@operation(
    summary="List webhooks", description="Newest first.", query=WebhookListQuery(), answer=WebhookRecord(), is_list=True
)
def list_webhooks(query: WebhookList) -> Response:
    """A page of them."""
    found, total = context().webhooks.page(
        caller(), limit=query.per_page + 1, offset=_skipped(query), before_id=query.before_id
    )
    return _page(found, query, total, _write_webhook)


@blueprint.get("/<webhook_id>")
@operation(summary="Show a webhook", answer=WebhookRecord(), failures=(404,))
def show(webhook_id: str) -> Response:
    """One of them."""
    return responses.data(_write_webhook(context().webhooks.show(caller(), webhook_id)))


@blueprint.patch("/<webhook_id>")
@operation(
    summary="Change a webhook",
    description="Only what is sent is changed. After a new secret both are signed with for 24 hours, so that the "
    "receiver can change over. `enabled` switches it off and on; what waits for it is kept meanwhile.",
    body=WebhookChangeBody(),
    most_bytes=_MOST_BYTES,
    answer=WebhookRecord(),
    failures=(404, 413, 415, 422),
    is_write=True,
)
def change(webhook_id: str, body: dict[str, Any]) -> Response:
    """Change one."""
    return responses.data(_write_webhook(context().webhooks.change(caller(), webhook_id, **body)))


@blueprint.delete("/<webhook_id>")
@operation(
    summary="Delete a webhook",
    description="With its secret, at once; nothing more is sent to it.",
    answer=DeletedRecord(),
    failures=(404,),
    is_write=True,
)
def delete(webhook_id: str) -> Response:
    """Delete one."""
    context().webhooks.delete(caller(), webhook_id)
    return responses.data(f'{{"id":"{webhook_id}","deleted":true}}')


@blueprint.post("/<webhook_id>/test")
@operation(
    summary="Test a webhook",
    description="Sends it an event of the type `ava.webhook.test`, signed and retried like any other; what became of "
    "it stands among its deliveries.",
    body=NoBody(),
    may_be_empty=True,
    answer=DeliveryRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def test(webhook_id: str, body: object) -> Response:  # noqa: ARG001 - there is nothing in the body
    """Send a test event."""
    return responses.data(_write_delivery(context().webhooks.send_test(caller(), webhook_id)), 201)


@blueprint.get("/<webhook_id>/deliveries")
@operation(
    summary="List a webhook's deliveries",
    description="Newest first, each with its attempts.",
    query=DeliveryListQuery(),
    answer=DeliveryRecord(),
    is_list=True,
    failures=(404,),
)
def list_deliveries(webhook_id: str, query: DeliveryList) -> Response:
    """A page of them."""
    found, total = context().webhooks.deliveries(
        caller(),
        webhook_id,
        query.delivery_filter,
        limit=query.per_page + 1,
        offset=_skipped(query),
        before_id=query.before_id,
    )
    return _page(found, query, total, _write_delivery)


@blueprint.post("/<webhook_id>/deliveries/<delivery_id>/redeliver")
@operation(
    summary="Send a delivery again",
    description="The same id and the same bytes, from the beginning of the ladder; one that is still on its way is "
    "left there.",
    body=NoBody(),
    may_be_empty=True,
    answer=DeliveryRecord(),
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def redeliver(webhook_id: str, delivery_id: str, body: object) -> Response:  # noqa: ARG001 - nothing is in the body
    """Send one again."""
    return responses.data(_write_delivery(context().webhooks.redeliver(caller(), webhook_id, delivery_id)))


@blueprint.post("/<webhook_id>/deliveries/redeliver")
@operation(
    summary="Send all abandoned deliveries again",
    description="Those that were made since a moment.",
    body=RedeliverBody(),
    answer=RedeliveredRecord(),
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def redeliver_failed(webhook_id: str, body: datetime) -> Response:
    """Send all again that were abandoned."""
    count = context().webhooks.redeliver_failed(caller(), webhook_id, body)
    return responses.data(f'{{"redelivered":{count}}}')


def _skipped(query: WebhookList | DeliveryList) -> int:
    return 0 if query.page is None else (query.page - 1) * query.per_page


def _page(
    found: Sequence[Endpoint] | Sequence[Delivery], query: WebhookList | DeliveryList, total: int, write: Any
) -> Response:
    shown, has_more = found[: query.per_page], len(found) > query.per_page
    page = Page(
        page=None if query.before_id else query.page or 1,
        per_page=query.per_page,
        total=total,
        has_more=has_more,
        next_cursor=make_cursor(shown[-1].id) if has_more else None,
    )
    return responses.data_list([write(one) for one in shown], page)
