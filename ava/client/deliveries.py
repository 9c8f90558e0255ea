"""Calls about webhooks, notices and all deliveries: `client.webhooks.create(…)`, `client.hooks.deliveries.list(…)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import ApiResource, Calls, PausableResource, flag, key_header
from ava.client.flows import Flow, Listing, Mode, Sender, call, listing
from ava.client.records import Delivery, Notice, Webhook
from ava.client.sent import segment, time_range


class DeliveryOptions(TypedDict, total=False):
    """Which deliveries to send or process again; an omitted field, or None, means any."""

    until: datetime | str | None
    status: str | None
    event_type: str | None


class Deliveries(ApiResource[Mode]):
    """Calls about the deliveries of hooks (`in`) or of webhooks (`out`)."""

    #: The path of the hooks or webhooks.
    _owners = ""

    @listing
    def list(
        self,
        owner_id: str,
        *,
        status: str | None = None,
        event_type: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        per_page: int = 100,
    ) -> Listing[Delivery]:
        """Return the matching deliveries of a hook or a webhook, newest first, without bodies."""
        params = {"per_page": per_page, "filter[status]": status, "filter[event_type]": event_type}
        return self._calls.records(Delivery, self._path(owner_id), params | time_range(since, until))

    @call
    def get(self, owner_id: str, delivery_id: str) -> Flow[Delivery]:
        """Return a delivery with its body."""
        return self._calls.record(Delivery, "GET", self._path(owner_id, delivery_id))

    def _path(self, owner_id: str, *rest: str) -> str:
        return "/".join((self._owners, segment(owner_id), "deliveries", *map(segment, rest)))

    def _many(
        self, verb: str, owner_id: str, since: datetime | str, options: DeliveryOptions, headers: Any = None
    ) -> Flow[int]:
        body = {**options, **time_range(since, options.get("until"))}
        body = {name: value for name, value in body.items() if value is not None}
        data = yield from self._calls.data("POST", self._path(owner_id, verb), body=body, headers=headers)
        return int(data["total"])


class SentDeliveries(Deliveries[Mode]):
    """Calls about the deliveries of webhooks, or of notices."""

    _owners = "/v1/webhooks"

    @call
    def redeliver(self, webhook_id: str, delivery_id: str) -> Flow[Delivery]:
        """Send a delivery again, with the same id and bytes."""
        return self._calls.record(Delivery, "POST", self._path(webhook_id, delivery_id, "redeliver"))

    @call
    def redeliver_many(self, webhook_id: str, since: datetime | str, **options: Unpack[DeliveryOptions]) -> Flow[int]:
        """Send the deliveries of a time range again that are `abandoned` (the default) or `delivered`.

        Returns their number.
        """
        return self._many("redeliver", webhook_id, since, options)


class NoticeDeliveries(SentDeliveries[Mode]):
    """Calls about the deliveries of notices."""

    _owners = "/v1/ava/notices"


class ReceivedDeliveries(Deliveries[Mode]):
    """Calls about the deliveries of hooks."""

    _owners = "/v1/ava/hooks"

    @call
    def replay(self, hook_id: str, delivery_id: str, *, idempotency_key: str | None = None) -> Flow[Delivery]:
        """Process a delivery again, with the current subscriptions. Returns the new delivery."""
        path, headers = self._path(hook_id, delivery_id, "replay"), key_header(idempotency_key)
        return self._calls.record(Delivery, "POST", path, headers=headers)

    @call
    def replay_many(
        self,
        hook_id: str,
        since: datetime | str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[DeliveryOptions],
    ) -> Flow[int]:
        """Process the deliveries of a time range again, all or none. Returns their number."""
        return self._many("replay", hook_id, since, options, key_header(idempotency_key))


_WEBHOOKS = "/v1/webhooks"


class Webhooks(PausableResource[Mode, Webhook]):
    """Calls about webhooks. A paused one gets no new deliveries, and its pending ones wait."""

    _kind, _path = Webhook, _WEBHOOKS

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        #: Shows the deliveries of a webhook, and sends them again.
        self.deliveries: SentDeliveries[Mode] = SentDeliveries(calls, sender)

    @call
    def create(
        self,
        url: str,
        events: Sequence[str],
        secret: str,
        *,
        roots_only: bool = False,
        paused: bool = False,
        idempotency_key: str | None = None,
    ) -> Flow[Webhook]:
        """Create a webhook. Requests are signed with the secret, which the API never shows again.

        With `roots_only` it receives no events of jobs that a handler created.
        """
        body = {"url": url, "events": list(events), "secret": secret, "roots_only": roots_only, "paused": paused}
        headers = key_header(idempotency_key)
        return self._calls.record(Webhook, "POST", _WEBHOOKS, body=body, headers=headers)

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Webhook]:
        """Return the webhooks, newest first: all, paused or other ones."""
        return self._calls.records(Webhook, _WEBHOOKS, {"per_page": per_page, "filter[paused]": flag(paused)})

    @call
    def get(self, webhook_id: str) -> Flow[Webhook]:
        """Return a webhook."""
        return self._calls.record(Webhook, "GET", f"{_WEBHOOKS}/{segment(webhook_id)}")

    @call
    def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        secret: str | None = None,
        roots_only: bool | None = None,
    ) -> Flow[Webhook]:
        """Change the given fields."""
        fields = {"url": url, "events": events and list(events), "secret": secret, "roots_only": roots_only}
        body = {name: value for name, value in fields.items() if value is not None}
        return self._calls.record(Webhook, "PATCH", f"{_WEBHOOKS}/{segment(webhook_id)}", body=body)

    @call
    def delete(self, webhook_id: str) -> Flow[None]:
        """Delete a webhook with its secret. It receives nothing more."""
        return self._calls.delete(f"{_WEBHOOKS}/{segment(webhook_id)}")

    @call
    def test(self, webhook_id: str) -> Flow[Delivery]:
        """Send a test event, signed and retried like any other. Returns its pending delivery."""
        return self._calls.record(Delivery, "POST", f"{_WEBHOOKS}/{segment(webhook_id)}/test", is_idempotent=False)


_NOTICES = "/v1/ava/notices"


class Notices(PausableResource[Mode, Notice]):
    """Calls about notices, which send messages to Slack, Teams, mail addresses or a URL."""

    _kind, _path = Notice, _NOTICES

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        #: Shows the deliveries of a notice, and sends them again.
        self.deliveries: NoticeDeliveries[Mode] = NoticeDeliveries(calls, sender)

    @call
    def create(
        self,
        name: str,
        channel: str,
        target: str,
        on: Sequence[Mapping[str, Any]],
        *,
        paused: bool = False,
        idempotency_key: str | None = None,
    ) -> Flow[Notice]:
        """Create a notice. `channel`: `slack`, `teams`, `email` or `webhook`; the API never shows the target again.

        Each rule of `on` has an `event` and its conditions: `{"event": "job.failed", "worker_id": "wkr_report"}`.
        """
        body = {"name": name, "channel": channel, "target": target, "on": [*map(dict, on)], "paused": paused}
        return self._calls.record(Notice, "POST", _NOTICES, body=body, headers=key_header(idempotency_key))

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Notice]:
        """Return the notices, newest first: all, paused or other ones."""
        return self._calls.records(Notice, _NOTICES, {"per_page": per_page, "filter[paused]": flag(paused)})

    @call
    def get(self, notice_id: str) -> Flow[Notice]:
        """Return a notice."""
        return self._calls.record(Notice, "GET", f"{_NOTICES}/{segment(notice_id)}")

    @call
    def update(
        self,
        notice_id: str,
        *,
        name: str | None = None,
        channel: str | None = None,
        target: str | None = None,
        on: Sequence[Mapping[str, Any]] | None = None,
    ) -> Flow[Notice]:
        """Change the given fields. A new channel needs a target."""
        rules = None if on is None else [*map(dict, on)]
        fields = {"name": name, "channel": channel, "target": target, "on": rules}
        body = {name: value for name, value in fields.items() if value is not None}
        return self._calls.record(Notice, "PATCH", f"{_NOTICES}/{segment(notice_id)}", body=body)

    @call
    def delete(self, notice_id: str) -> Flow[None]:
        """Delete a notice with its target. It sends nothing more."""
        return self._calls.delete(f"{_NOTICES}/{segment(notice_id)}")

    @call
    def test(self, notice_id: str) -> Flow[Delivery]:
        """Send a test message, which is retried like any other. Returns its pending delivery."""
        return self._calls.record(Delivery, "POST", f"{_NOTICES}/{segment(notice_id)}/test", is_idempotent=False)
