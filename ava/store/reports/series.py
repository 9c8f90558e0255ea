"""Write the series of charts: two statements per round, from counts that exist and from bounded ranges of indexes.

A round adds the ended jobs of the minutes that were counted since the last round, samples the running and waiting jobs,
notes deploys and pauses, sums up the hours that are complete, and deletes old rows. It repeats the last minute, because
a job may be counted shortly after the minute of its end; each row is replaced, so repetition changes nothing.
The rows of all tenants together, with the subject '', also tell which minutes are counted, sampled and summed up.
"""

from __future__ import annotations

from ava.domain.series import HOURS_KEPT, MINUTES_KEPT
from ava.store.engine.database import Connection
from ava.store.engine.statement import IN_ORDER, WAITING_WINDOWS, Statement
from ava.store.fleet.nodes import IS_LIVE
from ava.store.jobs.transitions.rules import IS_PARKED, IS_WAITING
from ava.store.reports.statistics import BOUNDS

#: Groups of waiting jobs (queue, priority, tenant) that a sample counts in each index, and jobs counted per group.
_MAX_GROUPS = 2_000
_MAX_COUNTED = 20_000
#: Published jobs per queue and priority; no window is larger, unless `AVA_WINDOW` is.
_MAX_PUBLISHED = 2_000
#: Failed jobs of a tenant and minute with a known kind of error. The kinds of more failures are in proportion.
_MAX_FAILURES = 1_000
_MAX_KIND = 200
_MAX_DELETED = 100_000
_BUCKETS = range(len(BOUNDS) + 1)

#: The sums of an array of counts by bucket, element by element.
SUMS = {
    name: f"""CASE WHEN count(s.{name}) > 0
        THEN ARRAY[{", ".join(f"sum(s.{name}[{n + 1}])" for n in _BUCKETS)}]::integer[] END"""
    for name in ("wait_jobs", "run_jobs")
}


def by_bucket(column: str) -> str:
    """Return, in SQL, the counts of rows `c` of `job_minutes` by a bucket."""
    counts = (f"coalesce(sum(c.jobs) FILTER (WHERE c.{column} = {n}), 0)" for n in _BUCKETS)
    return f"ARRAY[{', '.join(counts)}]::integer[]"


def latest(span: str, column: str) -> str:
    """Return, in SQL, the time of the latest row of all tenants together that has a value in a column."""
    return f"""(SELECT s.starts_at FROM series AS s WHERE s.tenant_id = '*' AND s.span = '{span}'
        AND s.kind = 'worker' AND s.subject = '' AND s.part = '' AND s.{column} IS NOT NULL
        ORDER BY s.starts_at DESC LIMIT 1)"""


_IN_BACKLOG = "j.status = 'queued' AND j.waits_for IS NULL AND j.published_at IS NULL"
_PARKED_GROUP = "j.waits_for, j.queue, j.priority, j.worker_id, j.tenant_id"

