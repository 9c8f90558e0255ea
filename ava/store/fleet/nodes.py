"""Nodes: Celery worker processes with their children, their heartbeats, and the directives for their runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ava.domain.access.actor import Actor
from ava.domain.declarations import NO_DECLARATIONS, NodeDeclarations
from ava.domain.jobs.job import RunKey
from ava.store import pause_columns
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import parameters_of
from ava.store.engine.statement import Statement
from ava.store.jobs import rows
from ava.store.pause_columns import PAUSE_SET, RESUME_SET

#: Condition: the node `n` is live. Statements that must not depend on jumps of PostgreSQL's clock get the silent nodes
#: instead (`ava.dispatcher.duties.lost_runs`).
IS_LIVE = "n.stopped_at IS NULL AND n.seen_at > now() - %(dead_after)s * interval '1 second'"


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    #: A UUID, new at every start.
    id: str
    #: The node's Celery name, its address for remote control.
    name: str
    host: str
    pid: int
    #: The release that it runs.
    version: str
    #: The version of its handler modules; None: unknown.
    code_version: str | None = None
    #: The queues that it consumes, and the queues that the broker refuses to it.
    queues: Sequence[str]
    refused_queues: Sequence[str] = ()
    #: Ids of the workers with a handler on the node.
    workers: Sequence[str]
    #: Max concurrent jobs, and whether these are slots of one process.
    processes: int
    has_slots: bool = False
    declarations: NodeDeclarations = NO_DECLARATIONS

    def consuming(self, queues: Collection[str], *, refused: Collection[str]) -> NodeSpec:
        """Return a copy of the node that consumes `queues`, except the `refused` ones."""
        wanted = set(queues)
        return replace(self, queues=sorted(wanted.difference(refused)), refused_queues=sorted(wanted & set(refused)))


_REGISTER = Statement("""
INSERT INTO nodes
    (id, name, host, pid, version, code_version, queues, refused_queues, workers, processes, has_slots, declarations)
VALUES (%(id)s::uuid, %(name)s, %(host)s, %(pid)s, %(version)s, %(code_version)s, %(queues)s::text[],
    %(refused_queues)s::text[], %(workers)s::text[], %(processes)s, %(has_slots)s, %(declarations)s::json)
ON CONFLICT (id) DO UPDATE SET seen_at = now(), stopped_at = NULL
""")


def register(connection: Connection, node: NodeSpec) -> None:
    """Register a node, or register it again after its row was deleted."""
    parameters = parameters_of(NodeSpec, node) | {
        "queues": list(node.queues),
        "refused_queues": list(node.refused_queues),
        "workers": list(node.workers),
        "declarations": node.declarations.to_json(),
    }
    connection.exec_driver_sql(_REGISTER, parameters)


_WRITE_QUEUES = Statement("""
UPDATE nodes SET queues = %(queues)s::text[], refused_queues = %(refused_queues)s::text[] WHERE id = %(id)s::uuid
""")


def write_queues(connection: Connection, node: NodeSpec) -> None:
    """Store the queues that a registered node consumes, and the ones that the broker refuses to it."""
    parameters = {"id": node.id, "queues": list(node.queues), "refused_queues": list(node.refused_queues)}
    connection.exec_driver_sql(_WRITE_QUEUES, parameters)


# The reasons of the last refusal stay until the next one.
_HEARTBEAT = Statement("""
UPDATE nodes SET seen_at = now(), stopped_at = NULL, busy = %(busy)s,
    free_since = now() - %(free)s * interval '1 second', memory_bytes = coalesce(%(memory)s, memory_bytes),
    refused_messages = CASE WHEN %(refused)s::text[] = '{}' THEN refused_messages ELSE %(refused)s::text[] END,
    refused_messages_at = CASE WHEN %(refused)s::text[] = '{}' THEN refused_messages_at ELSE now() END
