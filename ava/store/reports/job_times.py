"""Histograms of waiting and running times of ended jobs, by tenant, worker and day: count and read.

Rows with worker '' cover all workers of the tenant. A histogram is one row with two arrays, so that reading 90 days
visits 180 rows, not 180 times the number of buckets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from ava.domain.analytics import BUCKET_GROWTH, MAX_DAYS
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

#: Adds the jobs of `ended` to the histograms.
STORE = f"""
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

_DELETE_OLD = Statement("""
DELETE FROM job_time_histograms WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM job_time_histograms WHERE day < now() - %(days)s * interval '1 day' LIMIT %(limit)s))
""")


def delete_old(connection: Connection, *, limit: int) -> int:
    """Delete histograms older than any period. Returns their number."""
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
    """Return the number of jobs per bucket of `wait` and `run` since a midnight, for one worker or all."""
    parameters = {"tenant_id": tenant_id, "since": since, "worker_id": worker_id or ""}
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for kind, bucket, jobs in connection.exec_driver_sql(_READ, parameters):
        found[kind][bucket] = jobs
    return found
