"""Report events to notices: count them in windows, and create the deliveries of their messages.

A window belongs to a rule and an error group of a notice. Its row counts the events since the last message, so a flood
of events writes one row per batch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ava.domain import ids
from ava.domain.notices.notice import NoticeRule, Occurrence
from ava.domain.webhooks.webhook_events import Event
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Deletion, Statement
from ava.store.webhooks.notices import read_rules


@dataclass(frozen=True, kw_only=True)
class NoticeRules:
    """The rules of a notice that is not paused."""

    tenant_id: str
    #: UUID.
    notice: str
    rules: Sequence[NoticeRule]


_RULE_ROWS = RecordRows(NoticeRules, "e", columns={"notice": "e.id::text"}, readers={"rules": read_rules})
_RULES = Statement(f"""
SELECT {_RULE_ROWS.columns} FROM webhook_endpoints AS e
WHERE e.tenant_id = ANY(%(tenants)s::text[]) AND e.status <> 'deleted' AND e.paused_at IS NULL
    AND e.channel IS NOT NULL AND e.events && %(events)s::text[]
""")
_BACKLOG_RULES = Statement(f"""
SELECT {_RULE_ROWS.columns} FROM webhook_endpoints AS e
WHERE e.status <> 'deleted' AND e.paused_at IS NULL AND e.channel IS NOT NULL AND 'backlog' = ANY(e.events)
ORDER BY e.tenant_id
""")


def backlog_rules(connection: Connection) -> Sequence[NoticeRules]:
    """Return the rules of all notices about a backlog, by tenant."""
    return [_RULE_ROWS.read(row) for row in connection.exec_driver_sql(_BACKLOG_RULES)]


@dataclass(frozen=True, kw_only=True, order=True)
class WindowKey:
    """The key of a window; ordered, so that transactions lock windows in the same order."""

    tenant_id: str
    #: UUID of the notice.
    notice: str
    #: Position in the notice's rules.
    rule: int
    subject: str


# With `is_state`, an event in a window is dropped: it reports a state that lasts, and is not counted.
_COUNT_EVENTS = Statement("""
INSERT INTO notice_windows AS w (tenant_id, endpoint_id, rule, subject, events, facts, due_at)
SELECT tenant_id, endpoint_id, rule, subject, events, facts, now()
FROM unnest(%(tenants)s::text[], %(notices)s::uuid[], %(rules)s::smallint[], %(subjects)s::text[],
            %(events)s::bigint[], %(facts)s::json[]) AS g (tenant_id, endpoint_id, rule, subject, events, facts)
ON CONFLICT (tenant_id, endpoint_id, rule, subject) DO UPDATE SET
    events = w.events + excluded.events, facts = excluded.facts,
    due_at = CASE WHEN w.due_at IS NOT NULL THEN w.due_at
                  WHEN w.messages_left > 0 THEN now() ELSE greatest(now(), w.ends_at) END
WHERE NOT %(is_state)s OR (w.due_at IS NULL AND w.ends_at <= now())
""")


def count_events(
    connection: Connection, counted: Mapping[WindowKey, tuple[int, Mapping[str, Any]]], *, is_state: bool = False
) -> None:
    """Add events to windows, given as their number and the facts of the last one. Opens missing windows.

    `is_state`: the event reports a lasting state, and is dropped within a window.
    """
    if not counted:
        return
    keys = sorted(counted)
    parameters = _key_parameters(keys) | {
        "events": [counted[key][0] for key in keys],
        "facts": [json.dumps(counted[key][1]) for key in keys],
        "is_state": is_state,
    }
    connection.exec_driver_sql(_COUNT_EVENTS, parameters)


def note(connection: Connection, occurrences: Sequence[Occurrence]) -> None:
    """Report events of any tenants to their notices, in the transaction of the events. Facts contain no payload.

    Two statements, however many events. Callers report all events of a transaction in one call, because calls in
    another order would wait for each other's windows.
    """
    if not occurrences:
        return
    parameters = {
        "tenants": list({each.tenant_id for each in occurrences}),
        "events": list({each.event.value for each in occurrences}),
    }
    found = [_RULE_ROWS.read(row) for row in connection.exec_driver_sql(_RULES, parameters)]
    count_events(connection, _count(occurrences, found))


def _count(
    occurrences: Iterable[Occurrence], found: Iterable[NoticeRules]
) -> Mapping[WindowKey, tuple[int, Mapping[str, str | int]]]:
    """Return the number of events for each window, with the facts of the last one."""
    rules_of: dict[str, list[tuple[str, int, NoticeRule]]] = defaultdict(list)
    for each in found:
        rules_of[each.tenant_id] += [(each.notice, number, rule) for number, rule in enumerate(each.rules)]
    counted: dict[WindowKey, tuple[int, Mapping[str, str | int]]] = {}
    for one in occurrences:
        for notice, number, rule in rules_of[one.tenant_id]:
            if rule.matches(one):
                key = WindowKey(tenant_id=one.tenant_id, notice=notice, rule=number, subject=one.subject)
                counted[key] = (counted.get(key, (0,))[0] + one.count, one.facts)
    return counted


def _key_parameters(keys: Sequence[WindowKey]) -> dict[str, object]:
    return {
        "tenants": [key.tenant_id for key in keys],
        "notices": [key.notice for key in keys],
        "rules": [key.rule for key in keys],
        "subjects": [key.subject for key in keys],
    }


@dataclass(frozen=True, kw_only=True)
class DueWindow:
    """A window with a due message."""

    key: WindowKey
    events: int
    facts: Mapping[str, Any]
    messages_left: int
    #: Whether the message opens a new window.
    is_new: bool
    #: The notice's name and rule; None if it was paused, changed or deleted.
    name: str | None
    rule: NoticeRule | None


_DUE = Statement("""
SELECT w.tenant_id, w.endpoint_id::text, w.rule, w.subject, w.events, w.facts, w.messages_left,
    coalesce(w.ends_at <= now(), true), e.name, e.rules
