"""Write what becomes of a run whose process is gone: it returns to the queue, fails or is cancelled."""

from __future__ import annotations

import logging
from dataclasses import replace

from ava import tracing
from ava.node.outcome import Stop
from ava.node.parent.held_run import HeldRun
from ava.store.engine.database import Connection
from ava.store.jobs import passed_places, rescues, runs
from ava.tracing import Kind

__all__ = ["rescue_run"]

_log = logging.getLogger(__name__)


def rescue_run(connection: Connection, held: HeldRun, *, node_id: str, error: str) -> bool:
    """Write what becomes of a run of the node `node_id`. Returns False if the run had ended.

    `error` says what its process died of. A run that another node holds is never changed. If the run had ended and
    passed its place of a limit on, the process has died with the run that has got it, and that one is rescued.
    """
    if not _write(connection, held, node_id, error):
        passed = passed_places.passed_by(connection, job_id=held.job_id, run_no=held.run_no, node_id=node_id)
        if passed is None:
            return False
        ended, held = held, held.next_with_place(*passed)
        if ended.stop is Stop.SHUTDOWN:
            # It was killed with its node, which is no loss.
            held.state = replace(held.state, stop=ended.stop)
        if not _write(connection, held, node_id, error):
            return False
    _log.warning("Run rescued from a dead process", extra={"job_id": held.job_id, "run_no": held.run_no})
    _report_span(connection, held)
    return True


def _write(connection: Connection, held: HeldRun, node_id: str, error: str) -> bool:
    job_id, run_no, stop = held.job_id, held.run_no, held.stop
    # The last claim of the process may still be on its way to the database. It must not succeed after this.
    if rescues.invalidate_unclaimed(connection, job_id=job_id, run_no=run_no):
        return True
    if stop is Stop.LOST:
        return False
    if stop in (Stop.TIMEOUT, Stop.CANCEL):
        if stop is Stop.TIMEOUT:
            error = f"Timeout: exceeded {held.state.timeout_seconds:g} s"
        status = rescues.end_killed_run(connection, job_id=job_id, run_no=run_no, node_id=node_id, error=error)
        return status is not None
    is_loss = stop is None
    reason = f"lost: {error.partition(': ')[2]}" if is_loss else "interrupted, the worker is shutting down"
    job = rescues.rescue(
        connection,
        job_id=job_id,
        run_no=run_no,
        node_id=node_id,
        msg=f"Handler {reason}",
        error=error,
        is_loss=is_loss,
    )
    return job is not None


def _report_span(connection: Connection, held: HeldRun) -> None:
    """Report the span of a run whose process was killed and cannot report it."""
    if not tracing.can_report() or (job := runs.show(connection, held.job_id)) is None:
        return
    # The number of this attempt is not known here: a run that returned to the queue has given it back.
    about = {name: value for name, value in tracing.describe(job).items() if name != "ava.attempt"}
    tracing.report_killed(
        "run",
        Kind.CONSUMER,
        parent=job.traceparent,
        began_ns=held.began_ns,
        about=about | {"ava.job.status": job.status.value},
        reason="lost" if held.stop is None else f"{held.stop.value}, killed",
    )
