"""Calls about webhooks: `client.webhooks.create(…)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from ava.client.calls import CallGroup, key_header
from ava.client.reading import read
from ava.client.records import Delivery, DeliveryBody, Webhook
from ava.client.sent import segment, sent_time

_WEBHOOKS = "/v1/webhooks"


class Webhooks(CallGroup):
    """Calls about webhooks."""

    def create(
        self,
        url: str,
        events: Sequence[str],
        secret: str,
        *,
        roots_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Webhook:
        """Create a webhook. Requests are signed with the secret, which the API never shows again.

        With `roots_only` it receives no events of jobs that a handler created.
        """
        body = {"url": url, "events": list(events), "secret": secret, "roots_only": roots_only}
        headers = key_header(idempotency_key)
        return read(Webhook, self._calls.data("POST", _WEBHOOKS, body=body, headers=headers))

    def list(self, *, per_page: int = 100) -> Iterator[Webhook]:
        """Return the webhooks, newest first."""
        for data in self._pages(_WEBHOOKS, {"per_page": per_page}):
            yield read(Webhook, data)

    def get(self, webhook_id: str) -> Webhook:
        """Return a webhook."""
        return read(Webhook, self._calls.data("GET", f"{_WEBHOOKS}/{segment(webhook_id)}"))

    def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        secret: str | None = None,
        enabled: bool | None = None,
        roots_only: bool | None = None,
    ) -> Webhook:
        """Change the given fields. A disabled webhook receives nothing; its deliveries wait."""
        fields = {"url": url, "events": events and list(events), "secret": secret, "enabled": enabled}
        fields["roots_only"] = roots_only
        body = {name: value for name, value in fields.items() if value is not None}
        return read(Webhook, self._calls.data("PATCH", f"{_WEBHOOKS}/{segment(webhook_id)}", body=body))

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook with its secret. It receives nothing more."""
        self._calls.send("DELETE", f"{_WEBHOOKS}/{segment(webhook_id)}")

    def test(self, webhook_id: str) -> Delivery:
        """Send a test event, signed and retried like any other. Returns its pending delivery."""
        return read(Delivery, self._calls.data("POST", f"{_WEBHOOKS}/{segment(webhook_id)}/test"))

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, event: str | None = None, per_page: int = 100
    ) -> Iterator[Delivery]:
        """Return the matching deliveries, newest first."""
        filters = {"filter[status]": status, "filter[event]": event}
        params = {name: value for name, value in filters.items() if value is not None} | {"per_page": per_page}
        for data in self._pages(f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries", params):
            yield read(Delivery, data)

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again, with the same id and bytes."""
        path = f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries/{segment(delivery_id)}/redeliver"
        return read(Delivery, self._calls.data("POST", path))

    def body(self, webhook_id: str, delivery_id: str) -> DeliveryBody:
        """Return the body of a delivery's requests."""
        path = f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries/{segment(delivery_id)}/body"
        return read(DeliveryBody, self._calls.data("GET", path))

    def redeliver_ended(
        self,
        webhook_id: str,
        since: datetime | str,
        *,
        until: datetime | str | None = None,
        status: str = "abandoned",
        event: str | None = None,
    ) -> int:
        """Send again every delivery that was created since a time and is `abandoned` or `delivered`.

        Returns their number.
        """
        fields = {"since": since, "until": until, "status": status, "event": event}
        body = {name: sent_time(value) for name, value in fields.items() if value is not None}
        data = self._calls.data("POST", f"{_WEBHOOKS}/{segment(webhook_id)}/deliveries/redeliver", body=body)
        return int(data["redelivered"])
