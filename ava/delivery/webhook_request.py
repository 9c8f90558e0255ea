"""Deliver an event to an endpoint with one request: sign, send and return the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from ava.domain.webhooks.webhook import RequestResult, retry_after_seconds
from ava.domain.webhooks.webhook_events import make_headers
from ava.errors import OutboundError, OutboundTimeout
from ava.outbound.connections import Connections
from ava.outbound.http import HttpResponse

#: Bytes of a response's body that are stored.
_STORED_BYTES = 1024


def send_event(
    connections: Connections,
    *,
    endpoint: str,
    tenant_id: str,
    url: str,
    event_id: str,
    body: str,
    secrets: Sequence[str],
    traceparent: str | None = None,
) -> RequestResult:
    """Send an event to an endpoint once. An endpoint's failure is part of the result and never raised.

    `endpoint`: the UUID that owns the connections. `secrets`: in plaintext, the current one first. `traceparent`: the
    trace that the endpoint may join.
    """
    raw, start = body.encode(), time.monotonic()
    headers = make_headers(event_id=event_id, body=raw, timestamp=int(time.time()), secrets=secrets)
    if traceparent is not None:
        headers["traceparent"] = traceparent
    try:
        response = connections.send("POST", url, owner=endpoint, tenant=tenant_id, headers=headers, body=raw)
    except OutboundError as error:
        return RequestResult(
            status=None,
            elapsed_ms=round((time.monotonic() - start) * 1000),
            response_body="",
            error=str(error),
            is_timeout=isinstance(error, OutboundTimeout),
        )
    return result_of(response)


def result_of(response: HttpResponse) -> RequestResult:
    """Return the result of a request that got a response."""
    is_redirect = 300 <= response.status < 400
    return RequestResult(
        status=response.status,
        elapsed_ms=response.elapsed_ms,
        # A PostgreSQL string cannot contain NUL.
        response_body=response.body[:_STORED_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
        error="It answered with a redirect, and none is followed; change the URL." if is_redirect else None,
        retry_after_seconds=retry_after_seconds(response.headers.get("retry-after"), datetime.now(UTC)),
    )
