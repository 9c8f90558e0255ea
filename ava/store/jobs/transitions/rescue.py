"""End runs from outside: their process died, was killed, or returns runs that it has not started.

In one transaction, the writer locks the jobs, reads their state in a second statement, decides with
`ava.domain.jobs.run_outcome`, and writes with the statements of `end`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import JobKey, LogLevel, LogLine, RunKey, Status
from ava.domain.jobs.retry import DEFAULT, Retry
from ava.domain.jobs.run_outcome import Ending, LockedRun, RunOutcome
from ava.domain.jobs.usage import NO_USAGE, RunUsage
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement, array, text_array
from ava.store.engine.transactions import one_transaction
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.transitions import end, log_lines
from ava.store.jobs.transitions.ended_runs import EndedRun, closing_line
from ava.store.jobs.transitions.log_lines import SEQ_OF_OTHERS, SEQ_PER_RUN

#: Jobs that a statement has locked, as tenants and UUIDs.
Locked = Sequence[tuple[str, str]]

# Only the asking node's run is locked, because another node may have received the same message and run it.
_LOCK_RUN = Statement("""
SELECT j.tenant_id, j.id::text FROM jobs AS j
WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s
    AND j.status IS NOT DISTINCT FROM 'running' AND (%(is_of_any_node)s OR j.node_id = %(node_id)s::uuid)
FOR UPDATE
""")
_LOCK_OF_NODE = Statement("""
SELECT j.tenant_id, j.id::text FROM jobs AS j
WHERE j.status = 'running' AND j.node_id = %(node_id)s::uuid ORDER BY j.id LIMIT %(limit)s FOR UPDATE
""")
# A node without a row counts as dead. A silent node with a newer heartbeat than the one read earlier is alive. Compare
# times only for equality, because PostgreSQL's clock may jump.
_OF_DEAD_NODE = """j.status = 'running' AND j.node_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM nodes AS n WHERE n.id = j.node_id AND n.stopped_at IS NULL
        AND (n.id, n.seen_at) NOT IN (SELECT * FROM unnest(%(silent_ids)s::uuid[], %(silent_at)s::timestamptz[])))"""
# This statement runs continually, so it skips locked rows and is rarely replanned: planning takes longer than finding
# no rows.
_LOCK_OF_DEAD_NODES = Prepared(
    "lock_of_dead_nodes",
    f"""
SELECT j.tenant_id, j.id::text FROM jobs AS j WHERE {_OF_DEAD_NODE}
ORDER BY j.id LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
""",
    plan_seconds=60.0,
)
# A node that continues after a freeze writes a heartbeat and then asks for its runs. It may have done so between the
# snapshot and the locks of the statement above.
_STILL_OF_DEAD_NODES = Statement(f"""
SELECT j.tenant_id, j.id::text FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS l (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = l.tenant_id AND j.id = l.id WHERE {_OF_DEAD_NODE}
""")
_LOCK_CLAIMED = Statement("""
SELECT j.tenant_id, j.id::text
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[])
     AS r (tenant_id, id, run_no, claim_id)
