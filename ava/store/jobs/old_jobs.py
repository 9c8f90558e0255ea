"""Final jobs past retention, and their log lines, the oldest first. Both statements are bounded by rows."""

from __future__ import annotations

from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement

__all__ = ["delete"]

_OLD = """
    SELECT id FROM jobs WHERE completed_at < now() - %(days)s * interval '1 day' ORDER BY completed_at LIMIT %(limit)s
"""

# The LIMIT inside makes PostgreSQL read the lines job by job through the primary key, and stop at the outer one.
_DELETE_LINES = Statement(f"""
WITH old AS ({_OLD}), lines AS (
    SELECT l.job_id, l.seq FROM old CROSS JOIN LATERAL (
        SELECT job_id, seq FROM job_logs WHERE job_id = old.id ORDER BY seq LIMIT %(limit)s
    ) AS l LIMIT %(limit)s
)
DELETE FROM job_logs AS d USING lines WHERE d.job_id = lines.job_id AND d.seq = lines.seq
""")

# A job's row goes after its last line. No line is added to a final job, because only the holder of a run writes lines.
_DELETE_JOBS = Statement(f"""
WITH gone AS (
    DELETE FROM jobs WHERE id = ANY (ARRAY(
        SELECT j.id FROM ({_OLD}) AS old JOIN jobs AS j ON j.id = old.id
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


def delete(connection: Connection, *, retention_days: float, limit: int) -> int:
    """Delete at most `limit` log lines of the oldest final jobs past retention, and at most as many jobs without lines.

    Returns the number of lines and jobs.
    """
    parameters = {"days": retention_days, "limit": limit}
    lines = connection.exec_driver_sql(_DELETE_LINES, parameters).rowcount
    return lines + int(connection.exec_driver_sql(_DELETE_JOBS, parameters).scalar_one())
