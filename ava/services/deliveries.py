"""Use cases of the deliveries of hooks, webhooks and notices: list, show, and send again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ava.domain.access.caller import Caller, Role
from ava.domain.counts import PageBounds
from ava.domain.delivery import Delivery
from ava.domain.notices.notice import Notice
from ava.domain.webhooks.webhook import Endpoint
from ava.errors import NotFound, NoticeNotFound, NoticeStateConflict, WebhookNotFound, WebhookStateConflict
from ava.store.delivery_table import DeliveryFilter, DeliveryTable
from ava.store.engine.database import Connection, Database
from ava.store.webhooks import deliveries, endpoints, notices
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
        self, caller: Caller, owner_id: str, delivery_filter: DeliveryFilter, *, bounds: PageBounds
    ) -> tuple[list[Delivery], int]:
        """Return a page of the deliveries of a hook or a webhook, newest first, and the number of matches.

        Raise `NotFound`.
        """
        with self._database.connect() as connection:
            self._check(connection, caller, owner_id)
            return self._table.page(
                connection,
                tenant_id=caller.tenant_id,
                owner_id=owner_id,
                delivery_filter=delivery_filter,
                bounds=bounds,
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
    """Use cases of the deliveries of webhooks, or of notices."""

    def __init__(self, database: Database, *, of_notices: bool = False) -> None:
        self._conflict = NoticeStateConflict if of_notices else WebhookStateConflict
        self._find = _find_notice if of_notices else _find_webhook
        super().__init__(
            database,
            SENT_TABLE,
            not_found=NoticeNotFound if of_notices else WebhookNotFound,
            is_known=lambda *asked: self._find(*asked) is not None,
        )

    def of_job(self, caller: Caller, job_id: str, *, bounds: PageBounds) -> tuple[list[Delivery], int]:
        """Return deliveries about a job, newest first, and their number."""
        with self._database.connect() as connection:
            return deliveries.of_job(connection, tenant_id=caller.tenant_id, job_id=job_id, bounds=bounds)

    def redeliver(self, caller: Caller, owner_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again. Raise `NotFound`, and a conflict if the owner is paused."""
        with self._database.connect() as connection:
            self._refuse_paused(connection, caller, owner_id)
            delivery = deliveries.redeliver(
                connection, tenant_id=caller.tenant_id, endpoint_id=owner_id, delivery_id=delivery_id
            )
        if delivery is None:
            raise self._not_found
        return delivery

    def redeliver_many(self, caller: Caller, owner_id: str, delivery_filter: DeliveryFilter) -> int:
        """Send ended deliveries of one status again, in batches, so that locks are brief.

        Return their number. Raise like `redeliver`.
        """
        total, last = 0, None
        while True:
            with self._database.connect() as connection:
                self._refuse_paused(connection, caller, owner_id)
                batch = deliveries.redeliver_many(
                    connection,
                    tenant_id=caller.tenant_id,
                    endpoint_id=owner_id,
                    delivery_filter=delivery_filter,
                    after=last,
                    limit=_BATCH,
                )
            total, last = total + batch.count, batch.last
            if last is None:
                return total

    def _refuse_paused(self, connection: Connection, caller: Caller, owner_id: str) -> None:
        owner = self._find(connection, caller.tenant_id, owner_id)
        if owner is None:
            raise self._not_found
        if owner.paused is not None:
            raise self._conflict


def _find_webhook(connection: Connection, tenant_id: str, webhook_id: str) -> Endpoint | None:
    return endpoints.show(connection, tenant_id=tenant_id, webhook_id=webhook_id)


def _find_notice(connection: Connection, tenant_id: str, notice_id: str) -> Notice | None:
    return notices.show(connection, tenant_id=tenant_id, notice_id=notice_id)