WHERE id = %(id)s::uuid RETURNING paused_at IS NULL
""")


def heartbeat(
    connection: Connection,
    node_id: str,
    *,
    busy: int,
    free_seconds: float,
    memory_bytes: int | None = None,
    refused_messages: Sequence[str] = (),
) -> bool | None:
    """Write a node's heartbeat: its busy processes, how long a process has been free, and its memory.

    `refused_messages`: why it has refused messages since its last heartbeat.

    Returns True if the node may take jobs, False if it is paused, and None if its row was deleted, so that it must
    register again.
    """
    parameters = {
        "id": node_id,
        "busy": busy,
        "free": free_seconds,
        "memory": memory_bytes,
        "refused": list(refused_messages),
    }
    takes_jobs: bool | None = connection.exec_driver_sql(_HEARTBEAT, parameters).scalar()
    return takes_jobs


_PAUSE = Statement(f"""
UPDATE nodes SET {PAUSE_SET} WHERE id = %(id)s::uuid AND stopped_at IS NULL AND paused_at IS NULL
""")


def pause(connection: Connection, node_id: str, *, by: Actor, reason: str | None = None) -> bool:
    """Pause a node; its next heartbeat returns it. Returns False if it was paused, has stopped or does not exist."""
    parameters = {"id": node_id, **pause_columns.parameters(by, reason)}
    return connection.exec_driver_sql(_PAUSE, parameters).rowcount == 1


_RESUME = Statement(f"""
UPDATE nodes SET {RESUME_SET} WHERE id = %(id)s::uuid AND stopped_at IS NULL AND paused_at IS NOT NULL
""")


def resume(connection: Connection, node_id: str) -> bool:
    """Resume a node; its next heartbeat returns it. Returns False if it was not paused, or has stopped."""
    return connection.exec_driver_sql(_RESUME, {"id": node_id}).rowcount == 1


# A read-only server, such as a demoted primary, receives no heartbeats.
_READ_HEARTBEATS = Statement("""
SELECT id::text, seen_at FROM nodes WHERE stopped_at IS NULL AND current_setting('transaction_read_only') = 'off'
""")


def read_heartbeats(connection: Connection) -> dict[str, datetime]:
    """Return the last heartbeats of nodes that have not stopped, by id; none if the server is read-only."""
    return {row[0]: row[1] for row in connection.exec_driver_sql(_READ_HEARTBEATS)}


#: How long a process that was frozen relies on its node's last heartbeat, in seconds; a node counts as dead later.
FRESH_SECONDS = 1.0

# A heartbeat in the future has expired too: PostgreSQL's clock was set back.
_HEARTBEAT_IF_SILENT = Statement("""
UPDATE nodes SET seen_at = now(), busy = processes
WHERE id = %(id)s::uuid AND stopped_at IS NULL
    AND abs(extract(epoch FROM now() - seen_at)) > %(silent)s
""")


def heartbeat_if_silent(connection: Connection, node_id: str, *, silent_seconds: float) -> bool:
    """Write a node's heartbeat, with all processes busy, if the last one is older than `silent_seconds`.

    The node's parent, or the whole node, was frozen. Returns False if it was not silent, or has stopped.
    """
    parameters = {"id": node_id, "silent": silent_seconds}
    return connection.exec_driver_sql(_HEARTBEAT_IF_SILENT, parameters).rowcount == 1


_RUNS_OF = Statement("""
SELECT tenant_id, id::text, run_no FROM jobs WHERE status = 'running' AND node_id = %(id)s::uuid
""")


def runs_of(connection: Connection, node_id: str) -> set[RunKey]:
    """Return the runs that a node owns according to the database."""
    found = connection.exec_driver_sql(_RUNS_OF, {"id": node_id})
    return {rows.run_key(row) for row in found}


_DEREGISTER = Statement("UPDATE nodes SET stopped_at = now() WHERE id = %(id)s::uuid")


_LIVE = Statement(f"""
SELECT n.id::text FROM nodes AS n WHERE {IS_LIVE}
""")


def live(connection: Connection, *, dead_after_seconds: float) -> frozenset[str]:
    return frozenset(connection.exec_driver_sql(_LIVE, {"dead_after": dead_after_seconds}).scalars())


def deregister(connection: Connection, node_id: str) -> None:
    """Mark a node as stopped after an orderly shutdown. Its remaining runs can be rescued immediately."""
    connection.exec_driver_sql(_DEREGISTER, {"id": node_id})


_NAME_OF = Statement("SELECT name FROM nodes WHERE id = %(id)s::uuid")


def name_of(connection: Connection, node_id: str | None) -> str | None:
    """Return the Celery name of a node, or None if its row was deleted."""
    return connection.exec_driver_sql(_NAME_OF, {"id": node_id}).scalar()


_NAMES_OF = Statement("SELECT id::text, name FROM nodes WHERE id = ANY(%(ids)s::uuid[])")


def names_of(connection: Connection, node_ids: Collection[str]) -> dict[str, str]:
    """Return the Celery names of nodes by id, without nodes with a deleted row."""
    found = connection.exec_driver_sql(_NAMES_OF, {"ids": list(node_ids)})
    return {row[0]: row[1] for row in found}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDirectives:
    """The state of a node's runs in the database."""

    #: Seconds that each active run has been running.
    running_seconds: Mapping[RunKey, float]
    #: Active runs that must be cancelled.
    cancelled: frozenset[RunKey]
    #: Runs that have ended or were rescued, so the node must stop them.
    over: frozenset[RunKey]
    #: Entered runs of contained jobs, until `transitions.contain.record_entered` records them.
    unrecorded: Sequence[RunKey] = ()


