"""One attempt to deliver: signed, sent, and what came back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from ava.domain.events import make_headers
from ava.domain.webhook import Attempt, retry_after_seconds
from ava.errors import OutboundError, OutboundTimeout
from ava.outbound.connections import Connections
from ava.outbound.http import HttpResponse

__all__ = ["make_attempt"]

#: Bytes of an answer that are kept.
_KEPT_BYTES = 1024


def make_attempt(
    connections: Connections,
    *,
    endpoint: str,
    url: str,
    event_id: str,
    body: str,
    secrets: Sequence[str],
    traceparent: str | None = None,
) -> Attempt:
    """Send an event to an endpoint, once. Whatever goes wrong on its side is the attempt's outcome; nothing is raised.

    `endpoint`: whose connections these are. `secrets`: in the clear, the present one first. `traceparent`: the trace
    that the endpoint may join.
    """
    raw, start = body.encode(), time.monotonic()
    headers = make_headers(event_id=event_id, body=raw, timestamp=int(time.time()), secrets=secrets)
    if traceparent is not None:
        headers["traceparent"] = traceparent
    try:
        answer = connections.send("POST", url, owner=endpoint, headers=headers, body=raw)
    except OutboundError as error:
        return Attempt(
            status=None,
            elapsed_ms=round((time.monotonic() - start) * 1000),
            answer="",
            error=str(error),
            is_timeout=isinstance(error, OutboundTimeout),
        )
    return _answered(answer)


def _answered(answer: HttpResponse) -> Attempt:
    is_redirect = 300 <= answer.status < 400
    return Attempt(
        status=answer.status,
        elapsed_ms=answer.elapsed_ms,
        # PostgreSQL's texts hold no NUL.
        answer=answer.body[:_KEPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
        error="It answered with a redirect, and none is followed; change the URL." if is_redirect else None,
        retry_after_seconds=retry_after_seconds(answer.headers.get("retry-after"), datetime.now(UTC)),
    )
