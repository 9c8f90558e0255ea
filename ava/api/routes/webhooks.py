"""`/v1/webhooks`: receivers of job events, and the outcome of each delivery."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes import deliveries
from ava.api.routes.audit import record_change
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.deliveries import (
    DeliveryRecord,
    RedeliverBody,
    SentDeliveryListQuery,
    write_delivery,
)
from ava.api.schemas.pause_fields import paused_list_query
from ava.api.schemas.webhooks import (
    DeletedRecord,
    WebhookBody,
    WebhookChangeBody,
    WebhookRecord,
    write_webhook,
)
from ava.domain.limits import table as limits
from ava.domain.secrets.redaction import HIDDEN

blueprint = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")
_calls = ResourceCalls(
    blueprint=blueprint,
    rule="/<webhook_id>",
    noun="a webhook",
    find=lambda: context().webhooks,
    write=write_webhook,
    record=WebhookRecord(),
)


@blueprint.post("")
@operation(
    summary="Create a webhook",
    call=PublicCall(
        arguments="url events secret",
        options={"events": "--event"},
        defaults={"events": ["ava.job.completed", "ava.job.failed"]},
        help="Create a webhook: events are sent to the URL from now on.\n\nThe secret is not an argument, because "
        "every process of the machine can read the arguments of the others.",
        example="https://example.com/hook --event ava.job.failed",
    ),
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
    return _calls.created(endpoint, is_replay=is_replay)


_calls.add_list(
    paused_list_query("webhooks", "wh"),
    "paused",
    call=PublicCall(
        help="List webhooks, newest first.", columns="id* STATUS=status_or_paused* url EVENTS=events created_at+"
    ),
)

_calls.add_show()


@blueprint.patch("/<webhook_id>")
@operation(
    summary="Update a webhook",
    call=PublicCall(
        options={"url": "--to", "roots_only": "--roots-only/--all-jobs"},
        help="Change the URL, the events or the secret of a webhook.",
        example="--to https://example.com/new",
    ),
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


_calls.add_pauses(
    pause="Sends no further events to the webhook. Its pending deliveries are retained.",
    resume="Sends the pending deliveries of the webhook, and events from now on.",
    needs_payloads=True,
)
_calls.add_delete(
    "Deletes the webhook and its secret. It gets no further requests.", DeletedRecord(), needs_payloads=True
)


@blueprint.post("/<webhook_id>/test")
@operation(
    summary="Test a webhook",
    call=PublicCall(
        help="Send a test event, signed and retried like any other.", example="--wait", is_repeatable=False
    ),
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


deliveries.add_reads(
    _calls,
    lambda: context().sent_deliveries,
    SentDeliveryListQuery(),
    listed="Newest first, each with its requests (`attempts`), without bodies.",
    shown="The delivery with its body, which is the same in each request.",
)
deliveries.add_redeliveries(
    _calls, lambda: context().sent_deliveries, RedeliverBody(), noun="an event", same="the same id and bytes"
)
