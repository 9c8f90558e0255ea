"""Delete final jobs past retention with their log lines, oldest first. Every statement is bounded by rows.

Lines of jobs with the longest retention are dropped with their day's partition once its last job is deleted
(`ava.store.partitions`). Other jobs' lines, and all lines in the default partition, which is never dropped, are deleted
row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.engine.transactions import one_transaction
from ava.store.fleet import workers

#: Tenant and UUID.
OldJob = tuple[str, str]
#: `completed_at` of a job as a string, and its UUID.
Position = tuple[str, str]
FIRST_POSITION: Position = ("-infinity", "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, kw_only=True)
class JobRetention:
    """Retention of final jobs in days, over all current settings."""

    #: For jobs without a retention of their worker or tenant.
    default: float
    shortest: float
    longest: float


_JOB_RETENTION = Statement("""
WITH own AS (
    SELECT retention_days AS days FROM workers WHERE retention_days IS NOT NULL
    UNION ALL SELECT retention_days FROM tenant_limits WHERE retention_days IS NOT NULL
)
SELECT least(%(default)s, min(days)), greatest(%(default)s, max(days)) FROM own
""")


def job_retention(connection: Connection, *, default: float) -> JobRetention:
    """Return the shortest and longest retention, including the installation's `default`."""
    shortest, longest = connection.exec_driver_sql(_JOB_RETENTION, {"default": default}).one()
    return JobRetention(default=default, shortest=shortest, longest=longest)


@dataclass(frozen=True, kw_only=True)
class Scanned:
    #: Number of jobs that were checked.
    count: int
    #: Past a retention that is shorter than the longest.
    old: Sequence[OldJob]
    #: Past the longest retention: their lines stay in their partition.
    oldest: Sequence[OldJob]
    #: The position of the last checked job.
    position: Position


def _is_unread(row: str) -> str:
    """Return the condition that no unfinished job reads the output of the job `row`, in its graph or a retried one."""
    return f"""({row}.tree_id IS NULL OR NOT EXISTS (
            SELECT FROM jobs AS u WHERE u.tenant_id = {row}.tenant_id AND u.tree_id = {row}.tree_id
                AND u.status IN ('queued', 'running')
        ) AND NOT EXISTS (
            SELECT FROM job_edges AS e JOIN jobs AS f ON f.tenant_id = e.tenant_id AND f.id = e.job_id
            WHERE e.tenant_id = {row}.tenant_id AND e.after_id = {row}.id AND f.status IN ('queued', 'running')))"""


# The first condition on `completed_at` is for the index, the second for the position among jobs that ended together.
_SCAN = Statement(f"""
SELECT k.tenant_id, k.id::text, k.completed_at::text, coalesce(w.retention_days, t.retention_days, %(default)s) AS days,
    k.completed_at < now() - coalesce(w.retention_days, t.retention_days, %(default)s) * interval '1 day'
        AND {_is_unread("k")} AS is_old
FROM (
    SELECT id, completed_at, tenant_id, worker_id, tree_id FROM jobs
    WHERE completed_at >= %(at)s::timestamptz AND (completed_at, id) > (%(at)s::timestamptz, %(id)s::uuid)
        AND completed_at < now() - %(shortest)s * interval '1 day'
    ORDER BY completed_at, id LIMIT %(limit)s
) AS k LEFT JOIN workers AS w ON {workers.of("k")} LEFT JOIN tenant_limits AS t ON t.tenant_id = k.tenant_id
ORDER BY k.completed_at, k.id
""")


def scan(connection: Connection, retention: JobRetention, *, after: Position, limit: int) -> Scanned:
    """Read the next jobs behind a position that are past the shortest retention, oldest first."""
    parameters = {
        "default": retention.default,
        "shortest": retention.shortest,
        "at": after[0],
        "id": after[1],
        "limit": limit,
    }
    found = connection.exec_driver_sql(_SCAN, parameters).all()
    return Scanned(
        count=len(found),
        old=[(row.tenant_id, row.id) for row in found if row.is_old and row.days < retention.longest],
        oldest=[(row.tenant_id, row.id) for row in found if row.is_old and row.days >= retention.longest],
        position=(found[-1][2], found[-1][1]) if found else after,
    )


def _delete_lines(table: str) -> Statement:
    """Return the statement that deletes lines from `table`: all partitions, or one.

    The inner LIMIT makes PostgreSQL read the lines job by job through the primary key and stop at the outer one. The
    first and last id restrict the partitions to plan for.
    """
    return Statement(f"""
WITH lines AS (
    SELECT l.* FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS old (tenant_id, id) CROSS JOIN LATERAL (
        SELECT tenant_id, job_id, seq FROM {table}
        WHERE tenant_id = old.tenant_id AND job_id = old.id AND job_id BETWEEN %(first)s::uuid AND %(last)s::uuid
        ORDER BY seq LIMIT %(limit)s
    ) AS l LIMIT %(limit)s
)
DELETE FROM {table} AS d USING lines
WHERE d.tenant_id = lines.tenant_id AND d.job_id = lines.job_id AND d.seq = lines.seq
    AND d.job_id BETWEEN %(first)s::uuid AND %(last)s::uuid
""")


