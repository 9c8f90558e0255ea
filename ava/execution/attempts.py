"""What a child says of each attempt that has ended: one line, and a count."""

from __future__ import annotations

import logging

from ava.domain.job import Status
from ava.execution.run import Run
from ava.services import counters

__all__ = ["tell"]

_log = logging.getLogger(__name__)


def tell(run: Run, status: Status | None) -> None:
    """Log and count the end of an attempt, once what became of the job has been written.

    `status` is the job's then: `queued` where another attempt follows; None where the run had no say any more.
    """
    result = "given up" if status is None else "to be repeated" if status is Status.QUEUED else status.value
    counters.ATTEMPTS.labels(run.job.worker_id, result.replace(" ", "_")).inc()
    _log.info(
        "An attempt of %s is %s after %d ms.",
        run.job.worker_id,
        result,
        run.log.elapsed_ms,
        extra={"job_id": run.job.id, "tenant_id": run.job.tenant_id, "attempt": run.job.attempt},
    )
