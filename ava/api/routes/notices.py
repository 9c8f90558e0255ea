"""`/v1/ava/notices`: messages to people about events of their tenant, and the outcome of each delivery."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ava.api.http import responses
from ava.api.http.context import caller, context
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.http.strict import DryRunQuery, NoBody
from ava.api.routes import deliveries
from ava.api.routes.audit import record_change
from ava.api.routes.pause_calls import add_pauses
from ava.api.schemas.deliveries import DeliveryListRequest, DeliveryRecord, write_delivery
from ava.api.schemas.notices import (
    DeletedNoticeRecord,
    NoticeBody,
    NoticeChangeBody,
    NoticeDeliveryListQuery,
    NoticeListQuery,
    NoticeRecord,
    NoticeRedeliverBody,
    write_notice,
)
from ava.api.schemas.pause_fields import PausedListRequest
from ava.domain.limits import table as limits
from ava.domain.secrets.redaction import HIDDEN
from ava.store.delivery_table import DeliveryFilter

blueprint = Blueprint("notices", __name__, url_prefix="/v1/ava/notices")


@blueprint.post("")
@operation(
    summary="Create a notice",
    description="The notice sends messages about events from now on: the first immediately, and at the end of each "
    "time window one with the number of events since then. Messages contain names, ids and a link, and no payload.",
    body=NoticeBody(),
    body_as="fields",
    max_bytes=limits.WEBHOOK_BODY_BYTES,
    record=NoticeRecord(),
    status=201,
    failures=(409, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
    is_outgoing=True,
    takes_key=True,
)
def create(fields: dict[str, Any], key: str | None) -> Response:
    notice, is_replay = context().notices.create(caller(), **fields, key=key)
    return responses.data(
        write_notice(notice), 201, location=f"{blueprint.url_prefix}/{notice.id}", is_replay=is_replay
    )


@blueprint.get("")
@operation(
    summary="List notices", description="Newest first.", query=NoticeListQuery(), record=NoticeRecord(), is_list=True
)
def list_notices(query: PausedListRequest) -> Response:
    found, total = context().notices.page(caller(), paused=query.paused, bounds=query.bounds)
    return page_of(query, found, total, write_notice)


@blueprint.get("/<notice_id>")
@operation(summary="Show a notice", record=NoticeRecord(), failures=(404,))
def show(notice_id: str) -> Response:
    """Show one notice."""
    return responses.data(write_notice(context().notices.show(caller(), notice_id)))


@blueprint.patch("/<notice_id>")
@operation(
    summary="Update a notice",
    description="Changes only the fields in the body. A new channel needs a target. New rules (`on`) start new time "
    "windows.",
    body=NoticeChangeBody(),
    body_as="changes",
    max_bytes=limits.WEBHOOK_BODY_BYTES,
    record=NoticeRecord(),
    failures=(404, 413, 415, 422),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def change(notice_id: str, changes: dict[str, Any]) -> Response:
    before, changed = context().notices.change(caller(), notice_id, **changes)
    hidden = {"target": (HIDDEN, HIDDEN)} if "target" in changes else {}
    record_change(write_notice(before), write_notice(changed), ("name", "channel", "on"), hidden=hidden)
    return responses.data(write_notice(changed))


add_pauses(
    blueprint,
    "/<notice_id>",
    lambda: context().notices,
    write_notice,
    noun="a notice",
    effects=(
        "Sends no messages. Pending deliveries are retained; events are not counted.",
        "Sends the pending deliveries of the notice, and messages about events from now on.",
    ),
    record=NoticeRecord(),
    needs_payloads=True,
)


@blueprint.delete("/<notice_id>")
@operation(
    summary="Delete a notice",
    description="Deletes the notice and its target. Nothing more is sent.",
    record=DeletedNoticeRecord(),
    failures=(404,),
    query=DryRunQuery(),
    is_write=True,
    needs_payloads=True,
)
def delete(notice_id: str) -> Response:
    context().notices.delete(caller(), notice_id)
    return responses.data(f'{{"id":"{notice_id}","deleted":true}}')


@blueprint.post("/<notice_id>/test")
@operation(
    summary="Test a notice",
    description="Sends a test message, which is retried like any other. The notice's deliveries show the outcome.",
    body=NoBody(),
    may_be_empty=True,
    record=DeliveryRecord(),
    status=201,
    failures=(404, 409, 413, 415, 422),
    is_write=True,
)
def test(notice_id: str) -> Response:
    return responses.data(write_delivery(context().notices.send_test(caller(), notice_id)), 201)


@blueprint.get("/<notice_id>/deliveries")
@operation(
    summary="List a notice's deliveries",
    description="Newest first, each with its requests (`attempts`), without bodies.",
    query=NoticeDeliveryListQuery(),
    **deliveries.LIST,
)
def list_deliveries(notice_id: str, query: DeliveryListRequest) -> Response:
    return deliveries.page(context().notice_deliveries, notice_id, query)


@blueprint.get("/<notice_id>/deliveries/<delivery_id>")
@operation(
    summary="Show a notice's delivery",
    description="The delivery with its message: the body of the channel `webhook`, from which the others are rendered.",
    **deliveries.SHOW,
)
def show_delivery(notice_id: str, delivery_id: str) -> Response:
    return deliveries.show(context().notice_deliveries, notice_id, delivery_id)


@blueprint.post("/<notice_id>/deliveries/<delivery_id>/redeliver")
@operation(
    summary="Redeliver a message",
    description="Sends the same message again, with a new retry schedule. A pending delivery becomes due now and keeps "
    "its schedule.",
    **deliveries.AGAIN,
)
def redeliver(notice_id: str, delivery_id: str) -> Response:
    return deliveries.accepted(context().notice_deliveries.redeliver(caller(), notice_id, delivery_id))


@blueprint.post("/<notice_id>/deliveries/redeliver")
@operation(
    summary="Redeliver many messages",
    description="Sends the deliveries of a time range again: abandoned deliveries, or deliveries with the given "
    "`status`.",
    body=NoticeRedeliverBody(),
    **deliveries.MANY_AGAIN,
)
def redeliver_many(notice_id: str, wanted: DeliveryFilter) -> Response:
    return deliveries.accepted(context().notice_deliveries.redeliver_many(caller(), notice_id, wanted))
