"""Subscriptions: created and changed by their tenants, found by events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.counts import PageBounds
from ava.domain.events.subscription import Subscription, SubscriptionSpec
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import Statement
from ava.store.pause_columns import PAUSE_SET, PAUSED_AT, RESUME_SET

_ROWS = RecordRows(
    Subscription, "s", columns={"paused": pause_columns.column("s")}, readers={"paused": pause_columns.read}
)
_COLUMNS, _subscription = _ROWS.columns, _ROWS.read


@dataclass(frozen=True, kw_only=True)
class SubscriptionFilter:
    """A filter for a tenant's subscriptions; None means any."""

    event_type: str | None = None
    worker_id: str | None = None
    paused: bool | None = None


# Serializes the changes of one tenant, so that the count of its subscriptions is exact.
_RAISE_VERSION = Statement("""
INSERT INTO subscription_versions AS v (tenant_id, version) VALUES (%(tenant_id)s, 1)
ON CONFLICT (tenant_id) DO UPDATE SET version = v.version + 1
""")
_COUNT_OF_TENANT = Statement("SELECT count(*) FROM subscriptions AS s WHERE s.tenant_id = %(tenant_id)s")


def has_capacity(connection: Connection, *, tenant_id: str, max_subscriptions: int) -> bool:
    """Return True if the tenant may create another subscription in this transaction; blocks its other changes."""
    connection.exec_driver_sql(_RAISE_VERSION, {"tenant_id": tenant_id})
    return int(connection.exec_driver_sql(_COUNT_OF_TENANT, {"tenant_id": tenant_id}).scalar_one()) < max_subscriptions


#: The version that this transaction has raised.
_VERSION_NOW = "(SELECT v.version FROM subscription_versions AS v WHERE v.tenant_id = %(tenant_id)s)"
_CREATE = Statement(f"""
INSERT INTO subscriptions AS s (tenant_id, event_type, worker_id, name, match, input, priority, paused_at, paused_by,
    created_by, since_version)
VALUES (%(tenant_id)s, %(event_type)s, %(worker_id)s, %(name)s, %(match)s::json, %(input)s::json, %(priority)s,
    {PAUSED_AT}, %(paused_by)s::jsonb, %(created_by)s, {_VERSION_NOW})
RETURNING {_COLUMNS}
""")


def create(
    connection: Connection, spec: SubscriptionSpec, *, tenant_id: str, by: Actor, is_paused: bool
) -> Subscription:
    """Create a subscription, in the transaction of `has_capacity`."""
    parameters = parameters_of(SubscriptionSpec, spec) | {"tenant_id": tenant_id, "created_by": by.text}
    parameters["paused_by"] = by.json if is_paused else None
    return _subscription(connection.exec_driver_sql(_CREATE, parameters).one())


_SHOW = Statement(f"""
SELECT {_COLUMNS} FROM subscriptions AS s WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid
""")
_LOCK = Statement(f"""
SELECT {_COLUMNS} FROM subscriptions AS s WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid FOR UPDATE
""")


def show(connection: Connection, *, tenant_id: str, subscription_id: str) -> Subscription | None:
    """Return a tenant's subscription; None if there is none."""
    return _one(connection, _SHOW, tenant_id, subscription_id)


def lock(connection: Connection, *, tenant_id: str, subscription_id: str) -> Subscription | None:
    """Lock one subscription until the transaction ends. Returns None if there is none."""
    connection.exec_driver_sql(_RAISE_VERSION, {"tenant_id": tenant_id})
    return _one(connection, _LOCK, tenant_id, subscription_id)


def _one(connection: Connection, statement: Statement, tenant_id: str, subscription_id: str) -> Subscription | None:
    parameters = {"tenant_id": tenant_id, "id": subscription_uuid(subscription_id)}
    return _ROWS.first(connection.exec_driver_sql(statement, parameters))


# The former state of an unpaused subscription, for events of earlier versions. One transaction may change it twice.
_FORMER = f"""former AS (
    INSERT INTO former_subscriptions
    SELECT s.*, {_VERSION_NOW} FROM subscriptions AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid AND s.paused_at IS NULL
        AND s.since_version < {_VERSION_NOW}
)"""
_CHANGE = Statement(f"""
WITH {_FORMER}
UPDATE subscriptions AS s SET event_type = %(event_type)s, worker_id = %(worker_id)s, name = %(name)s,
    match = %(match)s::json, input = %(input)s::json, priority = %(priority)s, changers = %(changers)s,
    updated_at = clock_timestamp(),
    since_version = {_VERSION_NOW}
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid
RETURNING {_COLUMNS}
""")


