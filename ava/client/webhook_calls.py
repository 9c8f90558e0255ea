"""Calls about webhooks: `client.webhooks.create(…)`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ava.client.calls import ApiResource, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import Delivery, DeliveryBody, Webhook
from ava.client.sent import segment, sent_time

_WEBHOOKS = "/v1/webhooks"


class Webhooks(ApiResource[Mode]):
    """Calls about webhooks."""

    @call
    def create(
        self,
        url: str,
        events: Sequence[str],
        secret: str,
        *,
        roots_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Flow[Webhook]:
        """Create a webhook. Requests are signed with the secret, which the API never shows again.

        With `roots_only` it receives no events of jobs that a handler created.
        """
        body = {"url": url, "events": list(events), "secret": secret, "roots_only": roots_only}
        headers = key_header(idempotency_key)
        return self._calls.record(Webhook, "POST", _WEBHOOKS, body=body, headers=headers)

    @listing
    def list(self, *, per_page: int = 100) -> Listing[Webhook]:
        """Return the webhooks, newest first."""
        return self._calls.records(Webhook, _WEBHOOKS, {"per_page": per_page})

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
        enabled: bool | None = None,
        roots_only: bool | None = None,
    ) -> Flow[Webhook]:
        """Change the given fields. A disabled webhook receives nothing; its deliveries wait."""
        fields = {"url": url, "events": events and list(events), "secret": secret, "enabled": enabled}
        fields["roots_only"] = roots_only
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

    @listing
    def deliveries(
        self, webhook_id: str, *, status: str | None = None, event: str | None = None, per_page: int = 100
    ) -> Listing[Delivery]:
        """Return the matching deliveries, newest first."""
        params = {"per_page": per_page, "filter[status]": status, "filter[event]": event}
        return self._calls.records(Delivery, f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries", params)

    @call
    def redeliver(self, webhook_id: str, delivery_id: str) -> Flow[Delivery]:
        """Send a delivery again, with the same id and bytes."""
        path = f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries/{segment(delivery_id)}/redeliver"
        return self._calls.record(Delivery, "POST", path)

    @call
    def delivery_body(self, webhook_id: str, delivery_id: str) -> Flow[DeliveryBody]:
        """Return the body of a delivery's requests."""
        path = f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries/{segment(delivery_id)}/body"
        return self._calls.record(DeliveryBody, "GET", path)

    @call
    def redeliver_many(
        self,
        webhook_id: str,
        since: datetime | str,
        *,
        until: datetime | str | None = None,
        status: str = "abandoned",
        event: str | None = None,
    ) -> Flow[int]:
        """Send again every delivery that was created since a time and is `abandoned` or `delivered`.

        Returns their number.
        """
        fields = {"since": since, "until": until, "status": status, "event": event}
        body = {name: sent_time(value) for name, value in fields.items() if value is not None}
        data = yield from self._calls.data("POST", f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries/redeliver", body=body)
        return int(data["redelivered"])
