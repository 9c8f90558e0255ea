"""Count final jobs: by tenant and minute for charts, in total for metrics, and in histograms of their times.

The sums are stored because computing them for each reader would be too expensive. The histograms of waiting and running
times are by tenant, worker and day; rows with worker '' cover all workers of the tenant. A histogram is one row with
two arrays, so that reading 90 days visits 180 rows, not 180 times the number of buckets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ava.domain.analytics import BUCKET_GROWTH, MAX_DAYS
from ava.store.engine.database import Connection
from ava.store.engine.statement import Deletion, Statement

#: Upper bounds of the buckets of waiting and running times, in seconds; the last bucket has longer times.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
#: The bucket of jobs without such a time, such as the run time of a job cancelled in the queue.
NEVER = -1

_BOUNDS = f"ARRAY[{', '.join(map(str, BOUNDS))}]::double precision[]"
_COUNTED = "worker_id, status, wait_bucket, run_bucket, jobs, retries, losses, wait_seconds, run_seconds"
#: Adds the jobs of `ended` to the minutes and totals.
STORE = f"""
counted AS (
    SELECT tenant_id, date_trunc('minute', completed_at) AS minute, worker_id, status,
        coalesce(width_bucket(wait_us / 1000000, {_BOUNDS}), {NEVER}) AS wait_bucket,
        coalesce(width_bucket(run_us / 1000000, {_BOUNDS}), {NEVER}) AS run_bucket,
        count(*) AS jobs, sum(greatest(attempt - 1, 0)) AS retries, sum(losses) AS losses,
        coalesce(sum(wait_us), 0) / 1000000 AS wait_seconds, coalesce(sum(run_us), 0) / 1000000 AS run_seconds
    FROM ended GROUP BY 1, 2, 3, 4, 5, 6
), minutes AS (
    INSERT INTO job_minutes AS t (tenant_id, minute, {_COUNTED}) SELECT tenant_id, minute, {_COUNTED} FROM counted
    ON CONFLICT (tenant_id, minute, worker_id, status, wait_bucket, run_bucket) DO UPDATE SET
        jobs = t.jobs + excluded.jobs, retries = t.retries + excluded.retries, losses = t.losses + excluded.losses,
        wait_seconds = t.wait_seconds + excluded.wait_seconds, run_seconds = t.run_seconds + excluded.run_seconds
), totals AS (
    INSERT INTO job_totals AS t ({_COUNTED})
    SELECT worker_id, status, wait_bucket, run_bucket, sum(jobs), sum(retries), sum(losses), sum(wait_seconds),
        sum(run_seconds)
    FROM counted GROUP BY 1, 2, 3, 4
    ON CONFLICT (worker_id, status, wait_bucket, run_bucket) DO UPDATE SET
        jobs = t.jobs + excluded.jobs, retries = t.retries + excluded.retries, losses = t.losses + excluded.losses,
        wait_seconds = t.wait_seconds + excluded.wait_seconds, run_seconds = t.run_seconds + excluded.run_seconds
)
"""


#: Deletes minutes older than any chart.
delete_old = Deletion("job_minutes", "minute < now() - %(keep_seconds)s * interval '1 second'")


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """The number of jobs with the same outcome, since this database was created."""

    worker_id: str
    status: str
    #: Indexes in `BOUNDS`, or `NEVER`.
    wait_bucket: int
    run_bucket: int
    jobs: int
    retries: int
    losses: int
    wait_seconds: float
    run_seconds: float


_TOTALS = Statement(f"SELECT {_COUNTED} FROM job_totals ORDER BY worker_id, status")


def totals(connection: Connection) -> list[Total]:
    """Return all totals. Their number depends on workers, statuses and buckets, not on the number of jobs."""
    names = _COUNTED.split(", ")
    found = connection.exec_driver_sql(_TOTALS)
    return [Total(**dict(zip(names, row, strict=True))) for row in found]


#: Adds the jobs of `ended` to the histograms.
STORE_TIMES = f"""
timed AS (
    SELECT tenant_id, coalesce(worker_id, '') AS worker_id, day, kind, bucket, count(*)::integer AS jobs
    FROM (
        SELECT e.tenant_id, e.worker_id, date_trunc('day', e.completed_at, 'UTC') AS day, v.kind,
            greatest(0, ceil(ln(greatest(1, v.us)) / ln({BUCKET_GROWTH})))::smallint AS bucket
        FROM ended AS e CROSS JOIN LATERAL (VALUES ('wait', wait_us), ('run', run_us)) AS v (kind, us)
        WHERE v.us IS NOT NULL
    ) AS e
    GROUP BY GROUPING SETS ((tenant_id, day, kind, bucket, worker_id), (tenant_id, day, kind, bucket))
), histograms AS (
    INSERT INTO job_time_histograms AS t (tenant_id, worker_id, day, kind, buckets, jobs)
    SELECT tenant_id, worker_id, day, kind, array_agg(bucket ORDER BY bucket), array_agg(jobs ORDER BY bucket)
    FROM timed GROUP BY tenant_id, worker_id, day, kind
    ON CONFLICT (tenant_id, worker_id, day, kind) DO UPDATE SET (buckets, jobs) = (
        SELECT m.buckets, m.jobs FROM ava_add_times(t.buckets, t.jobs, excluded.buckets, excluded.jobs) AS m
    )
)
"""

#: Deletes histograms older than any period.
delete_old_times = Deletion("job_time_histograms", f"day < now() - interval '{MAX_DAYS + 2} days'")


# Set-returning functions are a third faster in the select list than in FROM.
_READ_TIMES = Statement("""
SELECT kind, bucket, sum(jobs)::bigint
FROM (
    SELECT kind, unnest(buckets) AS bucket, unnest(jobs) AS jobs FROM job_time_histograms
    WHERE tenant_id = %(tenant_id)s AND worker_id = %(worker_id)s AND day >= %(since)s
) AS t
GROUP BY kind, bucket
""")


def read_times(
    connection: Connection, *, tenant_id: str, since: datetime, worker_id: str | None
) -> Mapping[str, Mapping[int, int]]:
    """Return the number of jobs per bucket of `wait` and `run` since a midnight, for one worker or all."""
    parameters = {"tenant_id": tenant_id, "since": since, "worker_id": worker_id or ""}
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for kind, bucket, jobs in connection.exec_driver_sql(_READ_TIMES, parameters):
        found[kind][bucket] = jobs
    return found
