"""Verify for receivers of webhooks that a request is genuine and recent.

    event = verify(request.get_data(), request.headers, secret)

It does not import `ava.domain.webhooks.webhook_events`, which signs, because a receiver does not install the server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ava.client.errors import WebhookUnverified

_PREFIX = "whsec_"
_VERSION = "v1,"


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_seconds: float = 300.0,
    now: float | None = None,
) -> dict[str, Any]:
    """Verify that a webhook is genuine and recent. Returns its event.

    `body`: the raw bytes of the request. `secret`: the endpoint's, or several during a rotation. `now`: Unix seconds.
    Delivery is at-least-once: deduplicate by the event's `id`, and remember ids for longer than the tolerance.

    Raises `WebhookUnverified` with the reason: do not respond with 2xx then.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    signatures = [one for one in given.get("webhook-signature", "").split(" ") if one.startswith(_VERSION)]
    if not (message_id and timestamp and signatures):
        raise WebhookUnverified("The header webhook-id, webhook-timestamp or webhook-signature is missing.")
    _check_age(timestamp, time.time() if now is None else now, tolerance_seconds)
    signed = f"{message_id}.{timestamp}.".encode() + body
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not any([_fits(one, signed, signature) for one in secrets for signature in signatures]):  # noqa: C419 - see _fits
        raise WebhookUnverified("No signature matches the body and the secret.")
    return _event(body, message_id)


def _check_age(timestamp: str, now: float, tolerance_seconds: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 15):
        raise WebhookUnverified("The webhook-timestamp is not a number of seconds.")
    if abs(now - int(timestamp)) > tolerance_seconds:
        raise WebhookUnverified(
            f"The webhook-timestamp is more than {tolerance_seconds:g} s off; check the clocks, or it is a replay."
        )


def _fits(secret: str, signed: bytes, signature: str) -> bool:
    # Compare every pair in constant time, so that the duration reveals nothing about the secret.
    expected = base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest())
    return hmac.compare_digest(expected, signature.removeprefix(_VERSION).encode("ascii", "replace"))


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(_PREFIX)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise WebhookUnverified("The secret begins with whsec_, but the rest is not base64.") from None


def _event(body: bytes, message_id: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(body)
    except ValueError:
        raise WebhookUnverified("The body is not JSON.") from None
    if not isinstance(event, dict) or event.get("id") != message_id:
        raise WebhookUnverified("The id in the body differs from webhook-id.")
    return event
