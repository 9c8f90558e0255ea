"""Use cases of webhooks: endpoints and test events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.domain.counts import PageBounds
from ava.domain.delivery import Delivery
from ava.domain.limits.table import WEBHOOKS
from ava.domain.outbound import outbound_url
from ava.domain.outbound.outbound_rules import OutboundRules
from ava.domain.record import format_time
from ava.domain.secrets.sealing import Sealer
from ava.domain.webhooks.webhook import Endpoint
from ava.domain.webhooks.webhook_events import TEST, Event, make_body
from ava.errors import InvalidFields, OutboundError, WebhookNotFound, WebhooksFull, WebhookStateConflict, required
from ava.services import replays
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.jobs import idempotency
from ava.store.webhooks import deliveries, endpoints


class Webhooks:
    """Use cases of webhooks."""

    def __init__(self, database: Database, sealer: Sealer, *, rules: OutboundRules) -> None:
        self._database = database
        self._sealer = sealer
        self._rules = rules

    def create(
        self,
        caller: Caller,
        *,
        url: str,
        events: Sequence[str],
        secret: str,
        roots_only: bool = False,
        paused: bool = False,
        key: str | None = None,
    ) -> tuple[Endpoint, bool]:
        """Create an endpoint. Return it, and True for a repeated call.

        Raise `InvalidFields` if the URL may not be called, `EncryptionKeyMissing`, `WebhooksFull`, and
        `IdempotencyKeyReused`.
        """
        self._check_url(url)
        sealed = self._sealer.seal(secret)
        with self._database.transaction() as connection:
            asked = [url, sorted(events), secret, roots_only, paused]
            if (earlier := replays.reserve(connection, caller, key, kind="webhook", asked=asked)) is not None:
                return self._show(connection, caller, ids.encode("wh", earlier)), True
            created = endpoints.create(
                connection,
                tenant_id=caller.tenant_id,
                url=url,
                events=events,
                sealed_secret=sealed,
                roots_only=roots_only,
                paused_by=caller.actor if paused else None,
                max_endpoints=WEBHOOKS.value,
            )
            if created is None:
                sentence = f"The tenant has reached its limit of {WEBHOOKS.value} webhooks; delete one first."
                raise WebhooksFull(WEBHOOKS.message(sentence))
            idempotency.record(connection, tenant_id=caller.tenant_id, key=key, made=[created.id])
        return created, False

    def show(self, caller: Caller, webhook_id: str) -> Endpoint:
        """Return an endpoint. Raise `WebhookNotFound`."""
        with self._database.connect() as connection:
            return _shown_to(caller, self._show(connection, caller, webhook_id))

    def _show(self, connection: Connection, caller: Caller, webhook_id: str) -> Endpoint:
        return required(endpoints.show(connection, tenant_id=caller.tenant_id, webhook_id=webhook_id), WebhookNotFound)

    def page(self, caller: Caller, *, paused: bool | None, bounds: PageBounds) -> tuple[list[Endpoint], int]:
        with self._database.connect() as connection:
            found, total = endpoints.page(connection, tenant_id=caller.tenant_id, paused=paused, bounds=bounds)
        return [_shown_to(caller, endpoint) for endpoint in found], total

    def change(
        self,
        caller: Caller,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        secret: str | None = None,
        roots_only: bool | None = None,
    ) -> Endpoint:
        """Change the given fields. Raise `WebhookNotFound`, and like `create`."""
        if url is not None:
            self._check_url(url)
        sealed = None if secret is None else self._sealer.seal(secret)
        with self._database.connect() as connection:
            changed = endpoints.change(
                connection,
                tenant_id=caller.tenant_id,
                webhook_id=webhook_id,
                url=url,
                events=events,
                sealed_secret=sealed,
                roots_only=roots_only,
            )
        if changed is None:
            raise WebhookNotFound
        return changed

    def _check_url(self, url: str) -> None:
        try:
            outbound_url.parse(url, rules=self._rules)
        except OutboundError as error:
            raise InvalidFields(f"url: {error}", {"url": [str(error)]}) from None

    def pause(self, caller: Caller, webhook_id: str, /, *, reason: str | None = None) -> tuple[bool, Endpoint]:
        """Pause an endpoint. Return whether it was paused before, and its record. Raise `WebhookNotFound`."""
        with self._database.transaction() as connection:
            is_new = endpoints.pause(
                connection, tenant_id=caller.tenant_id, endpoint_id=webhook_id, by=caller.actor, reason=reason
            )
            return not is_new, self._show(connection, caller, webhook_id)

    def resume(self, caller: Caller, webhook_id: str, /) -> tuple[bool, Endpoint]:
        """Resume an endpoint. Return whether it was paused before, and its record. Raise `WebhookNotFound`."""
        with self._database.transaction() as connection:
            was_paused = endpoints.resume(connection, tenant_id=caller.tenant_id, endpoint_id=webhook_id)
            return was_paused, self._show(connection, caller, webhook_id)

    def delete(self, caller: Caller, webhook_id: str) -> None:
        """Delete an endpoint. Raise `WebhookNotFound`."""
        with self._database.connect() as connection:
            if not endpoints.delete(connection, tenant_id=caller.tenant_id, endpoint_id=webhook_id):
                raise WebhookNotFound

    def send_test(self, caller: Caller, webhook_id: str) -> Delivery:
        """Send a test event to an endpoint. Raise `WebhookNotFound`, `WebhookStateConflict` if it is paused."""
        with self._database.transaction() as connection:
            endpoint = self._show(connection, caller, webhook_id)
            if endpoint.paused is not None:
                raise WebhookStateConflict
            event = Event.new(TEST, tenant_id=caller.tenant_id, created_at=clock.now(connection))
            data = {"webhook_id": endpoint.id, "url": endpoint.url, "created_at": format_time(endpoint.created_at)}
            return deliveries.insert_test(connection, endpoint_id=endpoint.id, event=event, body=make_body(event, data))


def _shown_to(caller: Caller, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint as the caller may see it: many URLs have credentials in their path or query."""
    if caller.role >= Role.TENANT_ADMIN:
        return endpoint
    return replace(endpoint, url=outbound_url.origin_of(endpoint.url))
