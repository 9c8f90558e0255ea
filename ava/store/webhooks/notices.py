"""Create and change notices of tenants: endpoints with a channel and their target as the sealed secret."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ava.domain.access.actor import Actor
from ava.domain.counts import PageBounds
from ava.domain.notices.notice import Channel, Notice, NoticeRule
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.pause_columns import PAUSED_AT
from ava.store.webhooks.endpoints import COUNT, LISTED, lock_tenant, notice_uuid

_ROWS = RecordRows(
    Notice,
    "e",
    columns={"paused": pause_columns.column("e"), "target": "e.url", "rules": "e.rules::text"},
    readers={"paused": pause_columns.read, "rules": lambda stored: read_rules(json.loads(stored))},
)
_COLUMNS, _notice = _ROWS.columns, _ROWS.read


def read_rules(stored: Sequence[dict[str, object]]) -> list[NoticeRule]:
    """Return the rules of a row."""
    return [NoticeRule.of(record) for record in stored]


# Its events are only for the index of rules: no event of a webhook has such a name.
_CREATE = Statement(f"""
WITH created AS (
    INSERT INTO webhook_endpoints (tenant_id, url, events, secret, channel, name, rules, paused_at, paused_by)
    SELECT %(tenant_id)s, %(target)s, %(events)s::text[], %(secret)s, %(channel)s, %(name)s, %(rules)s::json,
        {PAUSED_AT}, %(paused_by)s::jsonb
    WHERE (
        SELECT count(*) FROM webhook_endpoints
        WHERE tenant_id = %(tenant_id)s AND status <> 'deleted' AND channel IS NOT NULL
    ) < %(max_notices)s
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
    name: str,
    channel: Channel,
    target: str,
    sealed_target: str,
    rules: Sequence[NoticeRule],
    paused_by: Actor | None,
    max_notices: int,
) -> Notice | None:
    """Create a notice, paused if `paused_by` is an actor, within a transaction. `target` describes the sealed one.

    Returns None if the tenant has `max_notices` notices.
    """
    lock_tenant(connection, tenant_id)
    parameters = {
        "tenant_id": tenant_id,
        "name": name,
        "channel": channel.value,
        "target": target,
        "secret": sealed_target,
        "paused_by": None if paused_by is None else paused_by.json,
        "max_notices": max_notices,
        **_rule_parameters(rules),
    }
    return _ROWS.first(connection.exec_driver_sql(_CREATE, parameters))


def _rule_parameters(rules: Sequence[NoticeRule] | None) -> dict[str, object]:
    if rules is None:
        return {"events": None, "rules": None}
    events = list(dict.fromkeys(rule.event.value for rule in rules))
    return {"events": events, "rules": json.dumps([rule.record for rule in rules])}


_SHOW_WHOLE = f"""
SELECT {_COLUMNS} FROM webhook_endpoints AS e
WHERE e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND e.channel IS NOT NULL AND e.id = %(id)s::uuid
"""
_SHOW = Statement(_SHOW_WHOLE)
_LOCK = Statement(f"{_SHOW_WHOLE} FOR UPDATE")


def show(connection: Connection, *, tenant_id: str, notice_id: str, is_locked: bool = False) -> Notice | None:
    """Return a tenant's notice, locked until the end of the transaction if asked; None if there is none."""
    parameters = {"tenant_id": tenant_id, "id": notice_uuid(notice_id)}
    return _ROWS.first(connection.exec_driver_sql(_LOCK if is_locked else _SHOW, parameters))


_PAGE = _ROWS.newest("webhook_endpoints", LISTED)[0]


def page(
    connection: Connection, *, tenant_id: str, paused: bool | None, bounds: PageBounds
) -> tuple[list[Notice], int]:
    """Return notices of a tenant, newest first, and their number; `paused` None means paused ones and others."""
    return _ROWS.page(connection, (_PAGE, COUNT), bounds, tenant_id=tenant_id, paused=paused, is_notice=True)


# Its pending deliveries are due immediately, because the client may have fixed it. Other rules begin other windows.
_CHANGE = Statement(f"""
WITH changed AS (
    UPDATE webhook_endpoints AS e SET
        name = coalesce(%(name)s, e.name),
        channel = coalesce(%(channel)s, e.channel),
        url = coalesce(%(target)s, e.url),
        secret = coalesce(%(secret)s, e.secret),
        events = coalesce(%(events)s::text[], e.events),
        rules = coalesce(%(rules)s::json, e.rules),
        updated_at = clock_timestamp()
    WHERE e.tenant_id = %(tenant_id)s AND e.status <> 'deleted' AND e.channel IS NOT NULL AND e.id = %(id)s::uuid
    RETURNING *
), windows AS (
    DELETE FROM notice_windows AS w USING changed
    WHERE w.tenant_id = changed.tenant_id AND w.endpoint_id = changed.id AND %(rules)s::text IS NOT NULL
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
    notice_id: str,
    name: str | None = None,
    channel: Channel | None = None,
    target: str | None = None,
    sealed_target: str | None = None,
    rules: Sequence[NoticeRule] | None = None,
) -> Notice:
    """Change the given fields of a notice that the transaction has locked."""
    parameters = {
        "tenant_id": tenant_id,
        "id": notice_uuid(notice_id),
        "name": name,
        "channel": None if channel is None else channel.value,
        "target": target,
        "secret": sealed_target,
        **_rule_parameters(rules),
    }
    return _notice(connection.exec_driver_sql(_CHANGE, parameters).one())


_RESERVE_MAILS = Statement("""
INSERT INTO notice_mails AS m (tenant_id, day, mails)
VALUES (%(tenant_id)s, (now() AT TIME ZONE 'UTC')::date, %(mails)s)
ON CONFLICT (tenant_id, day) DO UPDATE SET mails = m.mails + excluded.mails
    WHERE m.mails + excluded.mails <= %(max_mails)s
""")


def reserve_mails(connection: Connection, *, tenant_id: str, mails: int, max_mails: int) -> bool:
    """Count mails of a tenant today (UTC). Returns False, and counts none, if they exceed `max_mails`."""
    parameters = {"tenant_id": tenant_id, "mails": mails, "max_mails": max_mails}
    return connection.exec_driver_sql(_RESERVE_MAILS, parameters).rowcount == 1
