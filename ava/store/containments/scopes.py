"""Compare jobs with the scopes of containments: new jobs, held jobs and running jobs; and wait for older writers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ava.domain import ids
from ava.domain.containment import (
    ALL_TENANTS,
    MAX_RUNNING_SHOWN,
    ContainedJobs,
    ContainedRun,
    ContainedScope,
    Containment,
    Rehearsal,
    RehearsedWorker,
)
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.jobs.job import Job, RunKey
from ava.domain.limits.table import PAYLOAD_BYTES
from ava.domain.worker import PULLED_SILENT_SECONDS
from ava.store.containments.records import containment_uuid, scope_json
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import IS_WAITING

#: A scope as the row `c` of `contained_scopes`, whether its containment is active or not.
_SCOPE = "json_populate_record(NULL::contained_scopes, %(scope)s::json) AS c"
#: Condition: the job `j` is of the scope's tenant. It names a parameter and not the column of `c`, because the planner
#: would read the jobs of all tenants to compare them with that column.
IS_OF_TENANT = f"(%(tenant_id)s = '{ALL_TENANTS}' OR j.tenant_id = %(tenant_id)s)"
#: Condition: the job `j` is in the scope `c`.
IN_SCOPE = "ava_in_scope(c, j.worker_id, j.id, j.tree_id, j.tags, coalesce(j.origin, j.triggered_by))"
#: Condition: the scope `c` has an identity and no other part.
IS_OF_IDENTITY = "c.identity_ids IS NOT NULL AND num_nonnulls(c.worker_id, c.tag_key, c.tree_id, c.causes) = 0"


# New jobs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJobFacts:
    """The facts of a job to be created that scopes compare."""

    tenant_id: str
    worker_id: str
    uuid: str | None
    tree_uuid: str | None
    tags_json: str | None
    #: The identities behind it, as in `Job.origin_text`.
    origins: str
    #: Whether the first of them creates it itself, not through a schedule, hook, subscription or job.
    is_own: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Covering:
    """The containment that covers a new job, preferably a containment that refuses triggers."""

    containment_id: str
    refuses: bool


_ACTIVE_OF = Statement(f"""
SELECT c.containment_id::text FROM contained_scopes AS c
WHERE c.tenant_id = ANY(%(tenants)s::text[]) OR c.tenant_id = '{ALL_TENANTS}'
""")


def active_of(connection: Connection, tenants: Collection[str]) -> list[str]:
    """Return the UUIDs of the active containments that may cover jobs of these tenants."""
    return list(connection.exec_driver_sql(_ACTIVE_OF, {"tenants": list(tenants)}).scalars())


_COVERING = Statement(f"""
SELECT DISTINCT ON (j.n) j.n, c.containment_id::text, refuses.triggers
FROM unnest(%(tenants)s::text[], %(workers)s::text[], %(ids)s::uuid[], %(trees)s::uuid[], %(tags)s::text[],
            %(origins)s::text[], %(own)s::bool[])
     WITH ORDINALITY AS j (tenant_id, worker_id, id, tree_id, tags_json, origins, is_own, n)
JOIN contained_scopes AS c ON c.tenant_id IN (j.tenant_id, '{ALL_TENANTS}')
    AND ava_in_scope(c, j.worker_id, j.id, j.tree_id, j.tags_json::json, j.origins)