_DELETE_LINES, _DELETE_LINES_OF_REST = _delete_lines("job_logs"), _delete_lines("job_logs_rest")


def delete_lines(connection: Connection, scanned: Scanned, *, limit: int) -> int:
    """Delete at most `limit` lines row by row, first jobs first. Returns their number."""
    count = 0
    for statement, jobs in ((_DELETE_LINES, scanned.old), (_DELETE_LINES_OF_REST, scanned.oldest)):
        if jobs and count < limit:
            parameters = _parameters(jobs) | {"limit": limit - count}
            count += connection.exec_driver_sql(statement, parameters).rowcount
    return count


# A separate statement before the delete: a graph may be retried after `scan`, and the retry locks the jobs that it
# reads (`keep`) until its transaction ends. So either the delete sees the retry, or the retry waits and then finds the
# jobs deleted.
_LOCK = Statement("""
SELECT j.tenant_id, j.id::text FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS old (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = old.tenant_id AND j.id = old.id
FOR UPDATE OF j SKIP LOCKED
""")


def _delete(table: str) -> Statement:
    """Return the statement that deletes locked jobs without lines in `table`: all partitions, or one.

    Final jobs get no new lines, because only the owner of a run writes lines.
    """
    return Statement(f"""
WITH gone AS (
    DELETE FROM jobs AS j USING unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS old (tenant_id, id)
    WHERE j.tenant_id = old.tenant_id AND j.id = old.id
        AND (SELECT l.seq FROM {table} AS l
             WHERE l.tenant_id = old.tenant_id AND l.job_id = old.id
                 AND l.job_id BETWEEN %(first)s::uuid AND %(last)s::uuid LIMIT 1) IS NULL
        AND {_is_unread("j")}
    RETURNING j.id, j.tenant_id, j.tags
), untagged AS (
    DELETE FROM job_tags AS t USING (
        SELECT gone.tenant_id, tag.key, tag.value, gone.id FROM gone CROSS JOIN LATERAL json_each_text(gone.tags) AS tag
    ) AS g WHERE t.tenant_id = g.tenant_id AND t.key = g.key AND t.value = g.value AND t.job_id = g.id
), forgotten AS (
    DELETE FROM job_journal AS k USING gone WHERE k.tenant_id = gone.tenant_id AND k.job_id = gone.id
), decided AS (
    DELETE FROM approvals AS a USING gone WHERE a.tenant_id = gone.tenant_id AND a.job_id = gone.id
), waited AS (
    DELETE FROM job_waits AS w USING gone WHERE w.tenant_id = gone.tenant_id AND w.job_id = gone.id
), ran AS (
    DELETE FROM job_runs AS r USING gone WHERE r.tenant_id = gone.tenant_id AND r.job_id = gone.id
), left_behind AS (
    DELETE FROM job_edges AS e USING gone WHERE e.tenant_id = gone.tenant_id AND e.job_id = gone.id
)
SELECT count(*) FROM gone
""")


_DELETE, _DELETE_OLDEST = _delete("job_logs"), _delete("job_logs_rest")


def delete(connection: Connection, scanned: Scanned) -> int:
    """Delete the jobs that have no lines left outside their partition. Returns their number."""
    count = 0
    for statement, jobs in ((_DELETE, scanned.old), (_DELETE_OLDEST, scanned.oldest)):
        if jobs:
            with one_transaction(connection):
                found = connection.exec_driver_sql(_LOCK, _parameters(jobs))
                if locked := [(tenant_id, uuid) for tenant_id, uuid in found]:
                    count += int(connection.exec_driver_sql(statement, _parameters(locked)).scalar_one())
    return count


_KEEP = Statement("""
SELECT j.id::text FROM unnest(%(ids)s::uuid[]) AS c (id) JOIN jobs AS j ON j.tenant_id = %(tenant_id)s AND j.id = c.id
ORDER BY j.id FOR KEY SHARE OF j
""")


def keep(connection: Connection, *, tenant_id: str, uuids: Sequence[str]) -> set[str]:
    """Protect jobs from deletion until the transaction ends. Returns the UUIDs of the existing ones."""
    return set(connection.exec_driver_sql(_KEEP, {"tenant_id": tenant_id, "ids": list(uuids)}).scalars())


def _parameters(jobs: Sequence[OldJob]) -> dict[str, object]:
    uuids = [uuid for _, uuid in jobs]
    return {"tenants": [tenant_id for tenant_id, _ in jobs], "ids": uuids, "first": min(uuids), "last": max(uuids)}