def change(connection: Connection, subscription: Subscription) -> Subscription:
    """Write all fields of a subscription, in the transaction of `lock`. Returns the changed subscription."""
    parameters = parameters_of(SubscriptionSpec, subscription) | {
        "tenant_id": subscription.tenant_id,
        "id": subscription_uuid(subscription.id),
        "changers": subscription.changers,
    }
    return _subscription(connection.exec_driver_sql(_CHANGE, parameters).one())


_PAUSE = Statement(f"""
WITH {_FORMER}
UPDATE subscriptions AS s SET {PAUSE_SET}, updated_at = clock_timestamp(), since_version = {_VERSION_NOW}
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid AND s.paused_at IS NULL
""")
_RESUME = Statement(f"""
UPDATE subscriptions AS s SET {RESUME_SET}, updated_at = clock_timestamp(), since_version = {_VERSION_NOW}
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid AND s.paused_at IS NOT NULL
""")


def pause(connection: Connection, subscription: Subscription, *, by: Actor, reason: str | None) -> None:
    """Pause a subscription that is not paused, in the transaction of `lock`."""
    parameters = {"tenant_id": subscription.tenant_id, "id": subscription_uuid(subscription.id)}
    connection.exec_driver_sql(_PAUSE, parameters | pause_columns.parameters(by, reason))


def resume(connection: Connection, subscription: Subscription) -> None:
    """Resume a paused subscription for later events, in the transaction of `lock`."""
    parameters = {"tenant_id": subscription.tenant_id, "id": subscription_uuid(subscription.id)}
    connection.exec_driver_sql(_RESUME, parameters)


_DELETE = Statement(f"""
WITH {_FORMER}
DELETE FROM subscriptions AS s WHERE s.tenant_id = %(tenant_id)s AND s.id = %(id)s::uuid
""")


def delete(connection: Connection, *, tenant_id: str, subscription_id: str) -> bool:
    """Delete a subscription, in a transaction; its jobs continue. Returns False if there is none."""
    connection.exec_driver_sql(_RAISE_VERSION, {"tenant_id": tenant_id})
    parameters = {"tenant_id": tenant_id, "id": subscription_uuid(subscription_id)}
    return connection.exec_driver_sql(_DELETE, parameters).rowcount == 1


_PAGE, _COUNT = _ROWS.newest(
    "subscriptions",
    """s.tenant_id = %(tenant_id)s AND (%(event_type)s::text IS NULL OR s.event_type = %(event_type)s)
    AND (%(worker_id)s::text IS NULL OR s.worker_id = %(worker_id)s)
    AND (%(paused)s::bool IS NULL OR (s.paused_at IS NOT NULL) = %(paused)s::bool)""",
)


def page(
    connection: Connection, *, tenant_id: str, subscription_filter: SubscriptionFilter, bounds: PageBounds
) -> tuple[list[Subscription], int]:
    """Return subscriptions of a tenant, newest first, and the number of matches; a limit bounds their total."""
    return _ROWS.page(connection, (_PAGE, _COUNT), bounds, tenant_id=tenant_id, **vars(subscription_filter))


_UNPAUSED = Statement(f"""
SELECT {_COLUMNS} FROM subscriptions AS s
WHERE s.tenant_id = %(tenant_id)s AND s.paused_at IS NULL AND s.since_version <= %(version)s
UNION ALL
SELECT {_COLUMNS} FROM former_subscriptions AS s
WHERE s.tenant_id = %(tenant_id)s AND s.since_version <= %(version)s AND s.until_version > %(version)s
ORDER BY 1
""")


def unpaused(connection: Connection, *, tenant_id: str, version: int) -> Sequence[Subscription]:
    """Return the subscriptions of a tenant that were not paused in a version, oldest first.

    A limit bounds their number. A version that ended over an hour ago is available only while an event needs it.
    """
    given = {"tenant_id": tenant_id, "version": version}
    return [_subscription(row) for row in connection.exec_driver_sql(_UNPAUSED, given)]


_DELETE_FORMER = Statement("""
DELETE FROM former_subscriptions WHERE ctid = ANY(ARRAY(
    SELECT f.ctid FROM former_subscriptions AS f
    WHERE f.ended_at < now() - interval '1 hour' AND NOT EXISTS (
        SELECT FROM events AS e WHERE e.tenant_id = f.tenant_id AND e.fanned_out_to IS NOT NULL
            AND e.subscriptions_version < f.until_version)
    ORDER BY f.ended_at LIMIT %(limit)s))
""")


def delete_former(connection: Connection, *, limit: int) -> int:
    """Delete former subscriptions that no event needs. Returns their number.

    No transaction that creates jobs lasts for an hour, so no uncommitted event needs them.
    """
    return connection.exec_driver_sql(_DELETE_FORMER, {"limit": limit}).rowcount


subscription_uuid = partial(ids.to_uuid, "sub")
