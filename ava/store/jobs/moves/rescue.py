"""The ends of runs that could not end themselves, because their process or node is gone or was killed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from ava.domain import ids
from ava.domain.jobs.job import Job, RunKey, Status
from ava.domain.jobs.retry import DEFAULT, MAX_LOSSES, MAX_NODE_LOSSES, MAX_RETRIES, Retry
from ava.domain.jobs.usage import NO_USAGE, RunUsage
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.fleet import workers
from ava.store.jobs import rows
from ava.store.jobs.moves import log_lines
from ava.store.jobs.moves.log_lines import CONTINUING, OPENING, SEQ_OF_OTHERS, SEQ_PER_RUN
from ava.store.jobs.moves.rules import STOPPED_STATUS, end_set

# The closing line of a run; one that returns to the queue has failed.
_CLOSING = """'Handler ' || CASE r.status WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END || ' after '
            || round(extract(epoch FROM clock_timestamp() - r.started_at) * 1000) || 'ms'"""


#: The first lines of the runs in `locked`. Those that were stored before stay.
_OPENINGS = f"""
    UNION ALL SELECT r.tenant_id, r.id, r.run_no * {SEQ_PER_RUN}, ARRAY[r.started_at], 'i',
        ARRAY[CASE WHEN e.first_started_at IS NULL THEN '{OPENING}' ELSE '{CONTINUING}' END]
    FROM ended AS e JOIN locked AS r ON r.tenant_id = e.tenant_id AND r.id = e.id"""


def _ends(locked: str, lines: str, openings: str = "") -> str:
    """Returns the statement that ends the runs which `locked` selects, with the rows `lines` of log lines.

    A cancel may be written while the statement waits for the row. PostgreSQL checks the constraints first with the
    row's old version, so the columns of the cancel are written as `locked` found them.
    """
    of_ended = f"""    SELECT e.tenant_id, e.id, e.run_no * {SEQ_PER_RUN} + {SEQ_OF_OTHERS}, l.times, l.levels, l.msgs
    FROM ended AS e JOIN locked AS r ON r.tenant_id = e.tenant_id AND r.id = e.id
    CROSS JOIN LATERAL (
        SELECT array_agg(clock_timestamp()) AS times, string_agg(left(level, 1), '' ORDER BY n) AS levels,
            array_agg(msg ORDER BY n) AS msgs
        FROM (VALUES {lines}) AS v (n, level, msg) WHERE msg IS NOT NULL
    ) AS l{openings}"""
    return f"""