JOIN jobs AS j ON j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no = r.run_no AND j.claim_id = r.claim_id
WHERE j.status IS NOT DISTINCT FROM 'running' ORDER BY j.id FOR UPDATE OF j
""")
_ELAPSED = "round(extract(epoch FROM greatest(clock_timestamp() - j.started_at, interval '0')) * 1000)::bigint"
_ROWS = RecordRows(
    LockedRun,
    "j",
    columns={
        "claim_id": "j.claim_id::text",
        "queue": f"coalesce({workers.queue('j.tenant_id')}, j.queue)",
        "fails_when_lost": "coalesce(w.on_worker_lost = 'fail', false)",
        "elapsed_ms": _ELAPSED,
    },
    without=("job",),
)
# A separate statement: a statement that waits for a lock sees other tables as they were when it began.
_READ = Statement(f"""
SELECT {_ROWS.columns}, clock_timestamp(), {rows.STARTED_COLUMNS}
FROM unnest(%(tenants)s::text[], %(ids)s::uuid[]) AS l (tenant_id, id)
JOIN jobs AS j ON j.tenant_id = l.tenant_id AND j.id = l.id LEFT JOIN workers AS w ON {workers.of("j")}
ORDER BY j.id
""")


def _read(connection: Connection, locked: Locked) -> list[tuple[LockedRun, datetime]]:
    """Return locked running jobs, each with the current time."""
    if not locked:
        return []
    parameters = {"tenants": [tenant_id for tenant_id, _ in locked], "ids": [uuid for _, uuid in locked]}
    found = connection.exec_driver_sql(_READ, parameters)
    now = _ROWS.count
    return [(_ROWS.read(row, job=rows.job(row[now + 1 :])), row[now]) for row in found]


def _end_locked(
    connection: Connection,
    locked: Locked,
    decide: Callable[[LockedRun], RunOutcome],
    said: Callable[[RunOutcome], tuple[LogLevel, str] | None],
    *,
    opens_logs: bool = False,
) -> dict[JobKey, Status]:
    """End locked runs as `decide` says. Returns the jobs' statuses.

    `said` returns the log line about the event, if any. `opens_logs`: the logs may lack their opening lines.
    """
    ended = []
    for running, now in _read(connection, locked):
        outcome = decide(running)
        first = running.job.run_no * SEQ_PER_RUN
        seq = first + SEQ_OF_OTHERS
        lines = [] if (line := said(outcome)) is None else [LogLine(seq=seq, ts=now, level=line[0], msg=line[1])]
        if opens_logs and running.job.started_at is not None:
            lines[:0] = [log_lines.opening_line(running.job)]
        closing = closing_line(seq + len(lines), now, outcome)
        ended.append(EndedRun.of(running.job, outcome, claim_id=running.claim_id, lines=lines, closing=closing))
    return end.end_each(connection, ended)


def rescue(
    connection: Connection,
    *,
    run: RunKey,
    node_id: str,
    msg: str,
    error: str,
    is_loss: bool,
    has_begun: bool = True,
    usage: RunUsage = NO_USAGE,
) -> Status | None:
    """Requeue or end a run after its process died or while the node shuts down.

    `msg` is the log line, `error` the job's error if it fails. A loss counts towards `MAX_LOSSES`, not as an attempt.
    `has_begun`: whether the handler was entered. Returns the job's status, or None if the run had ended or does not
    exist.
    """

    def decide(running: LockedRun) -> RunOutcome:
        if is_loss:
            return run_outcome.of_lost_run(running, error=error, has_begun=has_begun, usage=usage)
        return run_outcome.of_interrupted_run(running, has_begun=has_begun, usage=usage)

    level = LogLevel.ERROR if is_loss else LogLevel.WARN
    with one_transaction(connection):
        statuses = _end_locked(connection, _lock_run(connection, run, node_id), decide, lambda _: (level, msg))
    return statuses.get(JobKey(run.tenant_id, run.job_id))


def _lock_run(connection: Connection, run: RunKey, node_id: str | None, *, is_of_any_node: bool = False) -> Locked:
    parameters = rows.run_parameters(run) | {"node_id": node_id, "is_of_any_node": is_of_any_node}
    found = connection.exec_driver_sql(_LOCK_RUN, parameters)
    return [(tenant_id, uuid) for tenant_id, uuid in found]


def interrupt_runs_of_node(connection: Connection, *, node_id: str, reason: str, is_shutdown: bool, limit: int) -> int:
    """Requeue a batch of an ended node's runs, oldest jobs first. Returns their number.

    A run fails if its worker treats a loss as a failure, except in a shutdown.
    """

    def decide(running: LockedRun) -> RunOutcome:
        if running.fails_when_lost and not is_shutdown:
            return run_outcome.of_lost_run(running, error=f"WorkerLost: {reason}")
        return run_outcome.of_interrupted_run(running)

    line = (LogLevel.WARN, f"Handler interrupted, {reason}")
    with one_transaction(connection):
        found = connection.exec_driver_sql(_LOCK_OF_NODE, {"node_id": node_id, "limit": limit})
        locked = [(tenant_id, uuid) for tenant_id, uuid in found]
        # A run that shared its claim with others may not have stored its opening line.
        _end_locked(connection, locked, decide, lambda _: line, opens_logs=True)
    return len(locked)


def rescue_from_dead_nodes(
    connection: Connection, *, silent: Mapping[str, datetime], msg: str, error: str, limit: int
) -> dict[JobKey, Status]:
    """Rescue the runs of dead nodes, oldest jobs first. Returns the jobs' statuses.

    Each run counts towards `MAX_NODE_LOSSES`, not as an attempt. `silent` maps the ids of silent nodes to their last
    heartbeats.
    """
    parameters: dict[str, object] = {"silent_ids": list(silent), "silent_at": list(silent.values()), "limit": limit}
    with one_transaction(connection):
        if not (locked := _LOCK_OF_DEAD_NODES.run(connection, parameters)):
            return {}
        parameters |= {"tenants": [tenant_id for tenant_id, _ in locked], "ids": [uuid for _, uuid in locked]}
        still_dead = connection.exec_driver_sql(_STILL_OF_DEAD_NODES, parameters)
        return _end_locked(
            connection,
            [(tenant_id, uuid) for tenant_id, uuid in still_dead],
            lambda running: run_outcome.of_lost_run(running, error=error, is_of_node=True),
            lambda _: (LogLevel.ERROR, msg),
            # A short run that shared its claim with others may not have stored its opening line.
            opens_logs=True,
        )


def end_killed_run(
    connection: Connection,
    *,
    run: RunKey,
    error: str,
    node_id: str | None = None,
    how: str = " (its process was killed)",
    retry: Retry | None = DEFAULT,
    usage: RunUsage = NO_USAGE,
) -> Status | None:
    """End a run after its process was killed; if `node_id` is given, only a run of that node. Returns the job's status.

    `how` ends the closing line. Without a stop request the attempt has failed and `retry` decides about the next one,
    without jitter; None: no retry. Returns None if the run had ended.
    """
    with one_transaction(connection):
        statuses = _end_locked(
            connection,
            _lock_run(connection, run, node_id, is_of_any_node=node_id is None),
            lambda running: run_outcome.of_killed_run(running, error=error, how=how, retry=retry, usage=usage),
            lambda _: None,
        )
    return statuses.get(JobKey(run.tenant_id, run.job_id))


def _lock_claimed(connection: Connection, runs: Iterable[tuple[RunKey, str]]) -> Locked:
    ordered = list(runs)
    parameters = {
        "tenants": text_array([run.tenant_id for run, _ in ordered]),
        "ids": array([str(rows.job_uuid(run.job_id)) for run, _ in ordered]),
        "run_nos": array([str(run.run_no) for run, _ in ordered]),
        "claim_ids": array([claim_id for _, claim_id in ordered]),
    }
    return [(tenant_id, uuid) for tenant_id, uuid in connection.exec_driver_sql(_LOCK_CLAIMED, parameters)]


def rescue_pulled(
    connection: Connection, runs: Sequence[tuple[RunKey, str]], *, msg: str, error: str, has_begun: bool
) -> dict[JobKey, Status]:
    """Requeue or end pulled runs, each given with its claim id. Returns the jobs' statuses.

    `msg` is the log line, `error` the error of a job that fails. A run with an unentered handler is not a loss.
    """

    def decide(running: LockedRun) -> RunOutcome:
        if has_begun:
            return run_outcome.of_lost_run(running, error=error)
        return run_outcome.of_interrupted_run(running, has_begun=False)

    level = LogLevel.ERROR if has_begun else LogLevel.WARN
    with one_transaction(connection):
        return _end_locked(connection, _lock_claimed(connection, runs), decide, lambda _: (level, msg))


def release(connection: Connection, unbegun: Sequence[tuple[RunKey, str]]) -> int:
    """Return claimed but unstarted runs, each given with its claim id, to the backlog. Returns their number.

    A run with a stop request ends instead, and its log has the lines of a run that a check stopped before its handler.
    """

    def ended(running: LockedRun, now: datetime) -> EndedRun:
        job = running.job
        outcome = RunOutcome(run=job.run, ending=Ending.RELEASED, has_begun=False)
        closing = closing_line(job.run_no * SEQ_PER_RUN + SEQ_OF_OTHERS, now, outcome)
        opening = None if job.started_at is None else log_lines.opening_line(job)
        return EndedRun.of(job, outcome, claim_id=running.claim_id, opening=opening, closing=closing)

    with one_transaction(connection):
        found = _read(connection, _lock_claimed(connection, unbegun))
        return len(end.end_each(connection, [ended(*each) for each in found]))


_RUNS_OF_NODES = Statement("""
SELECT n.name, j.tenant_id, j.id::text, j.run_no
FROM nodes AS n JOIN jobs AS j ON j.node_id = n.id AND j.status = 'running'
WHERE n.stopped_at IS NULL AND n.id = ANY(%(node_ids)s::uuid[])
LIMIT 1000
""")


def runs_of_nodes(connection: Connection, node_ids: Collection[str]) -> dict[str, list[RunKey]]:
    """Return the running jobs of these nodes, by node name."""
    found: dict[str, list[RunKey]] = {}
    for name, *run in connection.exec_driver_sql(_RUNS_OF_NODES, {"node_ids": list(node_ids)}):
        found.setdefault(name, []).append(rows.run_key(run))
    return found
