"""Count each ended job exactly once, by sequence number: for charts, metrics, analytics and error groups.

Counting uses no clock, because a clock may jump. A trigger gives each final job the next number of the sequence
`job_ends`. Transactions do not commit in the order of these numbers, so a count stops at a high-water mark: the last
number when the mark was set. The jobs up to the mark are counted once all transactions that were active then have
ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ava.domain.analytics import MAX_DAYS
from ava.domain.error_group import FailedJob, error_id
from ava.domain.jobs.run_outcome import SystemCancel
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows, parameters_of
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import READY_AT
from ava.store.reports import analytics, statistics

#: Seconds between replans of the count. It runs every second, and planning takes longer than counting few jobs.
_PLAN_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    #: All transactions with lower ids have ended.
    oldest: int
    #: The id of the observing transaction.
    own: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far ended jobs are counted, and the next high-water mark."""

    #: All jobs with numbers up to this one are counted.
    counted_to: int
    #: All ends stored before this time are counted.
    counted_until: datetime
    #: The last number when the mark was set.
    high_water_no: int
    #: The id of the first transaction that cannot have a number up to `high_water_no`.
    high_water_before: int
    high_water_at: datetime

    def advanced(self, sight: Sight, *, last_no: int, now: datetime, limit: int) -> Progress:
        """Return the progress after at most `limit` more numbers; sets a new mark at `last_no` if it reaches the old.

        `last_no` was read before this transaction got its id, so each transaction with a number up to `last_no` has a
        lower id than `sight.own`.
        """
        # An id above this transaction's was dumped from another server.
        is_past = self.high_water_before <= sight.oldest or self.high_water_before > sight.own
        if self.counted_to < self.high_water_no and not is_past:
            return self
        counted_to = min(self.high_water_no, self.counted_to + limit)
        if counted_to < self.high_water_no:
            return replace(self, counted_to=counted_to)
        return Progress(
            counted_to=counted_to,
            counted_until=self.high_water_at,
            high_water_no=max(last_no, counted_to),
            high_water_before=sight.own,
            high_water_at=now,
        )


# Read the time first: all ends stored before it then have numbers up to the last one.
_LAST = Statement("""
SELECT clock_timestamp(), (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM job_ends)
""")
_PROGRESS_ROWS = RecordRows(Progress, "p")
# The row stays locked until the transaction ends, so two dispatchers never count a job twice. The lock assigns an id.
_LOCK = Statement(f"SELECT {_PROGRESS_ROWS.columns} FROM count_progress AS p FOR UPDATE")


def lock(connection: Connection) -> tuple[Progress, int, datetime]:
    """Lock the progress at the start of a transaction. Returns the progress, the last assigned number, and the time."""
    now, last_no = connection.exec_driver_sql(_LAST).one()
    return _PROGRESS_ROWS.read(connection.exec_driver_sql(_LOCK).one()), last_no, now


# Snapshots include transactions in other databases of the server, which end no jobs of this one. A snapshot's `xmax`
# does not bound the assigned ids: it follows the last ended transaction, and later ones may be running.
_SEE = Statement("""
SELECT coalesce((
        SELECT min(x.id::text::bigint) FROM pg_snapshot_xip(s) AS x (id) JOIN pg_stat_activity AS a
            ON a.backend_xid = x.id::xid AND a.datname = current_database()), pg_snapshot_xmax(s)::text::bigint),
    pg_current_xact_id()::text::bigint
FROM pg_current_snapshot() AS s
""")


def see(connection: Connection) -> Sight:
    """Read the running transactions. Must be a statement between `lock` and `count`, because of its snapshot."""
    oldest, own = connection.exec_driver_sql(_SEE).one()
    return Sight(oldest=oldest, own=own)


def _ended(condition: str) -> str:
    """Return the CTE `ended`: the jobs that meet a condition, with their times in microseconds."""
    return f"""ended AS MATERIALIZED (
    SELECT j.id, j.tenant_id, j.worker_id, j.trigger, j.status, j.attempt, j.losses, j.completed_at, j.error_id,
        CASE WHEN j.status = 'failed' THEN left(j.error, 1200) END AS error,
        CASE WHEN j.status = 'failed' THEN j.queue END AS queue, CASE WHEN j.status = 'failed' THEN j.tags END AS tags,
        j.status = 'cancelled' AND j.cancelled_by IS NULL AND starts_with(j.error, '{SystemCancel.EXPIRED}: ')
            AS is_expired,
        CASE WHEN j.started_at IS NOT NULL
            THEN greatest(0, extract(epoch FROM j.completed_at - j.started_at)::float8 * 1000000)
                + coalesce(earlier.ms[1], 0) * 1000 END AS run_us,
        CASE WHEN j.first_run_no IS NOT NULL THEN coalesce(j.cpu_us, 0) END AS cpu_us,
        CASE WHEN j.first_run_no IS NOT NULL THEN coalesce(earlier.ms[2], 0)
            + coalesce(greatest(0, extract(epoch FROM j.started_at - {READY_AT})::float8 * 1000), 0) END AS waited_ms,
        -- How long an entry of a bulk waited for its turn, after those that it comes after, is not known.
        CASE WHEN j.started_at IS NOT NULL AND j.attempt = 1 AND j.losses = 0
                AND (j.tree_id IS NULL OR j.tree_id = j.id OR j.parent_id IS NOT NULL)
            THEN greatest(0, extract(epoch FROM coalesce(j.first_started_at, j.started_at) - due.at)::float8
                * 1000000) END AS wait_us
    FROM jobs AS j CROSS JOIN LATERAL (SELECT greatest(j.created_at, j.scheduled_at) AS at) AS due
    CROSS JOIN LATERAL (SELECT {rows.earlier_runs("j")} AS ms OFFSET 0) AS earlier WHERE {condition}
)"""