WITH locked AS ({locked}
), ended AS (
    UPDATE jobs AS j SET
        {end_set("r.status", is_unbegun="r.is_unbegun")},
        cancel_requested_at = r.cancel_requested_at, cancelled_by = r.cancelled_by, queue = r.queue, losses = r.losses,
        node_losses = r.node_losses
    FROM locked AS r WHERE j.tenant_id = r.tenant_id AND j.id = r.id AND j.run_no = r.run_no
    RETURNING j.*
), logged AS (
    {log_lines.stores(of_ended)}
)
SELECT {rows.JOB_COLUMNS} FROM ended AS j
"""


#: The columns of `locked` with what the run has used, where the caller knows it.
_USAGE = "%(cpu_us)s::bigint AS cpu_us, %(peak_memory_mb)s::int AS peak_memory_mb"
_NO_USAGE = "NULL::bigint AS cpu_us, NULL::int AS peak_memory_mb"


def _lost(*, is_loss: str, is_of_node: bool = False, is_unbegun: str = "false", usage: str = _NO_USAGE) -> str:
    """Returns the columns of `locked` for the run of a job `j` whose process is lost or interrupted.

    `is_of_node`: the whole node is lost, which says little about the job, so such losses have a limit of their own.

    The job waits again, in the queue that its worker names now, unless it is to be cancelled, is not to be repeated,
    or was lost too often. The attempt does not count.
    """
    is_often = f"j.node_losses >= {MAX_NODE_LOSSES}" if is_of_node else f"j.losses - j.node_losses >= {MAX_LOSSES}"
    return f"""
    SELECT j.tenant_id, j.id, j.run_no, j.started_at, j.cancel_requested_at, j.cancelled_by,
           coalesce({workers.queue("j.tenant_id")}, j.queue) AS queue,
           CASE WHEN j.cancel_requested_at IS NOT NULL THEN {STOPPED_STATUS}
                WHEN {is_loss} AND (w.on_worker_lost = 'fail' OR {is_often}) THEN 'failed'
                ELSE 'queued' END AS status,
           %(error)s AS error, NULL::interval AS delay, true AS gives_back, j.losses + ({is_loss})::int AS losses,
           j.node_losses + {int(is_of_node)} AS node_losses, {is_unbegun} AS is_unbegun,
           {usage}
    FROM jobs AS j LEFT JOIN workers AS w ON {workers.of("j")}"""


def _lines_of_lost(*, is_loss: str) -> str:
    return f"""
        (0, CASE WHEN {is_loss} THEN 'error' ELSE 'warn' END, %(msg)s),
        (1, 'warn', CASE WHEN r.status <> 'queued' THEN {_CLOSING} END)"""


# One run is rescued only from the node that asks, because another node may have received the same message and run it.
_RESCUE = Statement(
    _ends(
        f"""{_lost(is_loss="%(is_loss)s", is_unbegun="%(is_unbegun)s::bool", usage=_USAGE)}
    WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s AND j.status = 'running'
        AND j.node_id = %(node_id)s::uuid
    ORDER BY j.id LIMIT 1 FOR UPDATE OF j""",
        _lines_of_lost(is_loss="%(is_loss)s"),
    )
)


def rescue(
    connection: Connection,
    *,
    run: RunKey,
    node_id: str,
    msg: str,
    error: str,
    is_loss: bool,
    is_unbegun: bool = False,
    usage: RunUsage = NO_USAGE,
) -> Job | None:
    """Return a run to the queue, or end it, if its process is gone or the node shuts down.

    `msg` is the log line, `error` the job's error if it fails. A loss counts towards `MAX_LOSSES`, not as an attempt.
    `is_unbegun`: its handler was not entered. `usage`: what the run has used.
    Returns the job as it is then, or None if the run had ended or does not exist.
    """
    parameters = rows.run_parameters(run) | {"node_id": node_id, "msg": msg, "error": error, "is_loss": is_loss}
    parameters |= {"is_unbegun": is_unbegun, "cpu_us": usage.cpu_us, "peak_memory_mb": usage.peak_memory_mb}
    row = connection.exec_driver_sql(_RESCUE, parameters).first()
    return None if row is None else rows.job(row)


# A node without a row is as dead as a silent one. A silent node whose heartbeat has changed since it was read is alive.
# Moments are only compared for equality, because PostgreSQL's clock may jump.
#
# It runs again and again, so it does not wait for rows that another transaction has locked, and it is planned seldom,
# because planning takes longer than finding none.
_RESCUE_FROM_DEAD_NODES = Prepared(
    "rescue_from_dead_nodes",
    _ends(
        f"""{_lost(is_loss="true", is_of_node=True)}
    WHERE j.status = 'running' AND j.node_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM nodes AS n WHERE n.id = j.node_id AND n.stopped_at IS NULL
            AND (n.id, n.seen_at) NOT IN (SELECT * FROM unnest(%(silent_ids)s::uuid[], %(silent_at)s::timestamptz[])))
    ORDER BY j.id LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED""",
        _lines_of_lost(is_loss="true"),
        # A run whose claim it shared with others has stored none if it was brief.
        _OPENINGS,
    ),
    plan_seconds=60.0,
)


def rescue_from_dead_nodes(
    connection: Connection, *, silent: Mapping[str, datetime], msg: str, error: str, limit: int
) -> list[Job]:
    """Rescue the runs of dead nodes, oldest jobs first. Returns the jobs as they are then.

    Each run counts towards `MAX_NODE_LOSSES`, not as an attempt.
    `silent` has the silent nodes' last heartbeats by their ids.
    """
    parameters: dict[str, object] = {"silent_ids": list(silent), "silent_at": list(silent.values())}
    parameters |= {"limit": limit, "msg": msg, "error": error}
    return [rows.job(row) for row in _RESCUE_FROM_DEAD_NODES.run(connection, parameters)]


_END_KILLED_RUN = Statement(
    _ends(
        f"""
    SELECT j.tenant_id, j.id, j.run_no, j.started_at, j.cancel_requested_at, j.cancelled_by, j.queue,
           CASE WHEN j.cancel_requested_at IS NOT NULL THEN {STOPPED_STATUS}
                WHEN j.attempt < j.max_attempts AND cardinality(%(delays)s::float8[]) > 0 THEN 'queued'
                ELSE 'failed' END AS status,
           %(error)s AS error, (%(delays)s::float8[])[j.attempt] * interval '1 second' AS delay,
           false AS gives_back, j.losses, j.node_losses, false AS is_unbegun,
           {_USAGE}
    FROM jobs AS j
    WHERE j.tenant_id = %(tenant_id)s AND j.id = %(id)s::uuid AND j.run_no = %(run_no)s
        AND j.status IS NOT DISTINCT FROM 'running'
        AND (%(node_id)s::uuid IS NULL OR j.node_id = %(node_id)s::uuid)
    FOR UPDATE""",
        f"""
        (0, CASE r.status WHEN 'cancelled' THEN 'warn' ELSE 'error' END,
            {_CLOSING} || %(how)s)""",
    )
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
    """End a run (of this node, if one is named) whose process was killed. Returns the job's status.

    `how`: what the closing line ends with. `usage`: what the run has used.

    It is `cancelled` if a cancel was requested. Else the attempt has failed, and another may follow by `retry`, without
    its jitter; None: none follows. Returns None if the run had ended.
    """
    delays = [] if retry is None else [retry.unspread_seconds(attempt) for attempt in range(1, MAX_RETRIES + 1)]
    parameters = rows.run_parameters(run) | {"node_id": node_id, "error": error, "how": how, "delays": delays}
    parameters |= {"cpu_us": usage.cpu_us, "peak_memory_mb": usage.peak_memory_mb}
    row = connection.exec_driver_sql(_END_KILLED_RUN, parameters).first()
    return None if row is None else rows.job(row).status


# The rows of the runs in `pulled_runs` are locked before.
def _rescues_pulled(*, has_begun: bool) -> Statement:
    is_loss = str(has_begun).lower()
    return Statement(
        _ends(
            f"""{_lost(is_loss=is_loss, is_unbegun=str(not has_begun).lower())}
    JOIN unnest(%(tenants)s::text[], %(ids)s::uuid[], %(run_nos)s::int[], %(claim_ids)s::uuid[])
        AS p (tenant_id, id, run_no, claim_id)
        ON p.tenant_id = j.tenant_id AND p.id = j.id AND p.run_no = j.run_no AND p.claim_id = j.claim_id
    WHERE j.status IS NOT DISTINCT FROM 'running' ORDER BY j.id FOR UPDATE OF j""",
            _lines_of_lost(is_loss=is_loss),
        )
    )


_RESCUE_SILENT = _rescues_pulled(has_begun=True)
_RESCUE_UNUSED = _rescues_pulled(has_begun=False)


def rescue_pulled(
    connection: Connection, runs: Sequence[tuple[RunKey, str]], *, msg: str, error: str, has_begun: bool
) -> list[Job]:
    """Return pulled runs, each with the id of its claim, to the queue, or end them. Returns the jobs as they are then.

    `msg` is the log line, `error` the error of a job that fails. Runs whose handlers were not entered are no loss.
    """
    parameters = {
        "tenants": [run.tenant_id for run, _ in runs],
        "ids": [rows.job_uuid(run.job_id) for run, _ in runs],
        "run_nos": [run.run_no for run, _ in runs],
        "claim_ids": [claim_id for _, claim_id in runs],
        "msg": msg,
        "error": error,
    }
    statement = _RESCUE_SILENT if has_begun else _RESCUE_UNUSED
    return [rows.job(row) for row in connection.exec_driver_sql(statement, parameters)]


_RUNS_OF_NODES = Statement("""
SELECT n.name, j.tenant_id, j.id::text, j.run_no
FROM nodes AS n JOIN jobs AS j ON j.node_id = n.id AND j.status = 'running'
WHERE n.stopped_at IS NULL AND n.id = ANY(%(node_ids)s::uuid[])
LIMIT 1000
""")


def runs_of_nodes(connection: Connection, node_ids: Collection[str]) -> dict[str, list[RunKey]]:
    """Returns the runs of these nodes by the node's name."""
    found: dict[str, list[RunKey]] = {}
    for name, tenant_id, id_, run_no in connection.exec_driver_sql(_RUNS_OF_NODES, {"node_ids": list(node_ids)}):
        found.setdefault(name, []).append(RunKey(tenant_id, ids.encode("job", id_), run_no))
    return found
