"""Resources with methods that are not one plain request: containments, events, sessions and MCP messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ava.client.calls import OUTAGES, ApiResource, key_header
from ava.client.flows import Flow, Mode, Request, call
from ava.client.methods import ContainmentsCalls, EventsCalls, SessionsCalls
from ava.client.reading import read
from ava.client.records import Containment, Rehearsal, SentEvent
from ava.client.sent import segment, sent_fields

_CONTAINMENTS, _EVENTS = "/v1/ava/containments", "/v1/ava/events"
#: Timeout of an MCP message in seconds; its response may wait 25 s for a job.
_MCP_SECONDS = 60


class Containments(ContainmentsCalls[Mode]):
    """Calls that stop everything in a scope of jobs, until it is lifted."""

    @call
    def rehearse(self, scope: Mapping[str, Any]) -> Flow[Rehearsal]:
        """Return the jobs that a containment would hold and stop now; changes nothing."""
        body = {"scope": dict(scope), "reason": "a rehearsal", "dry_run": True}
        return self._calls.record(Rehearsal, "POST", _CONTAINMENTS, body=body)

    @call
    def signing_keys(self) -> Flow[dict[str, Any]]:
        """Return the public keys that verify proofs, as a JWKS."""
        response = yield from self._calls.send(Request(method="GET", url="/.well-known/ava-signing-keys"))
        found: dict[str, Any] = response.json()
        return found

    @call
    def wait(self, containment_id: str, timeout_seconds: float | None = None) -> Flow[Containment]:
        """Wait until a containment is complete, or no longer active, and return it. Raises `WaitTimeout`."""
        path = f"{_CONTAINMENTS}/{segment(containment_id)}"
        return self._calls.until(
            lambda found: found.complete_at is not None or found.state != "active", Containment, path, timeout_seconds
        )


class Events(EventsCalls[Mode]):
    """Calls about events."""

    @call
    def send(
        self,
        type: str,
        data: Any,
        *,
        id: str | None = None,
        source: str | None = None,
        subject: str | None = None,
        time: datetime | str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[SentEvent]:
        """Send an event. It creates a job for each matching subscription."""
        fields = {"type": type, "id": id, "source": source, "subject": subject, "time": time}
        body = sent_fields(fields) | {"data": data}
        return self._calls.record(SentEvent, "POST", _EVENTS, body=body, headers=key_header(idempotency_key))

    @call
    def send_many(
        self, events: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Flow[Sequence[SentEvent]]:
        """Send up to 1,000 events, all or none. Returns them in order."""
        body = {"events": [dict(event) for event in events]}
        found = yield from self._calls.data("POST", _EVENTS, body=body, headers=key_header(idempotency_key))
        return [read(SentEvent, data) for data in found]


class Sessions(SessionsCalls[Mode]):
    """Calls about sessions of the dashboard."""

    @call
    def create_link(self) -> Flow[str]:
        """Return a link that signs in to the dashboard as this caller, once and within 10 minutes."""
        data = yield from self._calls.data("POST", "/v1/ava/session/links")
        return f"{self._calls.url}{data['path']}"


class Mcp(ApiResource[Mode]):
    """MCP messages of an agent, for a bridge."""

    @call
    def send(self, message: bytes, headers: Mapping[str, str]) -> Flow[bytes]:
        """Send a message unchanged, with the headers that repeat it. Returns the response; b"" if there is none.

        An Idempotency-Key among the headers makes it safe to repeat. Raises `ApiUnavailable`.
        """
        request = Request(method="POST", url="/mcp", content=message, headers=headers, read_seconds=_MCP_SECONDS)
        response = yield from self._calls.exchange(request, OUTAGES)
        return response.content
