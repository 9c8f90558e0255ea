"""Create and change webhook endpoints of tenants. Secrets are stored sealed, and only senders read them.

Notices are endpoints too, with a channel: `ava.store.webhooks.notices`. Statements about both take `is_notice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ava.domain import ids
from ava.domain.access.actor import Actor
from ava.domain.counts import PageBounds
from ava.domain.webhooks.webhook import Endpoint
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.pause_columns import PAUSE_SET, PAUSED_AT, RESUME_SET

#: Validity of a replaced secret in hours.
ROTATION_HOURS = 24

_ROWS = RecordRows(
    Endpoint,
    "e",
    columns={
        "paused": pause_columns.column("e"),
        "previous_secret_until": "CASE WHEN e.previous_secret_until > now() THEN e.previous_secret_until END",
    },
    readers={"paused": pause_columns.read},
)
_COLUMNS, _endpoint = _ROWS.columns, _ROWS.read

# Serializes the calls of one tenant, so that concurrent calls do not exceed the limit. The next statement sees the
# commit of the previous call.
_LOCK_TENANT = Statement("SELECT pg_advisory_xact_lock(%(key)s, hashtext(%(tenant_id)s))")
#: The key of that lock: "whks" as a number.
_LOCK_KEY = 0x77686B73


def lock_tenant(connection: Connection, tenant_id: str) -> None:
    connection.exec_driver_sql(_LOCK_TENANT, {"key": _LOCK_KEY, "tenant_id": tenant_id})


_CREATE = Statement(f"""
WITH created AS (
    INSERT INTO webhook_endpoints (tenant_id, url, events, secret, roots_only, paused_at, paused_by)
    SELECT %(tenant_id)s, %(url)s, %(events)s::text[], %(secret)s, %(roots_only)s, {PAUSED_AT}, %(paused_by)s::jsonb
    WHERE (
        SELECT count(*) FROM webhook_endpoints
        WHERE tenant_id = %(tenant_id)s AND status <> 'deleted' AND channel IS NULL
    ) < %(max_endpoints)s
    RETURNING *
), lease AS (
    INSERT INTO webhook_lanes (tenant_id, endpoint_id) SELECT tenant_id, id FROM created
)
SELECT {_COLUMNS} FROM created AS e
""")


def create(
    connection: Connection,
    *,
    tenant_id: str,
    url: str,
    events: Sequence[str],
    sealed_secret: str,
    roots_only: bool,
    paused_by: Actor | None,
    max_endpoints: int,
) -> Endpoint | None:
    """Create an endpoint, paused if `paused_by` is an actor, within a transaction. It receives later events.

    Returns None if the tenant has `max_endpoints` endpoints.
    """
    lock_tenant(connection, tenant_id)
    parameters = {
        "tenant_id": tenant_id,
        "url": url,
        "events": list(events),
        "secret": sealed_secret,
        "roots_only": roots_only,
        "paused_by": None if paused_by is None else paused_by.json,
        "max_endpoints": max_endpoints,
    }
    return _ROWS.first(connection.exec_driver_sql(_CREATE, parameters))


_SHOW = Statement(f"""
SELECT {_COLUMNS} FROM webhook_endpoints AS e
WHERE e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND e.channel IS NULL AND e.id = %(id)s::uuid
""")


def show(connection: Connection, *, tenant_id: str, webhook_id: str) -> Endpoint | None:
    """Return a tenant's endpoint; None if there is none."""
    parameters = {"tenant_id": tenant_id, "id": webhook_uuid(webhook_id)}
    return _ROWS.first(connection.exec_driver_sql(_SHOW, parameters))


#: The tenant's endpoints, or its notices, that are not deleted.
LISTED = """e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND (e.channel IS NOT NULL) = %(is_notice)s
    AND (%(paused)s::bool IS NULL OR (e.paused_at IS NOT NULL) = %(paused)s::bool)"""
_PAGE, COUNT = _ROWS.newest("webhook_endpoints", LISTED)


def page(
    connection: Connection, *, tenant_id: str, paused: bool | None, bounds: PageBounds
) -> tuple[list[Endpoint], int]:
    """Return endpoints of a tenant, newest first, and their number; `paused` None means paused ones and others."""
    return _ROWS.page(connection, (_PAGE, COUNT), bounds, tenant_id=tenant_id, paused=paused, is_notice=False)


# Any change makes the endpoint due immediately, because the client may have fixed it.
_CHANGE = Statement(f"""
WITH changed AS (
    UPDATE webhook_endpoints AS e SET
        url = coalesce(%(url)s, e.url),
        events = coalesce(%(events)s::text[], e.events),
        roots_only = coalesce(%(roots_only)s::bool, e.roots_only),
        previous_secret = CASE WHEN %(secret)s::text IS NULL THEN e.previous_secret ELSE e.secret END,
        previous_secret_until = CASE WHEN %(secret)s::text IS NULL THEN e.previous_secret_until
                                     ELSE now() + {ROTATION_HOURS} * interval '1 hour' END,
        secret = coalesce(%(secret)s, e.secret),
        updated_at = clock_timestamp()
    WHERE e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND e.channel IS NULL AND e.id = %(id)s::uuid
    RETURNING *
), lease AS (
    UPDATE webhook_lanes AS l SET due_at = now(), timeouts = 0, not_before = NULL
    FROM changed WHERE l.tenant_id = changed.tenant_id AND l.endpoint_id = changed.id
)
SELECT {_COLUMNS} FROM changed AS e
""")


