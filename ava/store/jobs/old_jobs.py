"""Final jobs past retention, and their log lines, the oldest first. Every statement is bounded by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["FIRST_PLACE", "DaysKept", "Looked", "Place", "days_kept", "delete", "delete_lines", "look"]

#: The end of a job as text, and its id.
Place = tuple[str, str]
#: The place before every job.
FIRST_PLACE: Place = ("-infinity", "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, kw_only=True)
class DaysKept:
    """How long final jobs are kept, by everything that is set at the moment."""

    #: Of a job whose worker and tenant have no retention of their own.
    default: float
    shortest: float
    longest: float


_DAYS_KEPT = Statement("""
WITH own AS (
    SELECT retention_days AS days FROM workers WHERE retention_days IS NOT NULL
    UNION ALL SELECT retention_days FROM tenant_limits WHERE retention_days IS NOT NULL
)
SELECT least(%(default)s, min(days)), greatest(%(default)s, max(days)) FROM own
""")


def days_kept(connection: Connection, *, default: float) -> DaysKept:
    """Returns the shortest and the longest retention beside that of the installation."""
    shortest, longest = connection.exec_driver_sql(_DAYS_KEPT, {"default": default}).one()
    return DaysKept(default=default, shortest=shortest, longest=longest)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """The jobs of one look."""

    #: How many were looked at.
    count: int
    #: The ids of those past their retention.
    old: Sequence[str]
    #: That of the last one.
    place: Place


# The first condition on the end is for the index, the second one for the place among jobs that ended together.
_LOOK = Statement("""
SELECT k.id::text, k.completed_at::text,
    k.completed_at < now() - coalesce(w.retention_days, t.retention_days, %(default)s) * interval '1 day'
FROM (
    SELECT id, completed_at, tenant_id, worker_id FROM jobs
    WHERE completed_at >= %(at)s::timestamptz AND (completed_at, id) > (%(at)s::timestamptz, %(id)s::uuid)
        AND completed_at < now() - %(shortest)s * interval '1 day'
    ORDER BY completed_at, id LIMIT %(limit)s
) AS k LEFT JOIN workers AS w ON w.id = k.worker_id LEFT JOIN tenant_limits AS t ON t.tenant_id = k.tenant_id
ORDER BY k.completed_at, k.id
""")


def look(connection: Connection, kept: DaysKept, *, after: Place, limit: int) -> Looked:
    """Look at the next jobs after a place that are past the shortest retention, the oldest first."""
    parameters = {"default": kept.default, "shortest": kept.shortest, "at": after[0], "id": after[1], "limit": limit}
    found = connection.exec_driver_sql(_LOOK, parameters).all()
    return Looked(
        count=len(found),
        old=[job_id for job_id, _, is_old in found if is_old],
        place=(found[-1][1], found[-1][0]) if found else after,
    )


# The LIMIT inside makes PostgreSQL read the lines job by job through the primary key, and stop at the outer one.
_DELETE_LINES = Statement("""
WITH lines AS (
    SELECT l.job_id, l.seq FROM unnest(%(ids)s::uuid[]) AS old (id) CROSS JOIN LATERAL (
        SELECT job_id, seq FROM job_logs WHERE job_id = old.id ORDER BY seq LIMIT %(limit)s
    ) AS l LIMIT %(limit)s
)
DELETE FROM job_logs AS d USING lines WHERE d.job_id = lines.job_id AND d.seq = lines.seq
""")


def delete_lines(connection: Connection, job_ids: Sequence[str], *, limit: int) -> int:
    """Delete at most `limit` lines of the jobs, those of the first jobs first. Returns the number of lines."""
    if not job_ids:
        return 0
    return connection.exec_driver_sql(_DELETE_LINES, {"ids": list(job_ids), "limit": limit}).rowcount


# A job's row goes after its last line. No line is added to a final job, because only the holder of a run writes lines.
_DELETE = Statement("""
WITH gone AS (
    DELETE FROM jobs WHERE id = ANY (ARRAY(
        SELECT j.id FROM unnest(%(ids)s::uuid[]) AS old (id) JOIN jobs AS j ON j.id = old.id
        WHERE (SELECT l.seq FROM job_logs AS l WHERE l.job_id = old.id LIMIT 1) IS NULL
        FOR UPDATE OF j SKIP LOCKED
    )) RETURNING id, tenant_id, tags
), untagged AS (
    DELETE FROM job_tags AS t USING (
        SELECT gone.tenant_id, tag.key, tag.value, gone.id FROM gone CROSS JOIN LATERAL json_each_text(gone.tags) AS tag
    ) AS g WHERE t.tenant_id = g.tenant_id AND t.key = g.key AND t.value = g.value AND t.job_id = g.id
)
SELECT count(*) FROM gone
""")


def delete(connection: Connection, job_ids: Sequence[str]) -> int:
    """Delete those of the jobs that have no lines. Returns the number of jobs."""
    if not job_ids:
        return 0
    return int(connection.exec_driver_sql(_DELETE, {"ids": list(job_ids)}).scalar_one())