CROSS JOIN LATERAL (SELECT c.refuses OR (j.is_own AND {IS_OF_IDENTITY}) AS triggers) AS refuses
ORDER BY j.n, refuses.triggers DESC, c.containment_id
""")


def covering(connection: Connection, new: Sequence[NewJobFacts]) -> dict[int, Covering]:
    """Return the containments that cover new jobs, by the position of the job."""
    parameters = {
        "tenants": [each.tenant_id for each in new],
        "workers": [each.worker_id for each in new],
        "ids": [each.uuid for each in new],
        "trees": [each.tree_uuid for each in new],
        "tags": [each.tags_json for each in new],
        "origins": [each.origins for each in new],
        "own": [each.is_own for each in new],
    }
    return {
        n - 1: Covering(containment_id=ids.encode("con", uuid), refuses=refuses)
        for n, uuid, refuses in connection.exec_driver_sql(_COVERING, parameters)
    }


_OF_IDENTITY = Statement(f"""
SELECT c.containment_id::text FROM contained_scopes AS c
WHERE c.tenant_id = %(tenant_id)s AND %(identity_id)s = ANY(c.identity_ids) AND {IS_OF_IDENTITY} LIMIT 1
""")


def of_identity(connection: Connection, *, tenant_id: str, identity_id: str) -> str | None:
    """Return the containment of an identity, which may write nothing then; None if there is none."""
    parameters = {"tenant_id": tenant_id, "identity_id": identity_id}
    uuid = connection.exec_driver_sql(_OF_IDENTITY, parameters).scalar()
    return None if uuid is None else ids.encode("con", uuid)


# Older writers -------------------------------------------------------------------------------------------------------

# A claim locks `jobs` until its transaction ends, and then reads the containments with a new snapshot
# (`rules.IS_COVERED`). So each transaction that may claim a job without seeing a committed containment holds this lock
# after the commit. A comparison of transaction ids would miss a statement that has its snapshot and no id yet.
_WRITERS = Statement("""
SELECT l.virtualtransaction FROM pg_locks AS l
WHERE l.locktype = 'relation' AND l.relation = 'jobs'::regclass AND l.granted AND l.mode = 'RowExclusiveLock'
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
""")


def writers(connection: Connection) -> frozenset[str]:
    """Return the transactions that are writing jobs now."""
    return frozenset(connection.exec_driver_sql(_WRITERS).scalars())


# The jobs of a scope -------------------------------------------------------------------------------------------------

#: Condition: the job `j` is held.
IS_HELD = f"{IS_WAITING} AND j.waits_for = 'contained'"
_HELD = Statement(f"""
SELECT count(*) FROM {_SCOPE} JOIN jobs AS j ON {IS_OF_TENANT} WHERE {IS_HELD} AND {IN_SCOPE}
""")


def scope_parameters(scope: ContainedScope) -> dict[str, object]:
    """Return the parameters of `IS_OF_TENANT` and of the row `c`."""
    return {"tenant_id": scope.tenant_id, "scope": scope_json(scope)}


def count_held(connection: Connection, scope: ContainedScope) -> int:
    """Return the number of held jobs of a scope."""
    return int(connection.exec_driver_sql(_HELD, scope_parameters(scope)).scalar_one())


_RUNNING = f"FROM {_SCOPE} JOIN jobs AS j ON {IS_OF_TENANT} AND j.status = 'running' AND {IN_SCOPE}"
_PULLED = "pulled_runs AS r ON r.tenant_id = j.tenant_id AND r.job_id = j.id AND r.run_no = j.run_no"
#: Seconds until a run is asked to stop even without a report that its handler was entered.
_STUCK_SECONDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInScope:
    """A current run of a job in a scope."""

    run: RunKey
    #: Whether it was asked to stop.
    is_stopped: bool
    #: Whether its node has recorded that its handler was entered.
    is_entered: bool
    #: Whether it has been running for `_STUCK_SECONDS`.
    is_old: bool
    #: Of a run over HTTP: its last heartbeat, and whether its token was used.
    heartbeat_at: datetime | None
    is_used: bool

    @property
    def may_stop(self) -> bool:
        """Return False while its process or program may still leave the handler unentered, so that it is held."""
        return self.is_used if self.heartbeat_at is not None else self.is_entered or self.is_old


_RUN_ROWS = RecordRows(
    RunInScope,
    "r",
    columns={
        "is_stopped": "j.stop_status IS NOT NULL",
        "is_entered": "j.entered_run_no IS NOT DISTINCT FROM j.run_no",
        "is_old": f"j.started_at < clock_timestamp() - interval '{_STUCK_SECONDS} seconds'",
        "is_used": "r.is_used IS TRUE",
    },
    without=("run",),
)
_RUNNING_JOBS = Statement(f"""
SELECT {_RUN_ROWS.columns}, j.tenant_id, j.id::text, j.run_no {_RUNNING} LEFT JOIN {_PULLED} ORDER BY j.id
""")


def running(connection: Connection, scope: ContainedScope) -> list[RunInScope]:
    """Return the running jobs of a scope, oldest first."""
    found = connection.exec_driver_sql(_RUNNING_JOBS, scope_parameters(scope))
    return [_RUN_ROWS.read(row, run=rows.run_key(row[_RUN_ROWS.count :])) for row in found]


_SHOW_RUNNING = Statement(f"""
SELECT count(*) OVER (), j.id::text, coalesce(n.name, r.name), j.started_at, CASE WHEN n.id IS NOT NULL
    THEN n.seen_at + %(dead_after)s * interval '1 second'
    ELSE r.heartbeat_at + {PULLED_SILENT_SECONDS} * interval '1 second' END
{_RUNNING}
LEFT JOIN nodes AS n ON n.id = j.node_id
LEFT JOIN {_PULLED}
ORDER BY j.id LIMIT {MAX_RUNNING_SHOWN}
""")


def show_running(
    connection: Connection, scope: ContainedScope, *, dead_after_seconds: float
) -> tuple[list[ContainedRun], int]:
    """Return the oldest running jobs of a scope, each with the end of its lease, and their total number."""
    parameters = scope_parameters(scope) | {"dead_after": dead_after_seconds}
    found: Sequence[Any] = connection.exec_driver_sql(_SHOW_RUNNING, parameters).all()
    shown = [
        ContainedRun(job_id=ids.encode("job", uuid), node=node, since=since, lease_ends_at=lease_ends_at)
        for _, uuid, node, since, lease_ends_at in found
    ]
    return shown, found[0][0] if found else 0


#: Startable jobs and jobs without a permit, as a containment holds them.
_IS_HOLDABLE = "j.status = 'queued' AND (j.waits_for IS NULL OR j.waits_for = 'permit')"
_REHEARSED_ROWS = RecordRows(
    RehearsedWorker,
    "j",
    columns={
        "held_count": "count(*) FILTER (WHERE j.status = 'queued')",
        "running_count": "count(*) FILTER (WHERE j.status = 'running')",
    },
)
_REHEARSE = Statement(f"""
SELECT {_REHEARSED_ROWS.columns}
FROM {_SCOPE} JOIN jobs AS j ON {IS_OF_TENANT} AND (j.status = 'running' OR {_IS_HOLDABLE}) AND {IN_SCOPE}
GROUP BY j.tenant_id, j.worker_id ORDER BY count(*) DESC, j.tenant_id, j.worker_id
""")


def rehearse(connection: Connection, scope: ContainedScope) -> Rehearsal:
    """Count the jobs that a containment of a scope would hold, and the running ones."""
    found = [_REHEARSED_ROWS.read(row) for row in connection.exec_driver_sql(_REHEARSE, scope_parameters(scope))]
    return Rehearsal(
        held_count=sum(each.held_count for each in found),
        running_count=sum(each.running_count for each in found),
        by_worker=found,
    )


# Held jobs while the containment is active, and the jobs that it has asked to stop. Each part ends at its limit, so
# that a page reads no more held jobs than it skips and shows.
_JOBS = f"""
    SELECT j.tenant_id, j.id FROM {_SCOPE} CROSS JOIN LATERAL (
        SELECT j.tenant_id, j.id FROM jobs AS j
        WHERE %(is_active)s AND {IS_OF_TENANT} AND {IS_HELD} AND {IN_SCOPE}
            AND (%(before_id)s::uuid IS NULL OR j.id < %(before_id)s::uuid)
        ORDER BY j.id DESC LIMIT %(max)s) AS j
    UNION (
        SELECT s.job_tenant_id, s.job_id FROM contained_stops AS s
        JOIN jobs AS j ON j.tenant_id = s.job_tenant_id AND j.id = s.job_id
        WHERE s.tenant_id = %(tenant_id)s AND s.containment_id = %(id)s::uuid
            AND (%(before_id)s::uuid IS NULL OR s.job_id < %(before_id)s::uuid)
        ORDER BY s.job_id DESC LIMIT %(max)s)"""
_PAGE = Statement(f"""
SELECT {rows.LIGHT_COLUMNS} FROM ({_JOBS}) AS f JOIN jobs AS j ON j.tenant_id = f.tenant_id AND j.id = f.id
{rows.SIZES}
ORDER BY j.id DESC LIMIT %(limit)s OFFSET %(offset)s
""")
_COUNT = Statement(f"SELECT least(count(*), {MAX_IN_TOTAL}) FROM ({_JOBS}) AS f")


def page(connection: Connection, containment: Containment, *, bounds: PageBounds) -> ContainedJobs:
    """Return the held and stopped jobs of a containment, newest first; deleted jobs are left out."""
    found = jobs(connection, containment, bounds=bounds)
    total = connection.exec_driver_sql(_COUNT, _parameters(containment, max_jobs=MAX_IN_TOTAL)).scalar_one()
    return ContainedJobs(jobs=found, total=int(total))


def jobs(connection: Connection, containment: Containment, *, bounds: PageBounds) -> list[Job]:
    """Return held and stopped jobs of a containment as `page` does."""
    parameters = _parameters(containment, max_jobs=bounds.offset + bounds.limit) | {
        **bounds.before("job"),
        "large_input": PAYLOAD_BYTES.value,
        "large_output": PAYLOAD_BYTES.value,
    }
    return [rows.light_job(row) for row in connection.exec_driver_sql(_PAGE, parameters)]


def _parameters(containment: Containment, *, max_jobs: int) -> dict[str, Any]:
    return scope_parameters(containment.scope) | {
        "is_active": containment.is_active,
        "id": containment_uuid(containment.id),
        "before_id": None,
        "max": max_jobs,
    }
