"""Declared graphs: an entry and its followers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.jobs.job import Job
from ava.domain.jobs.waits import WaitCondition
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFollower:
    """An entry that did not complete, and its predecessors."""

    job: Job
    #: UUIDs of the jobs that it follows, in order.
    after: Sequence[str]
    condition: WaitCondition | None
    #: Its input with references to outputs; None without references.
    template_json: str | None


# The entry itself is first: its followers were created later, or behind it in its bulk.
_UNFINISHED_FOLLOWERS = Statement(f"""
WITH RECURSIVE found AS (
    SELECT j.tenant_id, j.id FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
    UNION
    SELECT f.tenant_id, f.id
    FROM found JOIN job_edges AS e ON e.tenant_id = found.tenant_id AND e.after_id = found.id AND e.run_no = 0
    JOIN jobs AS f ON f.tenant_id = e.tenant_id AND f.id = e.job_id
)
SELECT {rows.JOB_COLUMNS},
    ARRAY(SELECT e.after_id::text FROM job_edges AS e
          WHERE e.tenant_id = j.tenant_id AND e.job_id = j.id AND e.run_no = 0 ORDER BY e.n),
    w.condition, w.template::text
FROM found JOIN jobs AS j ON j.tenant_id = found.tenant_id AND j.id = found.id
LEFT JOIN job_waits AS w ON w.tenant_id = j.tenant_id AND w.job_id = j.id AND w.run_no = 0
WHERE j.status <> 'completed' ORDER BY j.id <> %(id)s::uuid, j.id
""")


def unfinished_followers(connection: Connection, job: Job) -> list[GraphFollower]:
    """Return an entry and its direct and indirect followers, except completed ones."""
    found = connection.exec_driver_sql(_UNFINISHED_FOLLOWERS, rows.job_parameters(job.key))
    return [
        GraphFollower(
            job=rows.job(row),
            after=row[-3],
            condition=None if row[-2] is None else WaitCondition(row[-2]),
            template_json=row[-1],
        )
        for row in found
    ]
