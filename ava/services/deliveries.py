"""Use cases of the deliveries of hooks and webhooks: list, show, and send again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ava.domain.access.caller import Caller, Role
from ava.domain.delivery import Delivery
from ava.errors import NotFound, WebhookNotFound, WebhookStateConflict
from ava.store.delivery_table import DeliveryFilter, DeliveryTable
from ava.store.engine.database import Connection, Database
from ava.store.webhooks import deliveries, endpoints
from ava.store.webhooks.deliveries import SENT_TABLE

#: Max deliveries per statement of a redelivery.
_BATCH = 1_000


class Deliveries:
    """Read the deliveries of one direction."""

    def __init__(
        self,
        database: Database,
        table: DeliveryTable,
        *,
        not_found: type[NotFound],
        is_known: Callable[[Connection, str, str], bool],
    ) -> None:
        """`is_known`: whether a tenant has a hook or webhook with an id."""
        self._database = database
        self._table = table
        self._not_found = not_found
        self._is_known = is_known

    def page(
        self,
        caller: Caller,
        owner_id: str,
        delivery_filter: DeliveryFilter,
        *,
        limit: int,
        offset: int = 0,
        before_id: str | None = None,
    ) -> tuple[list[Delivery], int]:
        """Return a page of the deliveries of a hook or a webhook, newest first, and the number of matches.

        Raise `NotFound`.
        """
        tenant_id = caller.tenant_id
        with self._database.connect() as connection:
            self._check(connection, caller, owner_id)
            found = self._table.page(
                connection,
                tenant_id=tenant_id,
                owner_id=owner_id,
                delivery_filter=delivery_filter,
                limit=limit,
                offset=offset,
                before_id=before_id,
            )
            return found, self._table.count(
                connection, tenant_id=tenant_id, owner_id=owner_id, delivery_filter=delivery_filter
            )

    def show(self, caller: Caller, owner_id: str, delivery_id: str) -> Delivery:
        """Return a delivery with its body, if the caller may see it. Raise `NotFound`."""
        with self._database.connect() as connection:
            self._check(connection, caller, owner_id)
            found = self._show(connection, caller, owner_id, delivery_id)
        # A body may contain a credential, such as the URL of an endpoint.
        return found if caller.role >= Role.TENANT_ADMIN else replace(found, body=None)

    def _show(self, connection: Connection, caller: Caller, owner_id: str, delivery_id: str) -> Delivery:
        found = self._table.show(connection, tenant_id=caller.tenant_id, owner_id=owner_id, delivery_id=delivery_id)
        if found is None:
            raise self._not_found
        return found

    def _check(self, connection: Connection, caller: Caller, owner_id: str) -> None:
        if not self._is_known(connection, caller.tenant_id, owner_id):
            raise self._not_found


class SentDeliveries(Deliveries):
    """Use cases of the deliveries of webhooks."""

    def __init__(self, database: Database) -> None:
        super().__init__(
            database,
            SENT_TABLE,
            not_found=WebhookNotFound,
            is_known=lambda connection, tenant_id, id_: (
                endpoints.show(connection, tenant_id=tenant_id, webhook_id=id_) is not None
            ),
        )

    def of_job(
        self, caller: Caller, job_id: str, *, limit: int, offset: int, before_id: str | None
    ) -> tuple[list[Delivery], int]:
        """Return deliveries about a job, newest first, and their number."""
        with self._database.connect() as connection:
            return deliveries.of_job(
                connection, tenant_id=caller.tenant_id, job_id=job_id, limit=limit, offset=offset, before_id=before_id
            )

    def redeliver(self, caller: Caller, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again. Raise `WebhookNotFound`, `WebhookStateConflict` if the endpoint is paused."""
        with self._database.connect() as connection:
            _refuse_paused(connection, caller, webhook_id)
            delivery = deliveries.redeliver(
                connection, tenant_id=caller.tenant_id, webhook_id=webhook_id, delivery_id=delivery_id
            )
        if delivery is None:
            raise WebhookNotFound
        return delivery

    def redeliver_many(self, caller: Caller, webhook_id: str, delivery_filter: DeliveryFilter) -> int:
        """Send ended deliveries of one status again, in batches, so that locks are brief.

        Return their number. Raise like `redeliver`.
        """
        total, last = 0, None
        while True:
            with self._database.connect() as connection:
                _refuse_paused(connection, caller, webhook_id)
                batch = deliveries.redeliver_many(
                    connection,
                    tenant_id=caller.tenant_id,
                    webhook_id=webhook_id,
                    delivery_filter=delivery_filter,
                    after=last,
                    limit=_BATCH,
                )
            total, last = total + batch.count, batch.last
            if last is None:
                return total


def _refuse_paused(connection: Connection, caller: Caller, webhook_id: str) -> None:
    endpoint = endpoints.show(connection, tenant_id=caller.tenant_id, webhook_id=webhook_id)
    if endpoint is None:
        raise WebhookNotFound
    if endpoint.paused is not None:
        raise WebhookStateConflict
