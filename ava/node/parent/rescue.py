"""What becomes of a run whose process is gone, by why it had been asked to let go."""

from __future__ import annotations

from ava.node.outcome import Stop
from ava.store.engine.database import Connection
from ava.store.jobs import rescues

__all__ = ["rescue"]


def rescue(
    connection: Connection,
    *,
    job_id: str,
    run_no: int,
    node_id: str,
    stop: Stop | None,
    error: str,
    timeout_seconds: float,
) -> bool:
    """Write what becomes of it; False where it had ended. `error` says what its process died of.

    `node_id`: the node that had it; another one's run is never touched.
    """
    # A claim that the process sent with its last breath may still be on its way: it must not come through after this.
    if rescues.invalidate_unclaimed(connection, job_id=job_id, run_no=run_no):
        return True
    if stop is Stop.LOST:
        return False
    if stop is Stop.TIMEOUT:
        error = f"Timeout: exceeded {timeout_seconds:g} s"
    if stop in (Stop.TIMEOUT, Stop.CANCEL):
        return (
            rescues.end_killed_run(connection, job_id=job_id, run_no=run_no, node_id=node_id, error=error) is not None
        )
    is_loss = stop is None
    reason = f"lost: {error.partition(': ')[2]}" if is_loss else "interrupted, the worker is shutting down"
    taken = rescues.rescue(
        connection,
        job_id=job_id,
        run_no=run_no,
        node_id=node_id,
        reason=f"Handler {reason}",
        error=error,
        is_loss=is_loss,
    )
    return taken is not None
