"""Calls about deliveries: `client.hooks.deliveries.list(…)`, `client.webhooks.deliveries.list(…)`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict, Unpack

from ava.client.calls import ApiResource, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import Delivery
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