def change(
    connection: Connection,
    *,
    tenant_id: str,
    webhook_id: str,
    url: str | None = None,
    events: Sequence[str] | None = None,
    sealed_secret: str | None = None,
    roots_only: bool | None = None,
) -> Endpoint | None:
    """Change the given fields of an endpoint. A replaced secret stays valid for `ROTATION_HOURS`.

    Returns None if the tenant has no such endpoint.
    """
    parameters = {
        "tenant_id": tenant_id,
        "id": webhook_uuid(webhook_id),
        "url": url,
        "events": None if events is None else list(events),
        "secret": sealed_secret,
        "roots_only": roots_only,
    }
    return _ROWS.first(connection.exec_driver_sql(_CHANGE, parameters))


# The prefix of its id tells whether it is a notice.
_IS_ONE = """e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND e.id = %(id)s::uuid
    AND (e.channel IS NOT NULL) = %(is_notice)s"""
_PAUSE = Statement(f"""
UPDATE webhook_endpoints AS e SET {PAUSE_SET}, updated_at = clock_timestamp()
WHERE {_IS_ONE} AND e.paused_at IS NULL
""")


def pause(connection: Connection, *, tenant_id: str, endpoint_id: str, by: Actor, reason: str | None) -> bool:
    """Pause an endpoint or a notice: it gets no new deliveries, and its pending ones wait.

    Returns False if nothing changed.
    """
    parameters = _one(tenant_id, endpoint_id) | pause_columns.parameters(by, reason)
    return connection.exec_driver_sql(_PAUSE, parameters).rowcount == 1


_RESUME = Statement(f"""
WITH resumed AS (
    UPDATE webhook_endpoints AS e SET {RESUME_SET}, updated_at = clock_timestamp()
    WHERE {_IS_ONE} AND e.paused_at IS NOT NULL
    RETURNING e.tenant_id, e.id
)
UPDATE webhook_lanes AS l SET due_at = now(), timeouts = 0, not_before = NULL
FROM resumed WHERE l.tenant_id = resumed.tenant_id AND l.endpoint_id = resumed.id
""")


def resume(connection: Connection, *, tenant_id: str, endpoint_id: str) -> bool:
    """Resume an endpoint or a notice; its pending deliveries are due. Returns False if it was not paused."""
    return connection.exec_driver_sql(_RESUME, _one(tenant_id, endpoint_id)).rowcount == 1


_DELETE = Statement(f"""
UPDATE webhook_endpoints AS e SET status = 'deleted', secret = NULL, previous_secret = NULL,
    previous_secret_until = NULL, updated_at = clock_timestamp()
WHERE {_IS_ONE}
""")


def delete(connection: Connection, *, tenant_id: str, endpoint_id: str) -> bool:
    """Delete an endpoint or a notice with its secrets; retention deletes its deliveries.

    Returns False if there is none.
    """
    return connection.exec_driver_sql(_DELETE, _one(tenant_id, endpoint_id)).rowcount == 1


_SEALED_SECRETS = Statement("""
SELECT tenant_id, id::text, secret, previous_secret, channel IS NOT NULL FROM webhook_endpoints
WHERE status <> 'deleted' ORDER BY id
""")


def sealed_secrets(connection: Connection) -> list[tuple[str, str, str, str | None, bool]]:
    """Return every endpoint's tenant, id (a UUID), sealed secret, sealed previous secret, and whether it is a notice.

    The secret of a notice is its target.
    """
    return [(row[0], row[1], row[2], row[3], row[4]) for row in connection.exec_driver_sql(_SEALED_SECRETS)]


_RESEAL = Statement("""
UPDATE webhook_endpoints SET secret = %(secret)s, previous_secret = %(previous)s
WHERE tenant_id = %(tenant_id)s AND id = %(id)s::uuid AND secret = %(old)s
    AND (previous_secret IS NULL) = (%(previous)s::text IS NULL)
""")


def reseal(connection: Connection, *, tenant_id: str, uuid: str, old: str, secret: str, previous: str | None) -> bool:
    """Replace an endpoint's secrets by the same ones, sealed again. Returns False if they were changed in between."""
    parameters = {"tenant_id": tenant_id, "id": uuid, "old": old, "secret": secret, "previous": previous}
    return connection.exec_driver_sql(_RESEAL, parameters).rowcount == 1


webhook_uuid = partial(ids.to_uuid, "wh")
notice_uuid = partial(ids.to_uuid, "ntc")


def endpoint_uuid(endpoint_id: str) -> str | None:
    """Return the UUID of a webhook or of a notice; None if the id is malformed."""
    return webhook_uuid(endpoint_id) or notice_uuid(endpoint_id)


def _one(tenant_id: str, endpoint_id: str) -> dict[str, object]:
    is_notice = notice_uuid(endpoint_id) is not None
    return {"tenant_id": tenant_id, "id": endpoint_uuid(endpoint_id), "is_notice": is_notice}
