"""Store the outcomes of requests, for the sender that holds the endpoint's lease."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ava.domain import ids
from ava.domain.access.actor import SYSTEM
from ava.domain.delivery import DeliveryStatus
from ava.domain.webhooks.webhook import GONE_REASON, EndpointStatus
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import BY_INDEX
from ava.store.partitions import given_ids, is_given


@dataclass(frozen=True, kw_only=True)
class DeliveryOutcome:
    """The outcome of one request."""

    #: The delivery's UUID.
    delivery: str
    tenant_id: str
    #: Number of failures before the request, and when it was due.
    failures: int
    due_at: datetime
    status: DeliveryStatus
    #: Seconds until the next request of a pending delivery; otherwise None.
    retry_in_seconds: float | None
    #: Whether the endpoint responded 410 Gone.
    is_gone: bool
    #: The request as shown by the API.
    entry: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StatusChange:
    """An endpoint that an outcome changed."""

    tenant_id: str
    #: Of a webhook or of a notice.
    endpoint_id: str
    is_notice: bool
    status: str
    #: Whether it is paused, because it responded 410.
    is_gone: bool

    @property
    def is_degraded_webhook(self) -> bool:
        """Whether notices report it. They report nothing about notices, so that none begins a circle."""
        return self.status == EndpointStatus.DEGRADED and not self.is_notice


#: Max requests in a delivery's history.
_MAX_IN_HISTORY = 50

# A failure that an earlier lease holder has stored is not counted twice. If `due_at` has changed since the delivery was
# loaded, it was redelivered during its request: it stays due, and restarts its retry schedule if this was the last
# request.
_RECORD = Prepared(
    "record_outcomes",
    f"""
WITH given AS (
    SELECT * FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(failures)s::int[], %(dues)s::timestamptz[],
                         %(statuses)s::text[], %(delays)s::float8[], %(gone)s::bool[], %(entries)s::text[])
        AS g (tenant_id, id, failures, due_at, status, delay, is_gone, entry)
), held AS (
    SELECT d.id, d.failures = given.failures AND d.due_at <> given.due_at AND NOT given.is_gone AS is_asked_again
    FROM webhook_deliveries AS d JOIN given ON given.tenant_id = d.tenant_id AND given.id = d.id
    WHERE {is_given("d.id")} ORDER BY d.id FOR UPDATE OF d
), done AS (
    UPDATE webhook_deliveries AS d SET
        status = CASE WHEN is_asked_again THEN 'pending' ELSE given.status END,
        failures = CASE WHEN is_asked_again AND given.status <> 'pending' THEN 0
                        WHEN given.status = 'delivered' THEN d.failures ELSE d.failures + 1 END,
        due_at = CASE WHEN is_asked_again THEN d.due_at
                      WHEN given.status = 'pending' THEN clock_timestamp() + given.delay * interval '1 second' END,
        completed_at = CASE WHEN given.status <> 'pending' AND NOT is_asked_again THEN clock_timestamp() END,
        history = CASE WHEN jsonb_array_length(d.history) < {_MAX_IN_HISTORY} THEN d.history ELSE d.history - 0 END
                  || given.entry::jsonb
    FROM given JOIN held ON held.id = given.id
    WHERE d.tenant_id = given.tenant_id AND d.id = given.id AND {is_given("d.id")} AND d.status = 'pending'
        AND (given.status = 'delivered' OR d.failures = given.failures)
    RETURNING d.tenant_id, d.endpoint_id, given.status, given.is_gone
), summed AS (
    SELECT tenant_id, endpoint_id, bool_or(is_gone) AS is_gone,
           CASE WHEN bool_or(is_gone) THEN 'degraded' WHEN bool_or(status = 'delivered') THEN 'active'
                WHEN bool_or(status = 'abandoned') THEN 'degraded' END AS status
    FROM done GROUP BY tenant_id, endpoint_id
)
UPDATE webhook_endpoints AS p SET
    status = coalesce(summed.status, p.status),
    paused_at = CASE WHEN summed.is_gone THEN coalesce(p.paused_at, clock_timestamp()) ELSE p.paused_at END,
    paused_by = CASE WHEN summed.is_gone THEN coalesce(p.paused_by, %(system)s::jsonb) ELSE p.paused_by END,
    pause_reason = CASE WHEN summed.is_gone AND p.paused_at IS NULL THEN %(gone_reason)s ELSE p.pause_reason END,
    updated_at = clock_timestamp()
FROM summed
WHERE p.tenant_id = summed.tenant_id AND p.id = summed.endpoint_id AND p.status <> 'deleted'
    AND (p.status <> summed.status OR summed.is_gone AND p.paused_at IS NULL)
RETURNING p.tenant_id, p.id::text, p.channel IS NOT NULL, p.status, summed.is_gone
""",
)


def record(connection: Connection, outcomes: Sequence[DeliveryOutcome]) -> list[StatusChange]:
    """Store the outcomes of requests, and pause the endpoints that are gone. Returns the changed endpoints."""
    parameters = {
        **given_ids([outcome.delivery for outcome in outcomes]),
        "tenants": [outcome.tenant_id for outcome in outcomes],
        "failures": [outcome.failures for outcome in outcomes],
        "dues": [outcome.due_at for outcome in outcomes],
        "statuses": [outcome.status.value for outcome in outcomes],
        "delays": [outcome.retry_in_seconds for outcome in outcomes],
        "gone": [outcome.is_gone for outcome in outcomes],
        "entries": [json.dumps(outcome.entry) for outcome in outcomes],
        "system": SYSTEM.json,
        "gone_reason": GONE_REASON,
    }
    found = _RECORD.run(connection, parameters, before=BY_INDEX)
    return [
        StatusChange(
            tenant_id=tenant_id,
            endpoint_id=ids.encode("ntc" if is_notice else "wh", uuid),
            is_notice=is_notice,
            status=status,
            is_gone=is_gone,
        )
        for tenant_id, uuid, is_notice, status, is_gone in found
    ]
