"""Webhook events: their types, their body, which is serialized only once, and its signatures."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from ava.domain import ids
from ava.domain.record import format_time

#: `POST /v1/webhooks/:id/test`; no endpoint subscribes to it.
TEST = "ava.webhook.test"

#: The prefix of Standard Webhooks secrets. The key follows in base64.
SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of secrets, not a secret


class EventType(StrEnum):
    COMPLETED = "ava.job.completed"
    FAILED = "ava.job.failed"
    CANCELLED = "ava.job.cancelled"
    STARTED = "ava.job.started"
    QUEUED = "ava.job.queued"
    SCHEDULE_DISABLED = "ava.schedule.disabled"
    ERROR_OPENED = "ava.error.opened"
    ERROR_REGRESSED = "ava.error.regressed"
    APPROVAL_REQUESTED = "ava.approval.requested"
    APPROVAL_REMINDED = "ava.approval.reminded"
    APPROVAL_DECIDED = "ava.approval.decided"
    APPROVAL_EXPIRED = "ava.approval.expired"
    CONTAINMENT_STARTED = "ava.containment.started"
    CONTAINMENT_EFFECTIVE = "ava.containment.effective"
    CONTAINMENT_COMPLETED = "ava.containment.completed"
    CONTAINMENT_LIFTED = "ava.containment.lifted"


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event, without its data."""

    #: `evt_…`, equal in all requests of all deliveries.
    id: str
    type: str
    created_at: datetime
    tenant_id: str
    #: Increases over the events of a job, with gaps; 0 for events without a job.
    sequence: int

    @classmethod
    def new(cls, type_: str, *, tenant_id: str, created_at: datetime) -> Self:
        """Return a new event that belongs to no job."""
        id_ = ids.encode("evt", ids.new_uuid())
        return cls(id=id_, type=type_, created_at=created_at, tenant_id=tenant_id, sequence=0)


def make_body(event: Event, data: Mapping[str, Any]) -> str:
    """Return the body as ASCII JSON: the contract's fields in its order, then the others."""
    return json.dumps(
        {
            "id": event.id,
            "type": event.type,
            "created_at": format_time(event.created_at),
            "tenant_id": event.tenant_id,
            "data": data,
            "sequence": event.sequence,
        },
        separators=(",", ":"),
    )


def make_headers(*, event_id: str, body: bytes, timestamp: int, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of one request. `timestamp` is the time of sending, in Unix seconds.

    `secrets` are the endpoint's current secret and, while it is still valid, the previous one.
    """
    headers = {
        "Content-Type": "application/json",
        "X-HLD-Signature-256": sign_body(secrets[0], body),
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            sign_message(secret, message_id=event_id, timestamp=timestamp, body=body) for secret in secrets
        ),
    }
    if len(secrets) > 1:
        headers["X-HLD-Signature-256-Previous"] = sign_body(secrets[1], body)
    return headers


def sign_body(secret: str, body: bytes) -> str:
    """Return `sha256=…`: the HMAC-SHA256 of the body in hex, keyed with the secret's UTF-8 bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def sign_message(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,…`: the base64 signature of Standard Webhooks over id, timestamp (Unix seconds) and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(signing_key(secret), signed, hashlib.sha256).digest()).decode()


def signing_key(secret: str) -> bytes:
    """Return the Standard Webhooks key: base64-decoded after `whsec_`, or the bytes of a secret without that prefix.

    Raise `ValueError` if the part after `whsec_` is empty or not base64.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("the part after whsec_ is not base64") from error
    if not key:
        raise ValueError("nothing follows whsec_")
    return key
