"""Store edges: new jobs wait for other jobs, created with them or existing. Children enter the tree of their parent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from ava.domain import ids
from ava.domain.jobs.job import Job, RunKey
from ava.domain.jobs.new_job import NewJob
from ava.domain.jobs.waits import Wait
from ava.process.pauses import Pauses
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement, array, text_array
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import ONE_RUN, OWNS
from ava.store.jobs.transitions.wait import waiting_for_json

# Wait for a job that is just ending. If it is final then, it needs no mark, because the new job wakes itself.
_MARK_AWAITED = Statement("""
WITH chosen AS (
    SELECT j.tenant_id, j.id
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS a (tenant_id, id)
    JOIN jobs AS j ON j.tenant_id = a.tenant_id AND j.id = a.id
    WHERE j.status IN ('queued', 'running') AND j.is_awaited IS NOT TRUE
    ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs AS j SET is_awaited = true FROM chosen WHERE j.tenant_id = chosen.tenant_id AND j.id = chosen.id
""")


def mark_awaited(connection: Connection, jobs: Sequence[tuple[str, str]]) -> int:
    """Make unfinished jobs, given as tenant and UUID, write a wake when they end. Returns their number."""
    parameters = {"tenants": [tenant_id for tenant_id, _ in jobs], "ids": [uuid for _, uuid in jobs]}
    return connection.exec_driver_sql(_MARK_AWAITED, parameters).rowcount


_DROP = Statement("""
WITH dropped AS (
    DELETE FROM job_edges AS e WHERE e.tenant_id = %(tenant_id)s AND e.job_id = %(id)s::uuid AND e.run_no = 0
    RETURNING e.tenant_id, e.job_id
)
INSERT INTO wakes (tenant_id, kind, source_id) SELECT DISTINCT tenant_id, 'job', job_id FROM dropped
""")


def drop(connection: Connection, *, tenant_id: str, uuid: str) -> None:
    """Delete the edges that a job has had since its creation, so that it waits for no other job."""
    connection.exec_driver_sql(_DROP, {"tenant_id": tenant_id, "id": uuid})


_DECLARE = Statement("""
WITH waits AS (
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for, template)
    SELECT w.tenant_id, w.id, 0, w.condition, w.waiting_for::json, w.template::json
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(conditions)s::text[], %(waiting_for)s::text[],
                %(templates)s::text[]) AS w (tenant_id, id, condition, waiting_for, template)
), edges AS (
    INSERT INTO job_edges (tenant_id, job_id, run_no, after_id, n)
    SELECT e.tenant_id, e.id, 0, e.after_id, e.n
    FROM unnest(%(edge_tenants)s::text[], %(edge_ids)s::uuid[], %(after)s::uuid[], %(positions)s::int[])
         AS e (tenant_id, id, after_id, n)
    ON CONFLICT DO NOTHING
)
INSERT INTO wakes (tenant_id, kind, source_id)
SELECT w.tenant_id, 'job', w.id FROM unnest(%(woken_tenants)s::text[], %(woken)s::uuid[]) AS w (tenant_id, id)
""")


def declare(connection: Connection, made: Sequence[tuple[NewJob, Job]]) -> list[Job]:
    """Store the waits of jobs that this transaction has created. Returns the jobs with their waits, in order.

    A job that waits for an existing job wakes itself, because that may have ended already.
    """
    # A graph of a thousand jobs takes 40 ms.
    pauses = Pauses()
    encode = cache(partial(ids.encode, "job"))
    found = []
    for new, job in made:
        found.append(_with_wait(new, job, encode))
        pauses.after_work()
    waits = [(new, rows.job_uuid(job.id), job, new.after) for new, job in found if new.after is not None]
    if not waits:
        return [job for _, job in found]
    edges = [(each, uuid, after, n) for each, uuid, _, wanted in waits for n, after in enumerate(wanted.uuids)]
    new_uuids = {str(rows.job_uuid(job.id)) for _, job in made}
    woken = [(each, uuid) for each, uuid, _, wanted in waits if not new_uuids.issuperset(wanted.uuids)]
    parameters = {
        "tenants": [each.tenant_id for each, *_ in waits],
        "ids": [uuid for _, uuid, *_ in waits],
        "conditions": [wanted.condition.value for *_, wanted in waits],
        "waiting_for": [job.waiting_for_json for _, _, job, _ in waits],
        "templates": [each.spec.input_json if wanted.has_template else None for each, _, _, wanted in waits],
        "edge_tenants": text_array(each.tenant_id for each, *_ in edges),
        "edge_ids": array(str(uuid) for _, uuid, *_ in edges),
        "after": array(after for _, _, after, _ in edges),
        "positions": array(str(n) for *_, n in edges),
        "woken_tenants": [each.tenant_id for each, _ in woken],
        "woken": [uuid for _, uuid in woken],
    }
    pauses.after_work()
    connection.exec_driver_sql(_DECLARE, parameters)
    return [job for _, job in found]


def _with_wait(new: NewJob, job: Job, encode: Callable[[str], str]) -> tuple[NewJob, Job]:
    """Return a new job with its wait. `encode` converts a job's UUID to its id."""
    if new.after is None:
        return new, job
    waited = [encode(uuid) for uuid in new.after.uuids]
    waiting_for = waiting_for_json(Wait(condition=new.after.condition, job_ids=waited))
    return new, replace(job, waiting_for_json=waiting_for)