FROM notice_windows AS w LEFT JOIN webhook_endpoints AS e
    ON e.tenant_id = w.tenant_id AND e.id = w.endpoint_id AND e.status <> 'deleted' AND e.paused_at IS NULL
WHERE w.due_at <= now() ORDER BY w.due_at LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED
""")


def lock_due(connection: Connection, *, limit: int) -> list[DueWindow]:
    """Lock the windows with due messages, longest overdue first."""
    return [_due_window(row) for row in connection.exec_driver_sql(_DUE, {"limit": limit})]


def _due_window(row: Any) -> DueWindow:
    tenant_id, notice, position, subject, events, facts, messages_left, is_new, name, stored = row
    rules = [] if stored is None else read_rules(stored)
    rule = rules[position] if position < len(rules) else None
    return DueWindow(
        key=WindowKey(tenant_id=tenant_id, notice=notice, rule=position, subject=subject),
        events=events,
        facts=facts,
        messages_left=messages_left,
        is_new=is_new,
        name=None if rule is None else name,
        rule=rule,
    )


@dataclass(frozen=True, kw_only=True)
class NoticeMessage:
    """A message to send: its window as found, its event and its body."""

    window: DueWindow
    event: Event
    body: str


# In the order of the fan-out: the lanes are locked after the deliveries were created, so that no sender misses them.
_SEND = Statement("""
WITH given AS (
    SELECT * FROM unnest(%(tenants)s::text[], %(notices)s::uuid[], %(ids)s::uuid[], %(types)s::text[],
                         %(times)s::timestamptz[], %(bodies)s::text[])
        AS g (tenant_id, endpoint_id, id, type, created_at, body)
), event AS (
    INSERT INTO webhook_events (id, tenant_id, type, sequence, created_at, endpoint_id, body, fanned_out_at)
    SELECT id, tenant_id, type, 0, created_at, endpoint_id, body, now() FROM given
    RETURNING tenant_id, endpoint_id, id, type, n
), delivery AS (
    INSERT INTO webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, n)
    SELECT tenant_id, endpoint_id, id, type, n FROM event
    RETURNING tenant_id, endpoint_id
), leases AS (
    SELECT l.tenant_id, l.endpoint_id, greatest(now(), l.not_before) AS due_at FROM webhook_lanes AS l
    WHERE (l.tenant_id, l.endpoint_id) IN (SELECT tenant_id, endpoint_id FROM delivery)
    ORDER BY l.endpoint_id FOR UPDATE
)
UPDATE webhook_lanes AS l SET due_at = least(l.due_at, leases.due_at) FROM leases
WHERE l.tenant_id = leases.tenant_id AND l.endpoint_id = leases.endpoint_id
""")
_END_MESSAGES = Statement("""
UPDATE notice_windows AS w SET events = 0, due_at = NULL, messages_left = g.messages_left,
    ends_at = CASE WHEN g.seconds IS NULL THEN w.ends_at ELSE now() + g.seconds * interval '1 second' END
FROM unnest(%(tenants)s::text[], %(notices)s::uuid[], %(rules)s::smallint[], %(subjects)s::text[],
            %(left)s::smallint[], %(seconds)s::int[])
    AS g (tenant_id, endpoint_id, rule, subject, messages_left, seconds)
WHERE w.tenant_id = g.tenant_id AND w.endpoint_id = g.endpoint_id AND w.rule = g.rule AND w.subject = g.subject
""")


def send(connection: Connection, messages: Sequence[NoticeMessage]) -> None:
    """Create the deliveries of messages of locked windows, and reset their counts."""
    if not messages:
        return
    keys = [message.window.key for message in messages]
    parameters = _key_parameters(keys) | {
        "ids": [str(ids.decode("evt", message.event.id)) for message in messages],
        "types": [str(message.event.type) for message in messages],
        "times": [message.event.created_at for message in messages],
        "bodies": [message.body for message in messages],
    }
    connection.exec_driver_sql(_SEND, parameters)
    after = [_after(message.window) for message in messages]
    parameters = _key_parameters(keys) | {"left": [left for left, _ in after], "seconds": [each for _, each in after]}
    connection.exec_driver_sql(_END_MESSAGES, parameters)


def _after(window: DueWindow) -> tuple[int, int | None]:
    """Return the messages left after one more, and the seconds of the window that it opens; None: it opens none."""
    if window.is_new and window.rule is not None:
        return window.rule.max_messages - 1, window.rule.seconds
    return max(0, window.messages_left - 1), None


_DELETE = Statement("""
DELETE FROM notice_windows AS w
USING unnest(%(tenants)s::text[], %(notices)s::uuid[], %(rules)s::smallint[], %(subjects)s::text[])
    AS g (tenant_id, endpoint_id, rule, subject)
WHERE w.tenant_id = g.tenant_id AND w.endpoint_id = g.endpoint_id AND w.rule = g.rule AND w.subject = g.subject
""")


def delete(connection: Connection, keys: Sequence[WindowKey]) -> None:
    """Delete windows of notices that were paused, changed or deleted."""
    if keys:
        connection.exec_driver_sql(_DELETE, _key_parameters(keys))


#: Deletes windows that have ended without further events.
delete_ended = Deletion("notice_windows", "due_at IS NULL AND ends_at < now()")
