"""How long ended jobs waited and ran, as histograms by tenant, worker and day: counted once, and read.

Rows with the worker '' are of all workers of the tenant. A histogram is one row with two arrays, because a read of 90
days then visits 180 rows, and not as many times that as there are buckets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from ava.domain.analytics import BUCKET_GROWTH, MAX_DAYS
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.reports import ended

__all__ = ["count", "delete_old", "read", "recount_day"]

_PROGRESS = "times"
_ENDED = """
ended AS MATERIALIZED (
    SELECT j.tenant_id, j.worker_id, date_trunc('day', j.completed_at, 'UTC') AS day,
        CASE WHEN j.started_at IS NOT NULL
             THEN greatest(0, extract(epoch FROM j.completed_at - j.started_at)::float8) * 1000000 END AS run_us,
        CASE WHEN j.attempt = 1 AND j.losses = 0 AND j.started_at IS NOT NULL
             THEN extract(epoch FROM j.started_at - greatest(j.created_at, j.scheduled_at))::float8 * 1000000
             END AS wait_us
    FROM span AS s JOIN jobs AS j ON j.completed_at >= s.since AND j.completed_at < s.until
)
"""
_STORE = f"""
counted AS (
    SELECT tenant_id, coalesce(worker_id, '') AS worker_id, day, kind, bucket, count(*)::integer AS jobs
    FROM (
        SELECT e.tenant_id, e.worker_id, e.day, v.kind,
            greatest(0, ceil(ln(greatest(1, v.us)) / ln({BUCKET_GROWTH})))::smallint AS bucket
        FROM ended AS e CROSS JOIN LATERAL (VALUES ('wait', wait_us), ('run', run_us)) AS v (kind, us)
        WHERE v.us IS NOT NULL
    ) AS e
    GROUP BY GROUPING SETS ((tenant_id, day, kind, bucket, worker_id), (tenant_id, day, kind, bucket))
), stored AS (
    INSERT INTO job_time_histograms AS t (tenant_id, worker_id, day, kind, buckets, jobs)
    SELECT tenant_id, worker_id, day, kind, array_agg(bucket ORDER BY bucket), array_agg(jobs ORDER BY bucket)
    FROM counted GROUP BY tenant_id, worker_id, day, kind
    ON CONFLICT (tenant_id, worker_id, day, kind) DO UPDATE SET (buckets, jobs) = (
        SELECT m.buckets, m.jobs FROM ava_add_times(t.buckets, t.jobs, excluded.buckets, excluded.jobs) AS m
    )
)
"""
_COUNT = Prepared(
    "count_job_times",
    f"""
WITH {ended.next_span(_PROGRESS)}, {_ENDED}, {_STORE}, {ended.moved(_PROGRESS)}
SELECT count(*) FROM ended
""",
    plan_seconds=ended.PLAN_SECONDS,
)


def count(connection: Connection, *, until: datetime, limit: int) -> int:
    """Count the times of the jobs that have ended since the last call, up to a moment, and of about `limit` jobs.

    Returns the number of jobs.
    """
    return int(_COUNT.run(connection, {"until": until, "limit": limit})[0][0])


_LOCK = Statement(ended.lock(_PROGRESS))
_DELETE_DAY = Statement("DELETE FROM job_time_histograms WHERE day >= %(day)s AND day < %(end)s")
_RECOUNT = Statement(f"""
WITH {ended.day_span(_PROGRESS)}, {_ENDED}, {_STORE}
SELECT count(*) FROM ended
""")


def recount_day(connection: Connection, day: datetime) -> None:
    """Replace the histograms of one day by those of the jobs that are there, in a transaction.

    The count of what ends meanwhile waits for the transaction, and goes on from where it was.
    """
    parameters = {"day": day, "end": day + timedelta(days=1)}
    for statement in (_LOCK, _DELETE_DAY, _RECOUNT):
        connection.exec_driver_sql(statement, parameters)


_DELETE_OLD = Statement("""
DELETE FROM job_time_histograms WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM job_time_histograms WHERE day < now() - %(days)s * interval '1 day' LIMIT %(limit)s))
""")


def delete_old(connection: Connection, *, limit: int) -> int:
    """Delete histograms that are older than any period. Returns the number of rows."""
    return connection.exec_driver_sql(_DELETE_OLD, {"days": MAX_DAYS + 2, "limit": limit}).rowcount


# Set-returning functions in the select list take two thirds of the time of those in FROM.
_READ = Statement("""
SELECT kind, bucket, sum(jobs)::bigint
FROM (
    SELECT kind, unnest(buckets) AS bucket, unnest(jobs) AS jobs FROM job_time_histograms
    WHERE tenant_id = %(tenant_id)s AND worker_id = %(worker_id)s AND day >= %(since)s
) AS t
GROUP BY kind, bucket
""")


def read(
    connection: Connection, *, tenant_id: str, since: datetime, worker_id: str | None
) -> Mapping[str, Mapping[int, int]]:
    """Returns how many jobs are in each bucket of `wait` and of `run` since a midnight, of one worker or of all."""
    parameters = {"tenant_id": tenant_id, "since": since, "worker_id": worker_id or ""}
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for kind, bucket, jobs in connection.exec_driver_sql(_READ, parameters):
        found[kind][bucket] = jobs
    return found
