"""Partitions of log lines: made ahead, and dropped with their last job."""

from __future__ import annotations

from ava.dispatcher.duties.retention import OldJobs, roll_partitions
from ava.store import partitions
from ava.store.engine.database import Connection
from tests.backlog import Backlog

#: The days from the first partition's end, so long ago that no job is kept.
_ENDS = "SELECT ava_first_uuid(now() - interval '40 days')::text, ava_first_uuid(now() - interval '39 days')::text"


def _roll(stored: Backlog) -> int:
    return roll_partitions(stored.database, retention_days=30, webhook_retention_days=7, audit_days=90, event_days=30)


def _names(stored: Backlog) -> list[str]:
    return [name for (name,) in stored.run("SELECT name FROM ava_partitions('job_logs')")]


def _add_since_upgrade(connection: Connection) -> int:
    """Add what the upgrade would have covered today, because it may have been before midnight.

    Returns the number of partitions. The day stays the same until the transaction ends.
    """
    return partitions.add(connection, "job_logs", days_ahead=8, width_days=1)


def _make_old_day(stored: Backlog) -> str:
    """Let the first partition end 40 days ago, and another one a day later. Returns an id of that day's jobs."""
    ((first, last),) = stored.run(_ENDS)
    stored.run("ALTER TABLE job_logs DETACH PARTITION job_logs_first")
    stored.run(f"ALTER TABLE job_logs ATTACH PARTITION job_logs_first FOR VALUES FROM (MINVALUE) TO ('{first}')")
    stored.run(f"CREATE TABLE job_logs_20200101 PARTITION OF job_logs FOR VALUES FROM ('{first}') TO ('{last}')")
    return str(first)


def _insert_old(stored: Backlog, first_id: str, jobs: int, *, lines: int) -> None:
    """Insert jobs with ids of the old day that ended then, and their lines."""
    ids = [job.id for job in stored.insert(jobs)]
    assert len(ids) == jobs
    stored.run(
        "UPDATE jobs SET id = (left(%(id)s, 24) || right(id::text, 12))::uuid, status = 'cancelled',"
        " cancel_requested_at = now(),"
        " stop_status = 'cancelled', completed_at = now() - interval '39 days' WHERE status = 'queued'",
        id=first_id,
    )
    stored.run(
        "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
        " SELECT tenant_id, id, n, ARRAY[now()], 'i', ARRAY['x'] FROM jobs, generate_series(1, %(lines)s) AS n",
        lines=lines,
    )


def test_partitions_are_made_ahead_and_again_from_tomorrow_after_a_pause(stored: Backlog) -> None:
    with stored.database.connect() as connection:
        partitions_of_today = 1 + _add_since_upgrade(connection)
        assert 7 < partitions.days_ahead(connection)["job_logs"] <= 8
        assert partitions.add(connection, "job_logs", days_ahead=10, width_days=1) == 2
        assert partitions.add(connection, "job_logs", days_ahead=10, width_days=1) == 0
        assert partitions.add(connection, "job_logs", days_ahead=20, width_days=4) == 3
        assert 21 < partitions.days_ahead(connection)["job_logs"] <= 22
    assert len(_names(stored)) == partitions_of_today + 5
    first_id = _make_old_day(stored)
    for name in _names(stored)[2:]:
        stored.run(f"DROP TABLE {name}")
    # The lines of today have no partition of their own, and are read from the rest.
    [job] = stored.insert(1)
    stored.run("INSERT INTO job_logs SELECT tenant_id, id, 1, ARRAY[now()], 'i', ARRAY['x'] FROM jobs")
    assert stored.run("SELECT count(*) FROM job_logs_rest") == [(1,)]
    assert job.id
    assert _roll(stored) == 7, "six days from tomorrow, and the first partition is detached"
    assert _names(stored)[0] == "job_logs_20200101"
    assert _roll(stored) == 1, "its table is dropped"
    assert stored.run("SELECT to_regclass('job_logs_first')") == [(None,)]
    stored.run(
        "UPDATE jobs SET status = 'cancelled', cancel_requested_at = now(), stop_status = 'cancelled',"
        " completed_at = '2020-01-01'"
    )
    with stored.database.connect() as connection:
        assert OldJobs(retention_days=30).delete(connection, 10) == 2
    assert stored.run("SELECT count(*) FROM job_logs") == [(0,)]
    assert first_id


def test_a_day_whose_lines_are_in_the_rest_already_has_no_partition(stored: Backlog) -> None:
    with stored.database.connect() as connection:
        _add_since_upgrade(connection)
        # The clock that made the job's id was ahead.
        connection.exec_driver_sql(
            "INSERT INTO job_logs SELECT 'ten_a', bound, 1, ARRAY[now()], 'i', ARRAY['x']"
            " FROM ava_partitions('job_logs') ORDER BY bound DESC LIMIT 1"
        )
        assert partitions.add(connection, partitions.LOGS, days_ahead=10, width_days=1) == 1
    assert stored.run("SELECT count(*) FROM job_logs_rest") == [(1,)]


def test_a_partition_is_dropped_after_its_last_job(stored: Backlog) -> None:
    _insert_old(stored, _make_old_day(stored), 20, lines=3)
    with stored.database.connect() as connection:
        while partitions.drop_logs(connection, retention_days=60, max_lines=10):
            pass
    assert _names(stored) == ["job_logs_20200101"], "its jobs are not past 60 days"
    with stored.database.connect() as connection:
        assert OldJobs(retention_days=30).delete(connection, 500) == 20
        assert stored.run("SELECT count(*) FROM job_logs_20200101") == [(60,)], "no line is deleted for itself"
        assert partitions.drop_logs(connection, retention_days=60, max_lines=10) == 1
        assert stored.run("SELECT count(*) FROM job_logs") == [(0,)]
        assert partitions.drop_logs(connection, retention_days=60, max_lines=10) == 1
        assert partitions.drop_logs(connection, retention_days=60, max_lines=10) == 0
    assert stored.run("SELECT to_regclass('job_logs_20200101')") == [(None,)]


def test_few_lines_of_jobs_that_ended_late_move_to_the_rest(stored: Backlog) -> None:
    _insert_old(stored, _make_old_day(stored), 2, lines=3)
    stored.run("UPDATE jobs SET completed_at = now()")
    stored.run(
        "INSERT INTO job_logs"
        " SELECT 'ten_a', ava_first_uuid(now() - interval '39.5 days'), 1, ARRAY[now()], 'i', ARRAY['no job']"
    )
    with stored.database.connect() as connection:
        while partitions.drop_logs(connection, retention_days=30, max_lines=6):
            pass
        assert _names(stored) == ["job_logs_20200101"], "too many lines"
        assert partitions.drop_logs(connection, retention_days=30, max_lines=7) == 1
    assert _names(stored) == []
    assert stored.run("SELECT count(*) FROM job_logs_rest") == [(6,)]
    stored.run("UPDATE jobs SET completed_at = now() - interval '31 days'")
    with stored.database.connect() as connection:
        assert OldJobs(retention_days=30).delete(connection, 500) == 8
    assert stored.run("SELECT count(*) FROM job_logs") == [(0,)]


def test_a_lock_that_is_not_free_leaves_the_partitions_as_they_are(stored: Backlog) -> None:
    _make_old_day(stored)
    with stored.database.transaction() as reading, stored.database.connect() as connection:
        reading.exec_driver_sql("SELECT count(*) FROM job_logs")
        assert partitions.drop_logs(connection, retention_days=30, max_lines=10) == 0
