"""Create children: a run creates jobs as children of its own job, which then becomes part of a tree."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain.jobs.job import RunKey
from ava.store.engine.database import Connection
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import ONE_RUN, OWNS

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
