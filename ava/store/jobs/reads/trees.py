"""Read the jobs of a tree with their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs.graphs import MAX_TREE_WAITS, Tree, TreeEdge, TreeJob, TreeWait
from ava.domain.jobs.job import Job
from ava.domain.jobs.waits import WaitCondition
from ava.domain.limits.table import TREE_JOBS
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.reads.journals import ENDED_AT

# The root and the maximum of descendants: only the bulk of a root may be larger.
_JOBS = Statement(f"""
SELECT {rows.LIGHT_COLUMNS}, j.is_detached IS TRUE,
    ARRAY(SELECT w.began_at FROM job_waits AS w WHERE w.tenant_id = j.tenant_id AND w.job_id = j.id
          ORDER BY w.run_no DESC LIMIT {MAX_TREE_WAITS}),
    ARRAY(SELECT {ENDED_AT} FROM job_waits AS w WHERE w.tenant_id = j.tenant_id AND w.job_id = j.id
          ORDER BY w.run_no DESC LIMIT {MAX_TREE_WAITS})
FROM jobs AS j {rows.SIZES}
WHERE j.tenant_id = %(tenant_id)s AND (j.tree_id = %(tree_id)s::uuid OR j.id = %(tree_id)s::uuid)
ORDER BY j.id LIMIT {TREE_JOBS.value + 1}
""")
_EDGES = Statement(f"""
SELECT e.after_id::text, e.job_id::text, w.condition
FROM jobs AS j JOIN job_edges AS e ON e.tenant_id = j.tenant_id AND e.job_id = j.id AND e.run_no = 0
JOIN job_waits AS w ON w.tenant_id = e.tenant_id AND w.job_id = e.job_id AND w.run_no = 0
WHERE j.tenant_id = %(tenant_id)s AND j.tree_id = %(tree_id)s::uuid
ORDER BY e.job_id, e.n LIMIT {2 * TREE_JOBS.value}
""")


def read(connection: Connection, job: Job) -> Tree:
    """Return the tree of a job; just the job itself if it belongs to no tree."""
    tree_id = job.tree_id or job.id
    parameters = {"tenant_id": job.tenant_id, "tree_id": rows.job_uuid(tree_id), "large_input": -1, "large_output": -1}
    found = [
        TreeJob.of(
            rows.light_job(row[:-3]),
            is_detached=row[-3],
            waits=[
                TreeWait(began_at=began, ended_at=ended)
                for began, ended in zip(row[-2][::-1], row[-1][::-1], strict=True)
            ][::-1],
        )
        for row in connection.exec_driver_sql(_JOBS, parameters)
    ]
    declared = [
        TreeEdge(from_id=ids.encode("job", after), to_id=ids.encode("job", uuid), kind=condition)
        for after, uuid, condition in connection.exec_driver_sql(_EDGES, parameters)
    ]
    children = [
        TreeEdge(from_id=each.job.parent_id, to_id=each.job.id, kind="child")
        for each in found
        if each.job.parent_id is not None
    ]
    return Tree(tree_id=tree_id, jobs=found, edges=[*declared, *children])


_UNFINISHED = Statement("""
SELECT j.id::text FROM jobs AS j
WHERE j.tenant_id = %(tenant_id)s AND j.tree_id = %(tree_id)s::uuid AND j.status IN ('queued', 'running')
ORDER BY j.id DESC LIMIT 1
""")


def unfinished(connection: Connection, job: Job) -> str | None:
    """Return the newest unfinished job of a tree; None if all are final."""
    parameters = {"tenant_id": job.tenant_id, "tree_id": rows.job_uuid(job.tree_id or job.id)}
    uuid = connection.exec_driver_sql(_UNFINISHED, parameters).scalar()
    return None if uuid is None else ids.encode("job", uuid)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFollower:
    job: Job
    #: UUIDs of the jobs that it follows, in order.
    after: Sequence[str]
    condition: WaitCondition | None
    #: Its input, if it has references to outputs.
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