# These sets have no unclaimed run, because its number is above the job's. Trees are cancelled bottom-up: a run
# is cancelled once its cancelled descendants have ended.
_CHECK_RUNS = Statement("""
SELECT r.n, j.cancel_requested_at IS NOT NULL AND (j.tree_id IS NULL OR NOT EXISTS (
           SELECT FROM jobs AS c WHERE c.tenant_id = j.tenant_id AND c.parent_id = j.id
               AND c.is_detached IS NOT TRUE AND c.completed_at IS NULL)),
       CASE WHEN j.run_no = r.run_no AND j.status = 'running' AND j.node_id = %(node_id)s::uuid
            THEN extract(epoch FROM clock_timestamp() - j.started_at)::float END,
       r.is_entered AND EXISTS (TABLE contained_scopes) AND j.entered_run_no IS DISTINCT FROM r.run_no
           AND ava_contained(j.tenant_id, j.id) IS NOT NULL
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(entered)s::bool[]) WITH ORDINALITY
     AS r (tenant_id, id, run_no, is_entered, n)
JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no >= r.run_no
""")


def check_runs(
    connection: Connection, node_id: str, runs: Sequence[RunKey], entered: Collection[RunKey] = ()
) -> RunDirectives:
    """Return which of a node's runs continue, which must be cancelled, and which have ended.

    `entered`: the runs that have entered their handlers.
    """
    parameters: dict[str, object] = {
        "node_id": node_id,
        "tenants": [run.tenant_id for run in runs],
        "ids": [rows.job_uuid(run.job_id) for run in runs],
        "run_nos": [run.run_no for run in runs],
        "entered": [run in entered for run in runs],
    }
    found = [(runs[n - 1], *more) for n, *more in connection.exec_driver_sql(_CHECK_RUNS, parameters)]
    return RunDirectives(
        running_seconds={run: seconds for run, _, seconds, _ in found if seconds is not None},
        cancelled=frozenset(run for run, is_asked, seconds, _ in found if is_asked and seconds is not None),
        over=frozenset(run for run, _, seconds, _ in found if seconds is None),
        unrecorded=[run for run, _, seconds, is_unrecorded in found if is_unrecorded and seconds is not None],
    )


# A separate statement, because a statement that waits for a lock still reads other rows as they were when it began.
_AWAIT_RESCUES = Statement("""
SELECT FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS r (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id ORDER BY j.id FOR KEY SHARE OF j
""")


def confirm_runs(connection: Connection, node_id: str, runs: Sequence[RunKey]) -> RunDirectives:
    """Write a heartbeat after a freeze of the node, and return which of its runs continue, as `check_runs` does.

    A run that continues cannot be rescued because of the freeze any more: a rescue that began earlier has ended, and a
    later one reads the heartbeat.
    """
    heartbeat_if_silent(connection, node_id, silent_seconds=FRESH_SECONDS)
    parameters = {"tenants": [run.tenant_id for run in runs], "ids": [rows.job_uuid(run.job_id) for run in runs]}
    connection.exec_driver_sql(_AWAIT_RESCUES, parameters)
    return check_runs(connection, node_id, runs)


# After PostgreSQL's clock was set forward, even the last heartbeat of a live node is old.
_DELETE_OLD = Statement("""
DELETE FROM nodes AS n WHERE coalesce(n.stopped_at, n.seen_at) < now() - %(after)s * interval '1 second'
AND (n.stopped_at IS NOT NULL OR n.id = ANY(%(silent)s::uuid[]))
AND NOT EXISTS (SELECT 1 FROM jobs AS j WHERE j.node_id = n.id AND j.status = 'running')
""")


def delete_old(connection: Connection, *, after_seconds: float, silent: Collection[str]) -> int:
    """Delete the rows of nodes that ended more than `after_seconds` ago. Returns their number.

    A node has ended if it shut down, or if `silent` (ids) contains it and its heartbeat is unchanged.
    """
    parameters = {"after": after_seconds, "silent": list(silent)}
    return connection.exec_driver_sql(_DELETE_OLD, parameters).rowcount
