"""Deliveries: requests that hooks received, and events that webhooks send."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Direction(StrEnum):
    """The direction of a delivery."""

    IN = "in"
    OUT = "out"


class DeliveryStatus(StrEnum):
    """The status of a delivery: the first three of sent ones, the others of received ones."""

    PENDING = "pending"
    DELIVERED = "delivered"
    ABANDONED = "abandoned"
    ACCEPTED = "accepted"
    #: It repeats an earlier delivery and starts nothing.
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    #: It was stored and started nothing, because its hook was paused.
    SKIPPED = "skipped"


#: The statuses of sent and of received deliveries.
SENT = (DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.ABANDONED)
RECEIVED = (DeliveryStatus.ACCEPTED, DeliveryStatus.DUPLICATE, DeliveryStatus.REFUSED, DeliveryStatus.SKIPPED)
#: The statuses of deliveries that a time range sends or processes again.
REDELIVERABLE = (DeliveryStatus.ABANDONED, DeliveryStatus.DELIVERED)
REPLAYABLE = (DeliveryStatus.ACCEPTED, DeliveryStatus.REFUSED, DeliveryStatus.SKIPPED)


def _about(description: str, prefix: str | None = None) -> dict[str, str]:
    return {"description": description} | ({} if prefix is None else {"prefix": prefix})


_ATTEMPTS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "number": {"type": "integer"},
            "at": {"type": "string", "format": "date-time"},
            "status": {"type": ["integer", "null"], "description": "The status of the response."},
            "duration_ms": {"type": "integer"},
            "answer": {"type": "string", "description": "The first 1 KiB of the response's body."},
            "error": {"type": ["string", "null"]},
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A request that a hook received (`in`), or an event that a webhook sends (`out`).

    A field that does not apply to the direction is None.
    """

    id: str = field(metadata={"prefix": "del"})
    direction: Direction
    hook_id: str | None = field(metadata={"prefix": "hk"})
    webhook_id: str | None = field(metadata={"prefix": "wh"})
    notice_id: str | None = field(metadata={"prefix": "ntc"})
    event_id: str | None = field(metadata={"prefix": "evt"})
    event_type: str | None
    job_ids: Sequence[str] = field(
        metadata=_about("In: the jobs that the delivery started. Out: the job of the event.", "job")
    )
    status: DeliveryStatus = field(
        metadata=_about(
            "Out: `pending`, `delivered` or `abandoned`. In: `accepted`, `duplicate`, `refused` or `skipped` (the hook "
            "was paused)."
        )
    )
    reason: str | None = field(
        metadata=_about("In: why it was refused or skipped. Out: why the last request failed.") | {"payload": "reason"}
    )
    created_at: datetime
    completed_at: datetime | None = field(metadata=_about("Out: when it was delivered or abandoned."))
    next_attempt_at: datetime | None = field(metadata=_about("Out: when the next request is due, while pending."))
    attempts_json: str | None = field(
        metadata=_about("Out: the last 50 requests, oldest first.") | {"form": _ATTEMPTS, "payload": "responses"}
    )
    source_id: str | None = field(metadata=_about("In: the sender's own id of the delivery."))
    duplicate_of: str | None = field(metadata=_about("In: the first delivery, if this one is a duplicate.", "del"))
    replay_of: str | None = field(metadata=_about("In: the original delivery, if this one is a replay.", "del"))
    address: str | None = field(metadata=_about("In: the address of the sender."))
    response_status: int | None = field(
        metadata=_about("The HTTP status of the response: in to the sender, out to the last request.")
    )
    #: A serialized JSON object with string values.
    headers_json: str | None = field(metadata={"description": "In: secrets are masked.", "payload": "value"})
    body: str | None = field(
        default=None,
        metadata=_about(
            "The body: a string, or base64 if it is not UTF-8. Null in a list, and for roles below `tenant-admin`. Of "
            "a delivery refused with an error, the first 16 KiB are stored."
        )
        | {"payload": "value"},
    )
    body_bytes: int | None


def decode_body(body: bytes) -> str:
    """Return a body as a string: UTF-8 unchanged, other bytes in base64."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()


@dataclass(frozen=True, kw_only=True)
class DeliveryTotal:
    """The number of deliveries that are sent or processed again."""

    total: int
