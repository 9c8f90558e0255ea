"""Nodes: a Celery worker process with its children, its heartbeat, and what it is told in return."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.store.engine.database import Connection
from ava.store.jobs import rows

__all__ = [
    "NodeSpec",
    "RunDirectives",
    "check_runs",
    "delete_old",
    "deregister",
    "heartbeat",
    "name_of",
    "names_of",
    "register",
]


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A node as it introduces itself."""

    #: A UUID, new at every start.
    id: str
    #: Celery's name of it, to which remote control is addressed.
    name: str
    host: str
    pid: int
    #: The release that it runs.
    version: str
    queues: Sequence[str]
    #: The ids of the workers whose handlers it has.
    workers: Sequence[str]
    #: How many jobs it runs at once.
    processes: int


_JOIN = """
INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes)
VALUES (%(id)s::uuid, %(name)s, %(host)s, %(pid)s, %(version)s, %(queues)s::text[], %(workers)s::text[], %(processes)s)
ON CONFLICT (id) DO UPDATE SET seen_at = now(), stopped_at = NULL
"""


def register(connection: Connection, node: NodeSpec) -> None:
    """Introduce a node, or bring it back where its row was forgotten."""
    parameters = {
        "id": node.id,
        "name": node.name,
        "host": node.host,
        "pid": node.pid,
        "version": node.version,
        "queues": list(node.queues),
        "workers": list(node.workers),
        "processes": node.processes,
    }
    connection.exec_driver_sql(_JOIN, parameters)


_BEAT = """
UPDATE nodes SET seen_at = now(), stopped_at = NULL, busy = %(busy)s,
    quiet_since = now() - %(quiet)s * interval '1 second', memory_bytes = coalesce(%(memory)s, memory_bytes)
WHERE id = %(id)s::uuid
"""


def heartbeat(
    connection: Connection, node_id: str, *, busy: int, quiet_seconds: float, memory_bytes: int | None = None
) -> bool:
    """Say that a node lives, how many of its processes run jobs, for how long it has begun none, and its memory.

    False where nobody knows the node any more, so that it must join again.
    """
    parameters = {"id": node_id, "busy": busy, "quiet": quiet_seconds, "memory": memory_bytes}
    return connection.exec_driver_sql(_BEAT, parameters).rowcount == 1


_VOUCH = """
UPDATE nodes SET seen_at = now(), busy = processes
WHERE id = %(id)s::uuid AND stopped_at IS NULL AND seen_at < now() - %(silent)s * interval '1 second'
"""


def heartbeat_for_frozen_parent(connection: Connection, node_id: str, *, silent_seconds: float) -> bool:
    """Say that a node lives whose parent has been silent for so long, and that it has no process to spare."""
    return connection.exec_driver_sql(_VOUCH, {"id": node_id, "silent": silent_seconds}).rowcount == 1


def runs_of(connection: Connection, node_id: str) -> set[tuple[str, int]]:
    """The runs that the database believes a node to hold, as job id and run number."""
    statement = "SELECT id::text, run_no FROM jobs WHERE status = 'running' AND node_id = %(id)s::uuid"
    found = connection.exec_driver_sql(statement, {"id": node_id})
    return {(ids.encode("job", id_), run_no) for id_, run_no in found}


def deregister(connection: Connection, node_id: str) -> None:
    """Say that a node has ended in order; whatever it might still hold can be taken back at once."""
    connection.exec_driver_sql("UPDATE nodes SET stopped_at = now() WHERE id = %(id)s::uuid", {"id": node_id})


def name_of(connection: Connection, node_id: str | None) -> str | None:
    """Celery's name of a node; None where nobody knows it any more."""
    statement = "SELECT name FROM nodes WHERE id = %(id)s::uuid"
    return connection.exec_driver_sql(statement, {"id": node_id}).scalar()


def names_of(connection: Connection, node_ids: Collection[str]) -> dict[str, str]:
    """Celery's names of nodes, by their ids; those that nobody knows any more are left out."""
    statement = "SELECT id::text, name FROM nodes WHERE id = ANY(%(ids)s::uuid[])"
    found = connection.exec_driver_sql(statement, {"ids": list(node_ids)})
    return {row[0]: row[1] for row in found}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDirectives:
    """What the database says of the runs that a node holds; each run is `(job id, run number)`."""

    #: For how long each one runs that does.
    running_seconds: Mapping[tuple[str, int], float]
    #: Those of them that are to be cancelled.
    cancelled: frozenset[tuple[str, int]]
    #: Ended, or taken from the node: whatever still runs has no right to.
    over: frozenset[tuple[str, int]]


# A run that has not been claimed yet is none of these: its number still lies ahead of the job's.
_ORDERS = """
SELECT r.job_id, r.run_no, j.cancel_requested_at IS NOT NULL,
       CASE WHEN j.run_no = r.run_no AND j.status = 'running'
            THEN extract(epoch FROM clock_timestamp() - j.started_at)::float END
FROM unnest(%(job_ids)s::text[], %(uuids)s::uuid[], %(run_nos)s::int[]) AS r (job_id, id, run_no)
JOIN jobs AS j ON j.id = r.id AND j.run_no >= r.run_no
"""


def check_runs(connection: Connection, runs: Collection[tuple[str, int]]) -> RunDirectives:
    """Ask which of a node's runs go on, which are to be cancelled, and which are over."""
    parameters = {
        "job_ids": [job_id for job_id, _ in runs],
        "uuids": [rows.job_uuid(job_id) for job_id, _ in runs],
        "run_nos": [run_no for _, run_no in runs],
    }
    found = list(connection.exec_driver_sql(_ORDERS, parameters))
    return RunDirectives(
        running_seconds={(job_id, run_no): seconds for job_id, run_no, _, seconds in found if seconds is not None},
        cancelled=frozenset((job_id, run_no) for job_id, run_no, is_asked, s in found if is_asked and s is not None),
        over=frozenset((job_id, run_no) for job_id, run_no, _, seconds in found if seconds is None),
    )


_FORGET = """
DELETE FROM nodes AS n WHERE coalesce(n.stopped_at, n.seen_at) < now() - %(after)s * interval '1 second'
AND NOT EXISTS (SELECT 1 FROM jobs AS j WHERE j.node_id = n.id AND j.status = 'running')
"""


def delete_old(connection: Connection, *, after_seconds: float) -> int:
    """Delete the rows of nodes that ended long ago, and say how many."""
    return connection.exec_driver_sql(_FORGET, {"after": after_seconds}).rowcount