# The row stays locked until the children are inserted. So a concurrent cancel finds them, and a process that has lost
# its run creates none that the next run does not see.
_ENTER_TREE = Statement(f"""
UPDATE jobs AS j SET tree_id = coalesce(j.tree_id, j.id) FROM {ONE_RUN} AS r
WHERE {OWNS} AND j.cancel_requested_at IS NULL
RETURNING j.tree_id::text
""")


def enter_tree(connection: Connection, *, run: RunKey, claim_id: str | None) -> str | None:
    """Make a run's job part of a tree, in the transaction that creates its children. Returns the tree's UUID.

    Returns None if the run must not create children: it has lost its job or is to be cancelled.
    """
    parameters = rows.run_parameters(run) | {"held_claim_id": claim_id}
    found = connection.exec_driver_sql(_ENTER_TREE, parameters).scalar()
    return None if found is None else str(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSize:
    #: Number of ancestors.
    depth: int
    #: Jobs in its tree, counted up to a limit.
    jobs: int


# The count stays valid until the transaction ends: the lock admits one run per tree.
_LOCK_TREE = Statement("SELECT pg_advisory_xact_lock(hashtextextended('children in ' || %(tree_id)s, 0))")
_TREE_SIZE = Statement("""
WITH RECURSIVE above AS (
    SELECT j.parent_id, 0 AS depth FROM jobs AS j WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid
    UNION ALL
    SELECT p.parent_id, a.depth + 1 FROM above AS a JOIN jobs AS p ON p.tenant_id = %(tenant_id)s AND p.id = a.parent_id
    WHERE a.depth < %(max_depth)s
)
SELECT (SELECT max(depth) FROM above), (SELECT count(*) FROM (
    SELECT FROM jobs AS t WHERE t.tenant_id = %(tenant_id)s AND t.tree_id = %(tree_id)s::uuid LIMIT %(max_jobs)s
) AS counted)
""")


def read_tree_size(connection: Connection, *, run: RunKey, tree_uuid: str, max_depth: int, max_jobs: int) -> TreeSize:
    """Return the size of the tree of a run's job, counted up to the limits.

    No other run of the tree can create children until the transaction ends.
    """
    parameters = rows.run_parameters(run) | {"tree_id": tree_uuid, "max_depth": max_depth, "max_jobs": max_jobs + 1}
    connection.exec_driver_sql(_LOCK_TREE, parameters)
    depth, jobs = connection.exec_driver_sql(_TREE_SIZE, parameters).one()
    return TreeSize(depth=depth, jobs=jobs)