#: From when on the minutes and the hours of the round are.
_PROGRESS = f"""progress AS MATERIALIZED (
    SELECT m.counted_from, least(date_trunc('minute', p.counted_until), date_trunc('minute', now())) AS counted_to,
        greatest({latest("hour", "completed")} + interval '1 hour', date_trunc('hour', (
            SELECT s.starts_at FROM series AS s WHERE s.span = 'minute' ORDER BY s.span, s.starts_at LIMIT 1)))
            AS summed_from,
        date_trunc('hour', m.counted_from) AS summed_to
    FROM count_progress AS p CROSS JOIN LATERAL (
        SELECT coalesce({latest("minute", "completed")} - interval '1 minute',
            date_trunc('minute', p.counted_until) - interval '1 day') AS counted_from) AS m
)"""
#: Store the rows of `found`.
_STORE = """
INSERT INTO series AS t (tenant_id, span, kind, subject, part, starts_at, ends_at, completed, failed, cancelled,
    wait_jobs, run_jobs, jobs, max_jobs)
SELECT r.tenant_id, r.span, r.kind, r.subject, r.part, r.starts_at, r.ends_at, r.completed, r.failed, r.cancelled,
    r.wait_jobs, r.run_jobs, r.jobs, r.max_jobs
FROM (
    SELECT f.*, row_number() OVER (
        PARTITION BY f.tenant_id, f.span, f.starts_at
        ORDER BY f.kind <> 'worker' OR f.subject <> '', greatest(f.completed + f.failed + f.cancelled, f.jobs) DESC,
            f.kind, f.subject, f.part) AS rank
    FROM found AS f
) AS r WHERE r.rank <= %(max_rows)s
ON CONFLICT (tenant_id, span, kind, subject, part, starts_at) DO UPDATE SET
    ends_at = coalesce(excluded.ends_at, t.ends_at), completed = coalesce(excluded.completed, t.completed),
    failed = coalesce(excluded.failed, t.failed), cancelled = coalesce(excluded.cancelled, t.cancelled),
    wait_jobs = coalesce(excluded.wait_jobs, t.wait_jobs), run_jobs = coalesce(excluded.run_jobs, t.run_jobs),
    jobs = coalesce(excluded.jobs, t.jobs), max_jobs = coalesce(excluded.max_jobs, t.max_jobs)
WHERE excluded.completed IS NULL OR (t.completed, t.failed, t.cancelled)
    IS DISTINCT FROM (excluded.completed, excluded.failed, excluded.cancelled)
"""
# Groups of waiting jobs are found by loose index scans, as in `ava.store.reports.metrics`. Of pull queues only the kind
# is named. The row of a limit per value of an input has no limit, because the limit is not of the whole worker.
_WRITE_MINUTES = Statement(f"""{IN_ORDER}
WITH RECURSIVE {_PROGRESS}, ended AS MATERIALIZED (
    SELECT coalesce(c.tenant_id, '*') AS tenant_id, coalesce(c.worker_id, '') AS subject, c.minute AS starts_at,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'completed'), 0) AS completed,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'failed'), 0) AS failed,
        coalesce(sum(c.jobs) FILTER (WHERE c.status = 'cancelled'), 0) AS cancelled,
        {by_bucket("wait_bucket")} AS wait_jobs, {by_bucket("run_bucket")} AS run_jobs
    FROM (
        SELECT m.tenant_id, m.minute, m.worker_id, m.status, m.wait_bucket, m.run_bucket, m.jobs
        FROM progress AS p JOIN job_minutes AS m ON m.minute >= p.counted_from AND m.minute < p.counted_to
        UNION ALL
        SELECT NULL, p.counted_to - interval '1 minute', NULL, 'completed', -1, -1, 0 FROM progress AS p
        WHERE p.counted_from < p.counted_to
    ) AS c
    GROUP BY GROUPING SETS ((c.minute, c.tenant_id, c.worker_id), (c.minute, c.tenant_id), (c.minute, c.worker_id),
        (c.minute))
    HAVING (c.tenant_id IS NOT NULL OR grouping(c.tenant_id) = 1)
        AND (c.worker_id IS NOT NULL OR grouping(c.worker_id) = 1)
), running AS (
    SELECT coalesce(j.tenant_id, '*') AS tenant_id, coalesce(j.worker_id, '') AS subject, count(*) AS jobs
    FROM jobs AS j WHERE j.status = 'running'
    GROUP BY GROUPING SETS ((j.tenant_id, j.worker_id), (j.tenant_id), (j.worker_id), ())
), limited AS (
    SELECT r.tenant_id, r.subject, r.jobs, CASE
        WHEN r.subject <> '' THEN (
            SELECT CASE WHEN w.max_running_per IS NULL OR w.max_running_per = 'tenant' AND r.tenant_id <> '*'
                THEN w.max_running END FROM workers AS w
            WHERE w.tenant_id IN (r.tenant_id, '*') AND w.id = r.subject ORDER BY w.tenant_id DESC LIMIT 1)
        WHEN r.tenant_id = '*' THEN (SELECT sum(n.processes) FROM nodes AS n WHERE {IS_LIVE} AND n.paused_at IS NULL)
        ELSE coalesce((SELECT l.max_running FROM tenant_limits AS l WHERE l.tenant_id = r.tenant_id),
            %(max_running)s::bigint) END AS max_jobs
    FROM running AS r
), {WAITING_WINDOWS}, backlog_groups AS (
    (SELECT j.queue, j.priority, j.tenant_id, 1 AS number FROM jobs AS j WHERE {_IN_BACKLOG}
     ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1)
    UNION ALL
    SELECT next.*, g.number + 1 FROM backlog_groups AS g CROSS JOIN LATERAL (
        SELECT j.queue, j.priority, j.tenant_id FROM jobs AS j
        WHERE {_IN_BACKLOG} AND (j.queue, j.priority, j.tenant_id) > (g.queue, g.priority, g.tenant_id)
        ORDER BY j.queue, j.priority, j.tenant_id LIMIT 1) AS next
    WHERE g.number < {_MAX_GROUPS}
), parked_groups AS (
    (SELECT {_PARKED_GROUP}, 1 AS number FROM jobs AS j WHERE {IS_PARKED} ORDER BY {_PARKED_GROUP} LIMIT 1)
    UNION ALL
    SELECT next.*, g.number + 1 FROM parked_groups AS g CROSS JOIN LATERAL (
        SELECT {_PARKED_GROUP} FROM jobs AS j
        WHERE {IS_PARKED} AND ({_PARKED_GROUP}) > (g.waits_for, g.queue, g.priority, g.worker_id, g.tenant_id)
        ORDER BY {_PARKED_GROUP} LIMIT 1) AS next
    WHERE g.number < {_MAX_GROUPS}
), permit_tenants AS (
    (SELECT j.tenant_id, 1 AS number FROM jobs AS j WHERE {IS_WAITING} AND j.waits_for = 'permit'
     ORDER BY j.waits_for, j.tenant_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, g.number + 1 FROM permit_tenants AS g CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j
        WHERE {IS_WAITING} AND j.waits_for = 'permit' AND j.tenant_id > g.tenant_id
        ORDER BY j.waits_for, j.tenant_id LIMIT 1) AS next
    WHERE g.number < {_MAX_GROUPS}
), queued AS (
    SELECT g.tenant_id, g.queue, g.priority, (SELECT count(*) FROM (
        SELECT FROM jobs AS j WHERE {_IN_BACKLOG} AND j.queue = g.queue AND j.priority = g.priority
            AND j.tenant_id = g.tenant_id LIMIT {_MAX_COUNTED}) AS c) AS jobs
    FROM backlog_groups AS g
    UNION ALL
    SELECT g.tenant_id, g.queue, g.priority, (SELECT count(*) FROM (
        SELECT FROM jobs AS j WHERE {IS_PARKED} AND j.waits_for = g.waits_for AND j.queue = g.queue
            AND j.priority = g.priority AND j.worker_id = g.worker_id AND j.tenant_id = g.tenant_id
        LIMIT {_MAX_COUNTED}) AS c)
    FROM parked_groups AS g
    UNION ALL
    SELECT published.tenant_id, w.queue, w.priority, 1 FROM waiting AS w CROSS JOIN LATERAL (
        SELECT j.tenant_id FROM jobs AS j WHERE j.queue = w.queue AND j.priority = w.priority AND j.status = 'queued'
            AND j.waits_for IS NULL AND j.published_at IS NOT NULL
        ORDER BY j.queue, j.priority, j.published_at, j.id LIMIT {_MAX_PUBLISHED}) AS published
    UNION ALL
    SELECT g.tenant_id, permit.queue, permit.priority, 1 FROM permit_tenants AS g CROSS JOIN LATERAL (
        SELECT j.queue, j.priority FROM jobs AS j
        WHERE {IS_WAITING} AND j.waits_for = 'permit' AND j.tenant_id = g.tenant_id
        ORDER BY j.waits_for, j.tenant_id, j.id LIMIT {_MAX_COUNTED}) AS permit
), backlog AS (
    SELECT coalesce(q.tenant_id, '*') AS tenant_id, q.queue, q.priority, sum(q.jobs) AS jobs
    FROM (SELECT tenant_id, split_part(queue, ':', 1) AS queue, priority, jobs FROM queued) AS q
    GROUP BY GROUPING SETS ((q.tenant_id, q.queue, q.priority), (q.queue, q.priority))
), failures AS (
    SELECT coalesce(f.tenant_id, '*') AS tenant_id, coalesce(f.worker_id, '') AS subject, f.starts_at, f.kind,
        round(sum(f.jobs)) AS jobs
    FROM (
        SELECT e.tenant_id, failed.worker_id, e.starts_at, coalesce(left(g.kind, {_MAX_KIND}), 'unknown') AS kind,
            e.failed / count(*) OVER (PARTITION BY e.tenant_id, e.starts_at) AS jobs
        FROM ended AS e CROSS JOIN LATERAL (
            SELECT j.worker_id, j.error_id FROM jobs AS j WHERE j.tenant_id = e.tenant_id AND j.status = 'failed'
                AND j.completed_at >= e.starts_at AND j.completed_at < e.starts_at + interval '1 minute'
            ORDER BY j.completed_at LIMIT {_MAX_FAILURES}) AS failed
        LEFT JOIN error_groups AS g ON g.tenant_id = e.tenant_id AND g.id = failed.error_id
        WHERE e.subject = '' AND e.tenant_id <> '*' AND e.failed > 0
    ) AS f
    GROUP BY GROUPING SETS ((f.starts_at, f.kind, f.tenant_id, f.worker_id), (f.starts_at, f.kind, f.tenant_id),
        (f.starts_at, f.kind))
), found AS (
    SELECT e.tenant_id, 'minute' AS span, 'worker' AS kind, e.subject, '' AS part, e.starts_at,
        NULL::timestamptz AS ends_at, e.completed, e.failed, e.cancelled, e.wait_jobs, e.run_jobs,
        NULL::bigint AS jobs, NULL::bigint AS max_jobs
    FROM ended AS e
    UNION ALL
    SELECT r.tenant_id, 'minute', 'worker', r.subject, '', date_trunc('minute', now()), NULL, NULL, NULL, NULL, NULL,
        NULL, r.jobs, r.max_jobs
    FROM limited AS r
    UNION ALL
    SELECT b.tenant_id, 'minute', 'backlog', b.queue, b.priority::text, date_trunc('minute', now()), NULL, NULL, NULL,
        NULL, NULL, NULL, b.jobs, NULL
    FROM backlog AS b
    UNION ALL
    SELECT f.tenant_id, 'minute', 'failures', f.subject, f.kind, f.starts_at, NULL, NULL, NULL, NULL, NULL, NULL,
        f.jobs, NULL
    FROM failures AS f
)
{_STORE}""")
_WRITE_HOURS = Statement(f"""{IN_ORDER}
WITH {_PROGRESS}, hours AS (
    SELECT s.tenant_id, s.kind, s.subject, s.part, date_trunc('hour', s.starts_at) AS starts_at,
        sum(s.completed) AS completed, sum(s.failed) AS failed, sum(s.cancelled) AS cancelled,
        {SUMS["wait_jobs"]} AS wait_jobs, {SUMS["run_jobs"]} AS run_jobs,
        CASE s.kind WHEN 'failures' THEN sum(s.jobs) ELSE max(s.jobs) END AS jobs, max(s.max_jobs) AS max_jobs
    FROM progress AS p JOIN series AS s ON s.span = 'minute' AND s.starts_at >= p.summed_from
        AND s.starts_at < p.summed_to
    GROUP BY 1, 2, 3, 4, 5
), deploys AS (
    SELECT n.code_version, date_trunc('minute', n.started_at) AS starts_at
    FROM progress AS p JOIN nodes AS n ON n.started_at > p.counted_from - interval '10 minutes'
    LEFT JOIN LATERAL (
        SELECT b.code_version FROM nodes AS b WHERE b.started_at < n.started_at AND b.workers && n.workers
        ORDER BY b.started_at DESC LIMIT 1) AS before ON true
    WHERE n.code_version IS DISTINCT FROM coalesce(before.code_version, (
        SELECT s.subject FROM series AS s WHERE s.tenant_id = '*' AND s.span = 'hour' AND s.kind = 'deploy'
        ORDER BY s.starts_at DESC LIMIT 1))
    GROUP BY 1, 2
), old AS (
    DELETE FROM series WHERE ctid = ANY(ARRAY(
        SELECT s.ctid FROM unnest(ARRAY['minute', 'hour'], ARRAY[%(minutes)s, %(hours)s]::interval[]) AS k (span, kept)
        CROSS JOIN LATERAL (
            SELECT d.ctid FROM series AS d WHERE d.span = k.span AND d.starts_at < now() - k.kept
            ORDER BY d.span, d.starts_at LIMIT {_MAX_DELETED}) AS s))
), found AS (
    SELECT h.tenant_id, 'hour' AS span, h.kind, h.subject, h.part, h.starts_at,
        NULL::timestamptz AS ends_at, h.completed, h.failed, h.cancelled,
        h.wait_jobs, h.run_jobs, h.jobs, h.max_jobs
    FROM hours AS h
    UNION ALL
    SELECT '*', 'hour', 'deploy', d.code_version, '', d.starts_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM deploys AS d WHERE d.code_version IS NOT NULL
    UNION ALL
    SELECT w.tenant_id, 'hour', 'pause', w.worker_id, 'worker', w.paused_at, now(), NULL, NULL, NULL, NULL, NULL,
        NULL, NULL
    FROM worker_settings AS w WHERE w.paused_at IS NOT NULL
    UNION ALL
    SELECT '*', 'hour', 'pause', q.queue, 'queue', q.paused_at, now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM queues AS q WHERE q.paused_at IS NOT NULL
)
{_STORE}""")


def write(connection: Connection, *, max_running: int | None, dead_after_seconds: float, max_rows: int) -> int:
    """Write the rows of a round. Returns their number.

    `max_running`: the limit of tenants without their own. `max_rows`: per tenant and minute or hour, the busiest first.
    """
    parameters = {
        "max_running": max_running,
        "dead_after": dead_after_seconds,
        "max_rows": max_rows,
        "minutes": f"{MINUTES_KEPT.days} days",
        "hours": f"{HOURS_KEPT.days} days",
    }
    # The hours first: they end where the minutes were counted before this round.
    return sum(connection.exec_driver_sql(each, parameters).rowcount for each in (_WRITE_HOURS, _WRITE_MINUTES))