_MOVED = """
UPDATE count_progress SET counted_to = %(to)s, counted_until = %(counted_until)s::timestamptz,
    high_water_no = %(high_water_no)s, high_water_before = %(high_water_before)s,
    high_water_at = %(high_water_at)s::timestamptz
"""
_MOVE = Statement(_MOVED)
_COUNT = Prepared(
    "count_ended_jobs",
    f"""
WITH {_ended("j.end_no > %(after)s AND j.end_no <= %(to)s")}, {statistics.STORE}, {analytics.STORE},
{statistics.STORE_TIMES}, moved AS ({_MOVED})
SELECT id::text, error_id::text, tenant_id, worker_id, error, completed_at, queue, tags FROM ended
WHERE status = 'failed' ORDER BY completed_at
""",
    plan_seconds=_PLAN_SECONDS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    #: Ordered by end.
    jobs: Sequence[FailedJob] = ()
    #: Jobs without an error group in their row: their process was killed, or the run stored none.
    unlabelled: Sequence[FailedJob] = ()


def count(connection: Connection, before: Progress, after: Progress) -> Failed:
    """Count the jobs between two progresses, and store the second. Returns the failed jobs."""
    if before == after:
        return Failed()
    parameters = parameters_of(Progress, after) | {"after": before.counted_to, "to": after.counted_to}
    if before.counted_to == after.counted_to:
        connection.exec_driver_sql(_MOVE, parameters)
        return Failed()
    jobs, unlabelled = [], []
    for id_, known_id, tenant_id, worker_id, error, completed_at, queue, tags in _COUNT.run(connection, parameters):
        job = FailedJob(
            id=id_,
            error_id=known_id or str(error_id(tenant_id=tenant_id, worker_id=worker_id, error=error)),
            tenant_id=tenant_id,
            worker_id=worker_id,
            error=error,
            completed_at=completed_at,
            queue=queue,
            tags=tags or {},
        )
        jobs.append(job)
        if known_id is None:
            unlabelled.append(job)
    return Failed(jobs=jobs, unlabelled=unlabelled)


def skip(connection: Connection, after: Progress) -> None:
    """Store a progress without counting the jobs up to it."""
    connection.exec_driver_sql(_MOVE, parameters_of(Progress, after) | {"to": after.counted_to})


_FIRST_DAY = Statement("""
SELECT date_trunc('day', greatest(
        -- The days from here on were not reached by retention, …
        now() - %(retention_days)s * interval '1 day' + interval '1 day', now() - %(max_days)s * interval '1 day',
        -- … and before the oldest job there is nothing.
        (SELECT completed_at FROM jobs WHERE completed_at IS NOT NULL ORDER BY completed_at LIMIT 1)), 'UTC'),
    date_trunc('day', now(), 'UTC')
""")


def first_day(connection: Connection, *, retention_days: float) -> tuple[datetime, datetime]:
    """Return the first day with all its jobs still retained, and today."""
    parameters = {"retention_days": retention_days, "max_days": MAX_DAYS}
    first, today = connection.exec_driver_sql(_FIRST_DAY, parameters).one()
    return first, today


_DELETE_COUNTS = Statement("DELETE FROM job_counts WHERE starts_at >= %(day)s AND starts_at < %(end)s")
_DELETE_TIMES = Statement("DELETE FROM job_time_histograms WHERE day >= %(day)s AND day < %(end)s")
_RECOUNT = Statement(f"""
WITH {_ended("j.completed_at >= %(day)s AND j.completed_at < %(end)s AND j.end_no <= %(to)s")}, {analytics.STORE},
{statistics.STORE_TIMES}
SELECT count(*) FROM ended
""")


def recount_day(connection: Connection, day: datetime) -> int:
    """Replace the analytics of one day by recounting its retained jobs, in a transaction. Returns their number.

    Regular counting waits for the transaction and then continues.
    """
    progress, _, _ = lock(connection)
    parameters = {"day": day, "end": day + timedelta(days=1), "to": progress.counted_to}
    for statement in (_DELETE_COUNTS, _DELETE_TIMES):
        connection.exec_driver_sql(statement, parameters)
    return int(connection.exec_driver_sql(_RECOUNT, parameters).scalar_one())
