"""Calls about webhooks: `client.webhooks.create(…)`."""

from __future__ import annotations

from collections.abc import Sequence

from ava.client.calls import Calls, PausableResource, flag, key_header
from ava.client.deliveries import SentDeliveries
from ava.client.flows import Flow, Listing, Mode, Sender, call, listing
from ava.client.records import Delivery, Webhook
from ava.client.sent import segment

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
