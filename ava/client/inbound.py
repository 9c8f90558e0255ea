"""Calls about events, subscriptions and hooks: `client.events.send(…)`, `client.hooks.create(…)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import ApiResource, Calls, PausableResource, flag, key_header
from ava.client.deliveries import ReceivedDeliveries
from ava.client.flows import Flow, Listing, Mode, Sender, call, listing
from ava.client.reading import read
from ava.client.records import Hook, HookTest, ReceivedEvent, SentEvent, Subscription, TriedSubscription
from ava.client.sent import segment, sent_time, time_range

_EVENTS, _SUBSCRIPTIONS, _HOOKS = "/v1/ava/events", "/v1/ava/subscriptions", "/v1/ava/hooks"


class SubscriptionOptions(TypedDict, total=False):
    """Optional fields of a subscription."""

    name: str | None
    match: Mapping[str, Any] | None
    input: Mapping[str, Any] | None
    priority: int


class _NewSubscription(SubscriptionOptions, total=False):
    paused: bool


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


class _NewHook(HookOptions, total=False):
    paused: bool


class _HookChanges(HookOptions, total=False):
    name: str
    keep_secret_seconds: int


def _sent(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sent_time(value) for name, value in fields.items() if value is not None}


class Events(ApiResource[Mode]):
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
        body = _sent({"type": type, "id": id, "source": source, "subject": subject, "time": time}) | {"data": data}
        return self._calls.record(SentEvent, "POST", _EVENTS, body=body, headers=key_header(idempotency_key))

    @call
    def send_many(
        self, events: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Flow[Sequence[SentEvent]]:
        """Send up to 1,000 events, all or none. Returns them in order."""
        body = {"events": [dict(event) for event in events]}
        found = yield from self._calls.data("POST", _EVENTS, body=body, headers=key_header(idempotency_key))
        return [read(SentEvent, data) for data in found]

    @call
    def get(self, event_id: str) -> Flow[ReceivedEvent]:
        """Return an event and the jobs that it has created so far."""
        return self._calls.record(ReceivedEvent, "GET", f"{_EVENTS}/{segment(event_id)}")

    @listing
    def list(
        self,
        *,
        type: str | None = None,
        source: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        per_page: int = 100,
    ) -> Listing[ReceivedEvent]:
        """Return the matching events, newest first."""
        params = {"per_page": per_page, "filter[type]": type, "filter[source]": source}
        return self._calls.records(ReceivedEvent, _EVENTS, params | time_range(since, until))


class Subscriptions(PausableResource[Mode, Subscription]):
    """Calls about subscriptions. A paused one skips events."""

    _kind, _path = Subscription, _SUBSCRIPTIONS

    @call
    def create(
        self,
        event_type: str,
        worker_id: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[_NewSubscription],
    ) -> Flow[Subscription]:
        """Create a subscription: each event with the type and a matching pattern creates a job of the worker."""
        body = {"event_type": event_type, "worker_id": worker_id, **options}
        headers = key_header(idempotency_key)
        return self._calls.record(Subscription, "POST", _SUBSCRIPTIONS, body=body, headers=headers)

    @listing
    def list(
        self,
        *,
        event_type: str | None = None,
        worker_id: str | None = None,
        paused: bool | None = None,
        per_page: int = 100,
    ) -> Listing[Subscription]:
        """Return the matching subscriptions, newest first."""
        params = {"per_page": per_page, "filter[event_type]": event_type, "filter[worker_id]": worker_id}
        params["filter[paused]"] = flag(paused)
        return self._calls.records(Subscription, _SUBSCRIPTIONS, params)

    @call
    def get(self, subscription_id: str) -> Flow[Subscription]:
        """Return a subscription."""
        return self._calls.record(Subscription, "GET", f"{_SUBSCRIPTIONS}/{segment(subscription_id)}")

    @call
    def update(self, subscription_id: str, **changes: Unpack[_SubscriptionChanges]) -> Flow[Subscription]:
        """Change fields of a subscription, for the events from now on."""
        path = f"{_SUBSCRIPTIONS}/{segment(subscription_id)}"
        return self._calls.record(Subscription, "PATCH", path, body=dict(changes))

    @call
    def delete(self, subscription_id: str) -> Flow[None]:
        """Delete a subscription; its jobs continue."""
        return self._calls.delete(f"{_SUBSCRIPTIONS}/{segment(subscription_id)}")

    @call
    def test(
        self,
        event: Mapping[str, Any],
        *,
        event_type: str | None = None,
        match: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
    ) -> Flow[TriedSubscription]:
        """Try a pattern and a template on an event; nothing is stored."""
        body = {"event": event, "event_type": event_type, "match": match, "input": input}
        return self._calls.record(TriedSubscription, "POST", f"{_SUBSCRIPTIONS}/test", body=body)


class Hooks(PausableResource[Mode, Hook]):
    """Calls about hooks. A paused one accepts deliveries and stores them as skipped, until they are replayed."""

    _kind, _path = Hook, _HOOKS

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        #: Shows and replays the deliveries of a hook.
        self.deliveries: ReceivedDeliveries[Mode] = ReceivedDeliveries(calls, sender)

    @call
    def create(
        self, name: str, provider: str, *, idempotency_key: str | None = None, **options: Unpack[_NewHook]
    ) -> Flow[Hook]:
        """Create a hook. Only this response contains its `url`, and the `secret` if it was generated."""
        body = {"name": name, "provider": provider, **options}
        return self._calls.record(Hook, "POST", _HOOKS, body=body, headers=key_header(idempotency_key))

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Hook]:
        """Return the hooks, newest first: all, paused or other ones."""
        return self._calls.records(Hook, _HOOKS, {"per_page": per_page, "filter[paused]": flag(paused)})

    @call
    def get(self, hook_id: str) -> Flow[Hook]:
        """Return a hook."""
        return self._calls.record(Hook, "GET", f"{_HOOKS}/{segment(hook_id)}")

    @call
    def update(self, hook_id: str, **changes: Unpack[_HookChanges]) -> Flow[Hook]:
        """Change fields of a hook; after a new secret the previous one stays valid for `keep_secret_seconds`."""
        return self._calls.record(Hook, "PATCH", f"{_HOOKS}/{segment(hook_id)}", body=dict(changes))

    @call
    def rotate(self, hook_id: str, *, keep_seconds: int = 0, idempotency_key: str | None = None) -> Flow[Hook]:
        """Give a hook a new `url`, which only this response contains; the old one stays valid for `keep_seconds`."""
        body, headers = {"keep_seconds": keep_seconds}, key_header(idempotency_key)
        return self._calls.record(Hook, "POST", f"{_HOOKS}/{segment(hook_id)}/rotate", body=body, headers=headers)

    @call
    def delete(self, hook_id: str) -> Flow[None]:
        """Delete a hook; its jobs and events stay."""
        return self._calls.delete(f"{_HOOKS}/{segment(hook_id)}")

    @call
    def test(
        self, hook_id: str, *, mode: str = "signed", body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Flow[HookTest]:
        """Send the hook a test request: `signed`, `tampered` or `unsigned`. It is sent once, without retries."""
        path, asked = f"{_HOOKS}/{segment(hook_id)}/test", _sent({"mode": mode, "body": body, "headers": headers})
        return self._calls.record(HookTest, "POST", path, body=asked, is_idempotent=False)
