"""Events, deliveries and the audit trail in partitions: made ahead, and dropped by the day."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise

import psycopg2
import pytest

from ava.dispatcher.duties.retention import roll_partitions
from ava.store import dead_letters, partitions
from ava.store.events import hook_deliveries
from ava.store.reports import audit
from ava.store.webhooks import endpoint_leases, fan_out, webhook_events
from tests.backlog import Backlog

_TABLES = ("webhook_events", "webhook_deliveries", "hook_deliveries", "events", "audit")
_ENDPOINT = "01890000-0000-7000-8000-00000000000e"
#: An event, a delivery and an entry of the audit trail whose ids are of a moment.
_INSERTS = {
    "webhook_events": "INSERT INTO webhook_events (id, tenant_id, type, sequence, fanned_out_at)"
    " SELECT {id}, 'ten_a', 'ava.job.queued', 1, now() FROM generate_series(1, {count}) AS i",
    "webhook_deliveries": "INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, event_id, event_type, n)"
    f" SELECT 'ten_a', {{id}}, '{_ENDPOINT}', {{event}}, 'ava.job.queued', i FROM generate_series(1, {{count}}) AS i",
    "events": "INSERT INTO events (id, tenant_id, type, source, data, extensions)"
    " SELECT {id}, 'ten_a', 't', '/', 'null', '{{}}' FROM generate_series(1, {count}) AS i",
    "hook_deliveries": "INSERT INTO hook_deliveries"
    " (id, tenant_id, hook_id, status, response_status, address, headers, body_bytes)"
    f" SELECT {{id}}, 'ten_a', '{_ENDPOINT}', 'accepted', 202, 'x', '{{{{}}}}', 0"
    " FROM generate_series(1, {count}) AS i",
    "audit": "INSERT INTO audit (id, tenant_id, actor_id, role, action, status, address, request_id)"
    " SELECT {id}, 'ten_a', 'usr_a', 'r', 'a', 200, 'x', 'x' FROM generate_series(1, {count}) AS i",
}


#: The moment so many days before the last midnight.
_MOMENT = "date_trunc('day', now(), 'UTC') - {days_ago} * interval '24 hours'"


def _id(days_ago: float) -> str:
    """Returns SQL for a new id that was made so many days before the last midnight."""
    timestamp = _MOMENT.format(days_ago=days_ago)
    return f"overlay(ava_first_uuid({timestamp})::text PLACING right(gen_random_uuid()::text, 12) FROM 25)::uuid"


def _insert(
    stored: Backlog, table: str, *, days_ago: float, event_days_ago: float | None = None, count: int = 1
) -> None:
    event = _id(days_ago if event_days_ago is None else event_days_ago)
    stored.run(_INSERTS[table].format(id=_id(days_ago), event=event, count=count))


def _count(stored: Backlog, table: str) -> int:
    return int(stored.run(f"SELECT count(*) FROM {table}")[0][0])


def _make_old_days(stored: Backlog, table: str, *days_ago: int) -> None:
    """Let the first partition end at the first of these days, and let each of them have a partition."""
    bounds = [
        stored.run(f"SELECT ava_first_uuid({_MOMENT.format(days_ago=days)})::text")[0][0]
        for days in (*days_ago, days_ago[-1] - 1)
    ]
    stored.run(f"ALTER TABLE {table} DETACH PARTITION {table}_first")
    stored.run(f"ALTER TABLE {table} ATTACH PARTITION {table}_first FOR VALUES FROM (MINVALUE) TO ('{bounds[0]}')")
    for number, (first, last) in enumerate(pairwise(bounds)):
        name = f"{table}_2020010{number}"
        stored.run(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{first}') TO ('{last}')")


def _names(stored: Backlog, table: str) -> list[str]:
    return [name for (name,) in stored.run("SELECT name FROM ava_partitions(%(table)s)", table=table)]


def _roll(stored: Backlog) -> int:
    return roll_partitions(stored.database, retention_days=30, webhook_retention_days=7, audit_days=7, event_days=7)


def _delete_old(stored: Backlog, *, days: float = 7) -> int:
    with stored.database.connect() as connection:
        return (
            webhook_events.delete_old(connection, retention_days=days, limit=1_000)
            + audit.delete_old(connection, retention_days=days, limit=1_000)
            + hook_deliveries.delete_old(connection, "events", retention_days=days, limit=1_000)
            + hook_deliveries.delete_old(connection, "hook_deliveries", retention_days=days, limit=1_000)
        )


def test_partitions_are_made_ahead_of_every_table(stored: Backlog) -> None:
    for table in _TABLES:
        _make_old_days(stored, table, 3)
    assert _roll(stored) >= 6, "two days from tomorrow for each table"
    with stored.database.connect() as connection:
        ahead = partitions.days_ahead(connection)
    assert set(ahead) == set(partitions.TABLES)
    for table in _TABLES:
        assert 2 < ahead[table] <= 3
        assert len(_names(stored, table)) == 4
        # Rows of today, for which there is none, are in the rest, and found like others.
        _insert(stored, table, days_ago=-0.5)
        _insert(stored, table, days_ago=-1.5)
        assert _count(stored, f"{table}_rest") == 1
        assert _count(stored, table) == 2


def test_a_day_whose_ids_a_wrong_clock_has_made_has_no_partition(stored: Backlog) -> None:
    _make_old_days(stored, "audit", 3)
    _insert(stored, "audit", days_ago=-1.5)
    assert _roll(stored) == 1
    ((first_id, bound),) = stored.run("SELECT first_id, bound FROM ava_partitions('audit') ORDER BY bound DESC LIMIT 1")
    # The day after the next one has one, and the row stays where it is.
    days = "SELECT %(id)s::uuid = ava_first_uuid(date_trunc('day', now(), 'UTC') + interval '48 hours')"
    assert stored.run(days, id=str(first_id)) == [(True,)]
    assert bound > first_id
    assert _count(stored, "audit_rest") == 1
    assert _roll(stored) == 0


def test_a_partition_is_dropped_when_all_its_rows_are_past_retention(stored: Backlog) -> None:
    for table in _TABLES:
        _make_old_days(stored, table, 9, 8, 7)
        for days_ago in (8.5, 7.5, 6.5):
            _insert(stored, table, days_ago=days_ago, count=10)
    for _ in range(9):
        _roll(stored)
    for table in _TABLES:
        # Retention ends within the day of the last one, so it holds rows that are kept.
        assert _names(stored, table)[0] == f"{table}_20200102"
        assert _count(stored, table) == 10
    leftover = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '_2020010[0-9]$' AND NOT relispartition"
    assert stored.run(leftover) == [(0,)]


def test_events_stay_as_long_as_they_have_deliveries(stored: Backlog) -> None:
    for table in _TABLES:
        _make_old_days(stored, table, 9, 8, 7, 6)
    _insert(stored, "webhook_events", days_ago=8.5, count=5)
    # The fan-out was late by some days.
    _insert(stored, "webhook_deliveries", days_ago=5.5, event_days_ago=8.5, count=5)
    _insert(stored, "webhook_deliveries", days_ago=5.5, count=1)
    stored.run("INSERT INTO dead_letters SELECT 'ten_a', 'webhook_event', id, 'x' FROM webhook_events LIMIT 1")
    for _ in range(3):
        _roll(stored)
    assert _count(stored, "webhook_events") == 5
    assert _delete_old(stored) == 5, "the late deliveries, row by row"
    with stored.database.connect() as connection:
        assert dead_letters.count(connection) == 0
    for _ in range(3):
        _roll(stored)
    assert _count(stored, "webhook_events") == 0
    assert _count(stored, "webhook_deliveries") == 1


def test_rows_of_the_first_partition_and_of_the_rest_are_deleted_when_they_are_old(stored: Backlog) -> None:
    for table in _TABLES:
        _insert(stored, table, days_ago=7.5, count=3)
        _insert(stored, table, days_ago=5.5, count=2)
    assert _delete_old(stored) == 15
    for table in _TABLES:
        assert _count(stored, table) == 2
        stored.run(f"DELETE FROM {table}")
        _make_old_days(stored, table, 40)
        _insert(stored, table, days_ago=7.5, count=4)
        _insert(stored, table, days_ago=39.5, count=4)
        assert _count(stored, f"{table}_rest") == 4
    assert _delete_old(stored) == 20, "those of the partition of a day are dropped with it"
    # Rows that are kept for less than a day do not wait for that.
    assert _delete_old(stored, days=0.5) == 20


def test_functions_of_the_owner_touch_no_other_table(stored: Backlog) -> None:
    for function in ("ava_add_partitions('jobs', 3, 1)", "ava_drop_partition('job_logs', 1)"):
        with (
            closing(psycopg2.connect(stored.settings.database_url)) as raw,
            raw.cursor() as cursor,
            pytest.raises(psycopg2.errors.RaiseException),
        ):
            cursor.execute(f"SELECT {function}")


def test_a_lock_that_is_not_free_leaves_the_partitions_as_they_are(stored: Backlog) -> None:
    for table in _TABLES:
        _make_old_days(stored, table, 40)
        with stored.database.transaction() as reading, stored.database.connect() as connection:
            reading.exec_driver_sql(f"SELECT count(*) FROM {table}")
            assert partitions.drop(connection, table, retention_days=7) == 0


def test_the_deliveries_of_an_endpoint_are_due_by_failures_whatever_partition_holds_them(stored: Backlog) -> None:
    _make_old_days(stored, "webhook_events", 4, 3, 2)
    _make_old_days(stored, "webhook_deliveries", 4, 3, 2)
    stored.run(
        "INSERT INTO webhook_endpoints (id, tenant_id, url, events, secret)"
        f" VALUES ('{_ENDPOINT}', 'ten_a', 'https://example.com/', ARRAY['ava.job.queued'], 's')"
    )
    stored.run(f"INSERT INTO webhook_lanes (tenant_id, endpoint_id, due_at) VALUES ('ten_a', '{_ENDPOINT}', now())")
    for failures, days_ago in ((3, 4.5), (1, 3.5), (5, 2.5), (0, 0)):
        _insert(stored, "webhook_events", days_ago=days_ago)
        stored.run(
            "INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, event_id, event_type, n, failures)"
            f" SELECT tenant_id, id, '{_ENDPOINT}', id, type, n, {failures} FROM webhook_events ORDER BY n DESC LIMIT 1"
        )
    sender = "01890000-0000-7000-8000-00000000000f"
    with stored.database.connect() as connection:
        endpoint_leases.heartbeat(connection, sender_id=sender, host="h", pid=1, dead_after_seconds=60, held=[])
        stored.run(f"UPDATE webhook_lanes SET sender_id = '{sender}'")
        found = endpoint_leases.due_deliveries(connection, sender_id=sender, capacities={_ENDPOINT: 3}, in_flight=())
        assert [delivery.failures for delivery in found] == [5, 3, 1]
        lease = endpoint_leases.LeaseRelease(endpoint=_ENDPOINT, concurrency=1, timeouts=0, pause_seconds=0)
        endpoint_leases.release(connection, sender_id=sender, leases=[lease])
    assert stored.run("SELECT due_at <= now() FROM webhook_lanes") == [(True,)]


def test_a_new_event_is_found_although_the_clock_that_made_its_id_was_behind(stored: Backlog) -> None:
    _make_old_days(stored, "webhook_events", 4, 3, 2)
    for days_ago in (3.5, 0):
        _insert(stored, "webhook_events", days_ago=days_ago)
    stored.run("UPDATE webhook_events SET fanned_out_at = NULL")
    stored.run("UPDATE webhook_events SET tenant_id = 'ten_b' WHERE n = (SELECT max(n) FROM webhook_events)")
    with stored.database.connect() as connection:
        found = fan_out.candidates(connection, after_tenant="", max_tenants=9, limit=9)
    assert [event.tenant_id for event in found] == ["ten_a", "ten_b"]
