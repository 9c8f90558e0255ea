"""Declarations and responses that the routes of received and of sent deliveries share."""

from __future__ import annotations

from typing import Any

from flask import Response

from ava.api.http import responses
from ava.api.http.context import caller
from ava.api.http.paging import page_of
from ava.api.http.strict import NoBody
from ava.api.schemas.deliveries import DeliveryListRequest, DeliveryRecord, DeliveryTotalRecord, write_delivery
from ava.domain.delivery import Delivery
from ava.services.deliveries import Deliveries

#: The declarations of the operations, without summary, description, query and body.
LIST: dict[str, Any] = {"record": DeliveryRecord(), "is_list": True, "failures": (404,), "reads_standby": True}
SHOW: dict[str, Any] = {"record": DeliveryRecord(), "failures": (404,)}
_WRITE: dict[str, Any] = {
    "status": 202,
    "failures": (404, 409, 413, 415, 422),
    "is_write": True,
    "needs_payloads": True,
}
AGAIN: dict[str, Any] = _WRITE | {"body": NoBody(), "may_be_empty": True, "record": DeliveryRecord()}
MANY_AGAIN: dict[str, Any] = _WRITE | {"body_as": "wanted", "record": DeliveryTotalRecord()}


def page(service: Deliveries, owner_id: str, query: DeliveryListRequest) -> Response:
    found, total = service.page(caller(), owner_id, query.delivery_filter, bounds=query.bounds)
    return page_of(query, found, total, write_delivery)


def show(service: Deliveries, owner_id: str, delivery_id: str) -> Response:
    return responses.data(write_delivery(service.show(caller(), owner_id, delivery_id)))


def accepted(made: Delivery | int, *, is_repeated: bool = False) -> Response:
    """Return a delivery that is sent or processed again, or the number of many. `is_repeated`: for a repeated call."""
    data = f'{{"total":{made}}}' if isinstance(made, int) else write_delivery(made)
    return responses.data(data, 202, is_replay=is_repeated)
