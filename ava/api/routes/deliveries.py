"""The calls about received and sent deliveries, below the rules of hooks, webhooks and notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from marshmallow import Schema

from ava.api.http import responses
from ava.api.http.calls import PublicCall
from ava.api.http.context import caller
from ava.api.http.operations import operation
from ava.api.http.paging import page_of
from ava.api.http.strict import NoBody
from ava.api.routes.resource_calls import ResourceCalls
from ava.api.schemas.deliveries import (
    DeliveryListRequest,
    DeliveryRecord,
    DeliveryTotalRecord,
    write_delivery,
    write_total,
)
from ava.domain.delivery import Delivery, DeliveryTotal
from ava.services.deliveries import Deliveries, SentDeliveries
from ava.store.delivery_table import DeliveryFilter

#: The declarations of the operations, without summary, description, query and body.
LIST: dict[str, Any] = {"record": DeliveryRecord(), "is_list": True, "failures": (404,), "reads_standby": True}
_WRITE: dict[str, Any] = {
    "status": 202,
    "failures": (404, 409, 413, 415, 422),
    "is_write": True,
    "needs_payloads": True,
}
AGAIN: dict[str, Any] = _WRITE | {"body": NoBody(), "may_be_empty": True, "record": DeliveryRecord()}
_LISTED = PublicCall(
    help="List the deliveries of a hook, a webhook or a notice, newest first.",
    example="--since 2h",
    columns="id* status EVENT=event_name RESPONSE=response_status JOBS=job_ids reason? created_at+ NEXT="
    "NEXT=next_attempt_at+ REQUESTS=attempts+",
)
MANY_AGAIN: dict[str, Any] = _WRITE | {"body_as": "wanted", "record": DeliveryTotalRecord()}


def add_reads(calls: ResourceCalls, find: Callable[[], Deliveries], query: Schema, *, listed: str, shown: str) -> None:
    """Add the list of an owner's deliveries, and one delivery. `listed` and `shown` describe them."""

    @operation(summary=f"List {calls.noun}'s deliveries", description=listed, call=_LISTED, query=query, **LIST)
    def list_deliveries(query: DeliveryListRequest, **path: str) -> Response:
        (owner_id,) = path.values()
        found, total = find().page(caller(), owner_id, query.delivery_filter, bounds=query.bounds)
        return page_of(query, found, total, write_delivery)

    @operation(
        summary=f"Show {calls.noun}'s delivery",
        description=shown,
        call=PublicCall(help="Show a delivery with its body."),
        record=DeliveryRecord(),
        failures=(404,),
    )
    def show_delivery(delivery_id: str, **path: str) -> Response:
        (owner_id,) = path.values()
        return responses.data(write_delivery(find().show(caller(), owner_id, delivery_id)))

    calls.add("/deliveries", "list_deliveries", list_deliveries)
    calls.add("/deliveries/<delivery_id>", "show_delivery", show_delivery)


def add_redeliveries(
    calls: ResourceCalls, find: Callable[[], SentDeliveries], body: Schema, *, noun: str, same: str
) -> None:
    """Add the calls that send deliveries of a webhook or a notice again. `same` describes the body."""

    @operation(
        summary=f"Redeliver {noun}",
        call=PublicCall(help="Send a delivery again, with the same id and bytes."),
        description=f"Sends {same} again, with a new retry schedule. A pending delivery becomes due now and keeps "
        "its schedule.",
        **AGAIN,
    )
    def redeliver(delivery_id: str, **path: str) -> Response:
        (owner_id,) = path.values()
        return accepted(find().redeliver(caller(), owner_id, delivery_id))

    @operation(
        summary=f"Redeliver many {noun.partition(' ')[2]}s",
        call=PublicCall(
            method=f"{calls.blueprint.name}.deliveries.redeliver_many",
            command="deliveries redeliver",
            arguments="since",
            help="Send the deliveries of a time range again: abandoned ones, unless another status is given.",
        ),
        description="Sends the deliveries of a time range again: abandoned deliveries, or deliveries with the given "
        "`status`.",
        body=body,
        **MANY_AGAIN,
    )
    def redeliver_many(wanted: DeliveryFilter, **path: str) -> Response:
        (owner_id,) = path.values()
        return accepted(find().redeliver_many(caller(), owner_id, wanted))

    calls.add("/deliveries/<delivery_id>/redeliver", "redeliver", redeliver, "POST")
    calls.add("/deliveries/redeliver", "redeliver_many", redeliver_many, "POST")


def accepted(made: Delivery | int, *, is_repeated: bool = False) -> Response:
    """Return a delivery that is sent or processed again, or the number of many. `is_repeated`: for a repeated call."""
    data = write_total(DeliveryTotal(total=made)) if isinstance(made, int) else write_delivery(made)
    return responses.data(data, 202, is_replay=is_repeated)
