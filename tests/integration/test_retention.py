"""Retention: whatever is past it is deleted, however much it is, in statements that are bounded by rows and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import pytest

from ava.dispatcher.duties import retention
from ava.dispatcher.duties.retention import OldRows, Retention
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Connection, Database
from tests.backlog import Backlog


def _of_jobs(database: Database, *, silent_nodes: Sequence[str] = ()) -> Retention:
    return retention.of_jobs(database, retention_days=30, audit_days=90, silent_nodes=lambda: silent_nodes)


def _age(stored: Backlog, *, days: float, jobs: str = "true") -> None:
    stored.run(
        "UPDATE jobs SET status = 'cancelled', cancel_requested_at = now(), stop_status = 'cancelled',"
        f" completed_at = now() - %(days)s * interval '1 day' WHERE {jobs}",
        days=days,
    )


def _write_lines(stored: Backlog, *, lines: int, jobs: str = "true") -> None:
    stored.run(
        "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
        " SELECT tenant_id, id, seq, ARRAY[now()], 'i', ARRAY['x']"
        f" FROM jobs, generate_series(1, %(lines)s) AS seq WHERE {jobs}",
        lines=lines,
    )


def test_only_jobs_past_retention_are_deleted(stored: Backlog) -> None:
    stored.insert(700)
    stored.run('UPDATE jobs SET tags = \'{"team": "a"}\' RETURNING id')
    stored.run("INSERT INTO job_tags SELECT tenant_id, 'team', 'a', id FROM jobs RETURNING job_id")
    _age(stored, days=31)
    _write_lines(stored, lines=1)
    stored.insert(1)
    duty = _of_jobs(stored.database)
    # A busy machine takes longer than one call may.
    assert sum(iter(lambda: duty.run_once(0), 0)) == 700
    assert stored.count("true") == 1
    assert stored.run("SELECT count(*) FROM job_tags") == [(0,)]


def test_a_job_is_kept_as_its_worker_says_else_its_tenant_else_the_installation(stored: Backlog) -> None:
    for tenant_id in ("ten_long", "ten_short", "ten_plain", "ten_other"):
        stored.insert(10, tenant_id=tenant_id)
    stored.run(
        "INSERT INTO tenant_limits (tenant_id, retention_days, updated_by)"
        " VALUES ('ten_long', 90, 'usr_op'), ('ten_short', 2, 'usr_op')"
    )
    _age(stored, days=60, jobs="tenant_id IN ('ten_long', 'ten_plain')")
    _age(stored, days=10, jobs="tenant_id IN ('ten_short', 'ten_other')")
    _write_lines(stored, lines=2)
    duty = _of_jobs(stored.database)
    assert duty.run_once(0) == 60, "20 jobs with 2 lines each"
    remaining = "SELECT tenant_id, count(*) FROM jobs GROUP BY 1 ORDER BY 1"
    assert stored.run(remaining) == [("ten_long", 10), ("ten_other", 10)]
    assert stored.run("SELECT count(*) FROM job_logs") == [(40,)]
    # What is kept is looked at again after a pause alone.
    assert duty.run_once(0) == 0
    stored.run("UPDATE workers SET retention_days = 30")
    assert duty.run_once(0) == 0
    # The worker's own days count before those of the tenant.
    assert _of_jobs(stored.database).run_once(0) == 30
    assert stored.run(remaining) == [("ten_other", 10)]


_SLOW_DISK = """
CREATE FUNCTION slow_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END';
CREATE TRIGGER slow_disk BEFORE DELETE ON job_logs FOR EACH ROW EXECUTE FUNCTION slow_disk();
"""


def test_a_job_of_a_great_many_lines_does_not_stop_retention(stored: Backlog) -> None:
    # Another tenant's jobs are kept longer, so these lines are deleted row by row.
    stored.run("INSERT INTO tenant_limits (tenant_id, retention_days, updated_by) VALUES ('ten_long', 90, 'usr_op')")
    stored.insert(1)
    _age(stored, days=32)
    _write_lines(stored, lines=2_000)
    stored.insert(300)
    _age(stored, days=31, jobs="completed_at IS NULL")
    _write_lines(stored, lines=2, jobs="completed_at > now() - interval '31.5 days'")
    stored.run(_SLOW_DISK)
    # A third of the time that the deletion of the first job's lines takes, at least.
    hasty = Database(stored.settings.database_url, name="hasty", statement_seconds=0.7)
    duty, deadline = _of_jobs(hasty), time.monotonic() + 60
    while stored.count("true"):
        assert time.monotonic() < deadline
        with suppress(DatabaseUnavailable):
            duty.run_once(0)
    assert stored.run("SELECT count(*) FROM job_logs") == [(0,)]
    hasty.close()


def test_an_idempotency_key_expires_after_a_day_and_not_before(stored: Backlog) -> None:
    stored.run(
        "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, created_at)"
        " VALUES ('ten_a', 'old', '', now() - interval '25 hours'), ('ten_a', 'new', '', now() - interval '23 hours')"
    )
    _of_jobs(stored.database).run_once(0)
    assert stored.run("SELECT key FROM idempotency_keys") == [("new",)]


def test_a_living_node_keeps_its_row_when_the_clock_of_the_database_jumps(stored: Backlog) -> None:
    living, dead, stopped = (f"01890000-0000-7000-8000-00000000000{number}" for number in range(1, 4))
    for node_id in (living, dead, stopped):
        stored.join(node_id)
    # To the rows it is the same whether the clock was set forward or the heartbeats are old.
    stored.run("UPDATE nodes SET seen_at = now() - interval '2 hours'")
    stored.run("UPDATE nodes SET stopped_at = seen_at WHERE id = %(id)s::uuid", id=stopped)
    assert _of_jobs(stored.database, silent_nodes=[dead]).run_once(0) == 2
    assert stored.run("SELECT id::text FROM nodes") == [(living,)]


def test_more_than_one_batch_of_each_kind_is_deleted_in_one_call(stored: Backlog) -> None:
    stored.run(
        "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, created_at)"
        " SELECT 'ten_a', i, '', now() - interval '25 hours' FROM generate_series(1, 5000) AS i"
    )
    assert _of_jobs(stored.database).run_once(0) == 5000


def test_a_batch_shrinks_if_it_fails_and_grows_if_it_is_quick(stored: Backlog) -> None:
    sizes: list[int] = []

    def delete(connection: Connection, limit: int) -> int:
        sizes.append(limit)
        if limit > 200:
            connection.exec_driver_sql("SET statement_timeout = 1")
            connection.exec_driver_sql("SELECT pg_sleep(1)")
        return limit if len(sizes) < 5 else 0

    duty = Retention(stored.database, [OldRows(delete)])
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            duty.run_once(0)
    with pytest.raises(DatabaseUnavailable):
        duty.run_once(0)
    assert sizes == [500, 250, 125, 250]
    duty.run_once(0)
    assert sizes == [500, 250, 125, 250, 125]


def test_a_kind_that_fails_does_not_stop_the_others(stored: Backlog) -> None:
    def fail(_connection: Connection, _limit: int) -> int:
        raise DatabaseUnavailable

    deleted = OldRows(lambda _connection, _limit: 0)
    with pytest.raises(DatabaseUnavailable):
        Retention(stored.database, [OldRows(fail), deleted]).run_once(0)
    assert not deleted.has_more
