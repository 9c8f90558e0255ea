"""Deliver an event to an endpoint, or a message of a notice to its channel, with one request, and return the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ava.domain.limits.table import NOTICE_MAILS
from ava.domain.notices.messages import mail_of, slack_json, teams_json
from ava.domain.notices.notice import Channel, read_addresses
from ava.domain.webhooks.webhook import RequestResult, retry_after_seconds
from ava.domain.webhooks.webhook_events import make_headers
from ava.errors import OutboundError, OutboundTimeout
from ava.outbound.connections import Connections
from ava.outbound.http import HttpResponse
from ava.outbound.mail import MailServer
from ava.settings import Settings
from ava.store.webhooks.endpoint_leases import DueDelivery

#: Seconds for each step of a mail; servers check senders while a client waits.
_MAIL_SECONDS = 30.0
_RENDERERS: Mapping[Channel, Callable[[Mapping[str, Any]], str]] = {
    Channel.SLACK: slack_json,
    Channel.TEAMS: teams_json,
}


class NoticeSender:
    """Sends the messages of notices to their targets."""

    def __init__(self, connections: Connections, settings: Settings, reserve_mails: Callable[[str, int], bool]) -> None:
        """`reserve_mails` counts mails of a tenant, and returns False if it may send no more of them today."""
        self._connections = connections
        self._domains = settings.mail_domains
        self._reserve_mails = reserve_mails
        self._server = MailServer(settings.smtp_url, timeout_seconds=_MAIL_SECONDS) if settings.smtp_url else None

    def send(self, delivery: DueDelivery, *, channel: Channel, target: str, body: str) -> RequestResult:
        """Send a message once. A failure of the target is part of the result and never raised."""
        start = time.monotonic()
        try:
            if channel is Channel.EMAIL:
                return self._send_mail(delivery, target, body, start)
            render = _RENDERERS.get(channel)
            headers = {"Content-Type": "application/json", "webhook-id": delivery.event_id}
            raw = (render(json.loads(body)) if render else body).encode()
            response = self._connections.send(
                "POST", target, owner=delivery.endpoint, tenant=delivery.tenant_id, headers=headers, body=raw
            )
        except OutboundError as error:
            return _failed(start, str(error), is_timeout=isinstance(error, OutboundTimeout))
        return result_of(response)

    def _send_mail(self, delivery: DueDelivery, target: str, body: str, start: float) -> RequestResult:
        if self._server is None:
            return _failed(start, "AVA_SMTP_URL is not set for the sender.")
        try:
            # Again: the operator may have removed a domain.
            recipients = read_addresses(target, self._domains)
        except ValueError as error:
            return _failed(start, str(error))
        if not self._reserve_mails(delivery.tenant_id, len(recipients)):
            sentence = f"The tenant has reached its limit of {NOTICE_MAILS.value} mails a day."
            return _failed(start, NOTICE_MAILS.message(sentence), retry_after_seconds=_seconds_of_day_left())
        mail = mail_of(json.loads(body), sender=self._server.sender, recipients=", ".join(recipients))
        code, refused = self._server.send(mail, recipients)
        return _mail_result(code, refused, recipients, start)


def _mail_result(code: int, refused: int, recipients: Sequence[str], start: float) -> RequestResult:
    error = f"The mail server refused {refused} of {len(recipients)} recipients." if refused else None
    return RequestResult(status=code, elapsed_ms=_elapsed_ms(start), response_body="", error=error)


def _failed(
    start: float, error: str, *, is_timeout: bool = False, retry_after_seconds: float | None = None
) -> RequestResult:
    return RequestResult(
        status=None,
        elapsed_ms=_elapsed_ms(start),
        response_body="",
        error=error,
        is_timeout=is_timeout,
        retry_after_seconds=retry_after_seconds,
    )


def _elapsed_ms(start: float) -> int:
    return round((time.monotonic() - start) * 1000)


def _seconds_of_day_left() -> float:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


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
