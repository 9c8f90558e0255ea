"""Request the decisions that jobs need before their first start, once their inputs are final."""

from __future__ import annotations

from collections.abc import Sequence

from ava.domain import approval_rule
from ava.domain.strings import one_line
from ava.process.pauses import Pauses
from ava.store.engine.database import Connection
from ava.store.engine.transactions import one_transaction
from ava.store.jobs import start_approvals, wake_queue
from ava.store.jobs.transitions import wake
from ava.store.jobs.transitions.wake import EndedWait, ResolvedInput

#: Max jobs of one transaction; the dispatcher requests the decisions of the others in later ones.
_MAX_JOBS = 50


def ask(connection: Connection, jobs: Sequence[tuple[str, str]]) -> None:
    """Request the decisions of jobs, given as tenant and UUID, and start jobs that need none.

    A job fails if its input cannot be the content of an approval. Repeated calls ask once.
    """
    starting: list[EndedWait] = []
    failed: list[ResolvedInput] = []
    pauses = Pauses()
    with one_transaction(connection):
        for job in start_approvals.lock_unasked(connection, jobs[:_MAX_JOBS]):
            try:
                wanted = approval_rule.first_request(job.rules, job.input_json)
            except ValueError as error:
                failed.append(ResolvedInput(job=job.wait, error=one_line(f"InputInvalid: {error}")))
                continue
            if wanted is None:
                starting.append(job.wait)
            else:
                start_approvals.request(connection, job, wanted)
            pauses.after_work()
        wake.start(connection, starting)
        wake.fail_unresolved(connection, failed)
        wake_queue.put_back(connection, jobs[_MAX_JOBS:])
