"""Calls about events, subscriptions and hooks: `client.inbound_events.send(…)`, `client.hooks.create(…)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import CallGroup, key_header
from ava.client.reading import read
from ava.client.records import (
    Hook,
    HookDelivery,
    HookReceipt,
    HookTest,
    ReceivedEvent,
    SentEvent,
    Subscription,
    TriedSubscription,
)
from ava.client.sent import segment, sent_time

_EVENTS, _SUBSCRIPTIONS, _HOOKS = "/v1/ava/events", "/v1/ava/subscriptions", "/v1/ava/hooks"


class SubscriptionOptions(TypedDict, total=False):
    """Optional fields of a subscription."""

    name: str | None
    match: Mapping[str, Any] | None
    input: Mapping[str, Any] | None
    priority: int
    enabled: bool


class _SubscriptionChanges(SubscriptionOptions, total=False):
    event_type: str
    worker_id: str


class HookOptions(TypedDict, total=False):
    """Optional fields of a hook."""

    secret: str
    verifier: Mapping[str, Any]
    worker_id: str | None
    event_type: str | None
    match: Mapping[str, Any] | None
    input: Mapping[str, Any] | None
    priority: int
    dedupe: str
    tolerance_seconds: int
    enabled: bool


class _HookChanges(HookOptions, total=False):
    name: str
    keep_secret_seconds: int


def _sent(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sent_time(value) for name, value in fields.items() if value is not None}


class InboundEvents(CallGroup):
    """Calls about events."""

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
    ) -> SentEvent:
        """Send an event. It creates a job for each matching subscription."""
        body = _sent({"type": type, "id": id, "source": source, "subject": subject, "time": time}) | {"data": data}
        found = self._calls.data("POST", _EVENTS, body=body, headers=key_header(idempotency_key))
        return read(SentEvent, found)

    def send_many(
        self, events: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Sequence[SentEvent]:
        """Send up to 1,000 events, all or none. Returns them in order."""
        body = {"events": [dict(event) for event in events]}
        found = self._calls.data("POST", _EVENTS, body=body, headers=key_header(idempotency_key))
        return [read(SentEvent, data) for data in found]

    def get(self, event_id: str) -> ReceivedEvent:
        """Return an event and the jobs that it has created so far."""
        return read(ReceivedEvent, self._calls.data("GET", f"{_EVENTS}/{segment(event_id)}"))

    def list(
        self, *, type: str | None = None, source: str | None = None, per_page: int = 100
    ) -> Iterator[ReceivedEvent]:
        """Return the matching events, newest first."""
        filters = _sent({"filter[type]": type, "filter[source]": source})
        for data in self._pages(_EVENTS, {"per_page": per_page, **filters}):
            yield read(ReceivedEvent, data)


class Subscriptions(CallGroup):
    """Calls about subscriptions."""

    def create(
        self,
        event_type: str,
        worker_id: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubscriptionOptions],
    ) -> Subscription:
        """Create a subscription: each event with the type and a matching pattern creates a job of the worker."""
        body = {"event_type": event_type, "worker_id": worker_id, **options}
        found = self._calls.data("POST", _SUBSCRIPTIONS, body=body, headers=key_header(idempotency_key))
        return read(Subscription, found)

    def list(
        self, *, event_type: str | None = None, worker_id: str | None = None, per_page: int = 100
    ) -> Iterator[Subscription]:
        """Return the matching subscriptions, newest first."""
        filters = _sent({"filter[event_type]": event_type, "filter[worker_id]": worker_id})
        for data in self._pages(_SUBSCRIPTIONS, {"per_page": per_page, **filters}):
            yield read(Subscription, data)

    def get(self, subscription_id: str) -> Subscription:
        """Return a subscription."""
        return read(Subscription, self._calls.data("GET", f"{_SUBSCRIPTIONS}/{segment(subscription_id)}"))

    def change(self, subscription_id: str, **changes: Unpack[_SubscriptionChanges]) -> Subscription:
        """Change fields of a subscription, for the events from now on."""
        path = f"{_SUBSCRIPTIONS}/{segment(subscription_id)}"
        return read(Subscription, self._calls.data("PATCH", path, body=dict(changes)))

    def delete(self, subscription_id: str) -> None:
        """Delete a subscription; its jobs continue."""
        self._calls.send("DELETE", f"{_SUBSCRIPTIONS}/{segment(subscription_id)}")

    def test(
        self,
        event: Mapping[str, Any],
        *,
        event_type: str | None = None,
        match: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
    ) -> TriedSubscription:
        """Try a pattern and a template on an event; nothing is stored."""
        body = {"event": event, "event_type": event_type, "match": match, "input": input}
        return read(TriedSubscription, self._calls.data("POST", f"{_SUBSCRIPTIONS}/test", body=body))


class Hooks(CallGroup):
    """Calls about hooks."""

    def create(
        self, name: str, provider: str, *, idempotency_key: str | None = None, **options: Unpack[HookOptions]
    ) -> Hook:
        """Create a hook. Only this response contains its `url`, and the `secret` if it was generated."""
        body = {"name": name, "provider": provider, **options}
        return read(Hook, self._calls.data("POST", _HOOKS, body=body, headers=key_header(idempotency_key)))

    def list(self, *, per_page: int = 100) -> Iterator[Hook]:
        """Return the hooks, newest first."""
        for data in self._pages(_HOOKS, {"per_page": per_page}):
            yield read(Hook, data)

    def get(self, hook_id: str) -> Hook:
        """Return a hook."""
        return read(Hook, self._calls.data("GET", f"{_HOOKS}/{segment(hook_id)}"))

    def change(self, hook_id: str, **changes: Unpack[_HookChanges]) -> Hook:
        """Change fields of a hook; after a new secret the previous one stays valid for `keep_secret_seconds`."""
        return read(Hook, self._calls.data("PATCH", f"{_HOOKS}/{segment(hook_id)}", body=dict(changes)))

    def rotate(self, hook_id: str, *, keep_seconds: int = 0, idempotency_key: str | None = None) -> Hook:
        """Give a hook a new `url`, which only this response contains; the old one stays valid for `keep_seconds`."""
        body, headers = {"keep_seconds": keep_seconds}, key_header(idempotency_key)
        return read(Hook, self._calls.data("POST", f"{_HOOKS}/{segment(hook_id)}/rotate", body=body, headers=headers))

    def delete(self, hook_id: str) -> None:
        """Delete a hook; its jobs and events stay."""
        self._calls.send("DELETE", f"{_HOOKS}/{segment(hook_id)}")

    def deliveries(self, hook_id: str, *, verdict: str | None = None, per_page: int = 100) -> Iterator[HookDelivery]:
        """Return a hook's deliveries, newest first."""
        filters = _sent({"filter[verdict]": verdict})
        for data in self._pages(f"{_HOOKS}/{segment(hook_id)}/deliveries", {"per_page": per_page, **filters}):
            yield read(HookDelivery, data)

    def delivery(self, hook_id: str, delivery_id: str) -> HookDelivery:
        """Return a delivery with its complete body."""
        path = f"{_HOOKS}/{segment(hook_id)}/deliveries/{segment(delivery_id)}"
        return read(HookDelivery, self._calls.data("GET", path))

    def replay(self, hook_id: str, delivery_id: str, *, idempotency_key: str | None = None) -> HookReceipt:
        """Process a delivery again, with the current subscriptions."""
        path = f"{_HOOKS}/{segment(hook_id)}/deliveries/{segment(delivery_id)}/replay"
        return read(HookReceipt, self._calls.data("POST", path, headers=key_header(idempotency_key)))

    def replay_range(
        self,
        hook_id: str,
        since: datetime | str,
        until: datetime | str | None = None,
        *,
        verdict: str | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Process the deliveries of a time range again, all or none. Returns their number."""
        body = _sent({"from": since, "to": until, "verdict": verdict})
        path = f"{_HOOKS}/{segment(hook_id)}/replay"
        return int(self._calls.data("POST", path, body=body, headers=key_header(idempotency_key))["total"])

    def test(
        self, hook_id: str, *, mode: str = "signed", body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> HookTest:
        """Send the hook a test request: `signed`, `tampered` or `unsigned`."""
        asked = _sent({"mode": mode, "body": body, "headers": headers})
        return read(HookTest, self._calls.data("POST", f"{_HOOKS}/{segment(hook_id)}/test", body=asked))
