"""Write the outcomes of a dead process's runs: they end, fail, or return to the queue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from ava.domain.jobs.job import LogLevel, LogLine, RunKey
from ava.domain.jobs.retry import DEFAULT, Retry
from ava.domain.jobs.usage import NO_USAGE, RunUsage
from ava.handler import registry
from ava.handler.errors import Interruption
from ava.node.outcome import EXCEEDED, Stop, exceeded_message, in_mb
from ava.node.parent.pool_runs import DeadProcess
from ava.node.run_board import CurrentRun, Phase
from ava.store.engine.database import Connection
from ava.store.fleet import worker_settings
from ava.store.jobs.transitions import claim, end, log_lines, recall, rescue
from ava.telemetry import tracing
from ava.telemetry.span import Kind

_log = logging.getLogger(__name__)


def rescue_runs(
    connection: Connection, wanted: Sequence[RunKey], process: DeadProcess, *, node_id: str, error: str
) -> None:
    """Write the outcomes of a dead process's current run and of the runs in its messages.

    Its buffered ends are written. Its current run is lost, or ends as it was stopped; `error` names the cause of death.
    All other runs have ended, or have not begun and return to the queue without a loss. Runs of other nodes than
    `node_id` are never changed.
    """
    if process.ends:
        end.end_each(connection, process.ends)
    current = process.current
    for run in dict.fromkeys([*([current.key] if current is not None else []), *wanted]):
        if process.pid and not process.had(run):
            _requeue(connection, run, node_id)
        elif _rescue(connection, run, process, node_id=node_id, error=error):
            _log.warning("Run rescued from a dead process", extra={"job_id": run.job_id, "run_no": run.run_no})
            _report_span(connection, run, process)


def _requeue(connection: Connection, run: RunKey, node_id: str) -> None:
    """Requeue an unstarted run. An ended run stays unchanged."""
    # An in-flight claim must not succeed after this.
    if not recall.recall_runs(connection, [run]):
        rescue.rescue(
            connection,
            run=run,
            node_id=node_id,
            msg="Handler not started: its process has ended",
            error="",
            is_loss=False,
            has_begun=False,
        )


def _rescue(connection: Connection, run: RunKey, process: DeadProcess, *, node_id: str, error: str) -> bool:
    """Rescue a run of the process. Returns False if there was nothing to write."""
    if recall.recall_runs(connection, [run]):
        return True
    if process.current is not None and process.current.key == run and process.current.phase is not Phase.CLAIMING:
        _store_opening(connection, process.current)
    shutdown = process.stop if process.stop is Stop.SHUTDOWN else None
    stop = process.stop if process.current is not None and process.current.key == run else shutdown
    return _write(connection, run, stop, process, node_id=node_id, error=error)


def _write(
    connection: Connection, run: RunKey, stop: Stop | None, process: DeadProcess, *, node_id: str, error: str
) -> bool:
    if stop is Stop.LOST:
        return False
    bound = None if stop is None else EXCEEDED.get(stop)
    if stop is Stop.CANCEL or bound is not None:
        retry = None
        if stop is not None and bound is not None and process.current is not None:
            kind, cause = bound
            error = f"{kind}: {_exceeded(stop, process, process.current)}"
            retry = _retry(connection, run, cause())
        usage = _usage(run, process)
        status = rescue.end_killed_run(connection, run=run, node_id=node_id, error=error, retry=retry, usage=usage)
        return status is not None
    is_loss = stop is None
    reason = f"lost: {error.partition(': ')[2]}" if is_loss else "interrupted, the worker is shutting down"
    status = rescue.rescue(
        connection,
        run=run,
        node_id=node_id,
        msg=f"Handler {reason}",
        error=error,
        is_loss=is_loss,
        has_begun=process.current is None or process.current.key != run or process.current.phase is not Phase.CLAIMING,
        usage=_usage(run, process),
    )
    return status is not None


def _usage(run: RunKey, process: DeadProcess) -> RunUsage:
    """Return the last measured usage of a run; unknown for the run after it."""
    if process.current is None or process.current.key != run:
        return NO_USAGE
    return RunUsage(cpu_us=process.cpu_us, peak_memory_mb=in_mb(process.peak_bytes))


def _exceeded(stop: Stop, process: DeadProcess, current: CurrentRun) -> str:
    return exceeded_message(
        stop,
        timeout_seconds=current.timeout_seconds,
        max_memory_mb=current.max_memory_mb,
        peak_bytes=process.peak_bytes,
    )


def _retry(connection: Connection, run: RunKey, cause: Interruption) -> Retry | None:
    """Return the retry delays of a run that exceeded a limit; None if its worker does not retry then."""
    job = claim.show(connection, run)
    handler = None if job is None else registry.find(job.worker_id)
    if handler is None:
        return DEFAULT
    if not handler.retries.allow(cause):
        return None
    given = worker_settings.read(connection, tenant_id=run.tenant_id, worker_id=job.worker_id) if job else ()
    return next((each.retry for each in given if each is not None and each.retry), handler.retries.delays)


def _store_opening(connection: Connection, current: CurrentRun) -> None:
    """Store a run's first line, which a shared claim does not, if its process died before storing any."""
    began_at = datetime.fromtimestamp(current.began_ns / 1e9, UTC)
    seq = current.key.run_no * log_lines.SEQ_PER_RUN
    opening = LogLine(seq=seq, ts=began_at, level=LogLevel.INFO, msg=log_lines.OPENING)
    log_lines.append(connection, run=current.key, claim_id=current.claim_id or None, lines=[opening])


def _report_span(connection: Connection, run: RunKey, process: DeadProcess) -> None:
    current, stop = process.current, process.stop
    if current is None or not tracing.can_report() or (job := claim.show(connection, run)) is None:
        return
    # Without the attempt number, because requeueing the run has decremented it.
    about = {name: value for name, value in tracing.describe(job).items() if name != "ava.attempt"}
    tracing.report_killed(
        "run",
        Kind.CONSUMER,
        parent=job.traceparent,
        began_ns=current.began_ns,
        about=about | {"ava.job.status": job.status.value},
        reason="lost" if stop is None else f"{stop.value}, killed",
    )
