"""Duty: stop jobs whose deadline is over, with the jobs below them."""

from __future__ import annotations

from ava.broker.control import Control
from ava.dispatcher.duty import Duty
from ava.domain.jobs import system_cancel
from ava.services.revokes import revoke_all
from ava.store.engine.database import Database
from ava.store.jobs.moves import cancel
from ava.store.jobs.moves.cancel import CancelRequest
from ava.store.jobs.reads import deadlines

_JOBS_PER_TRANSACTION = 500


class Deadlines(Duty):
    """Stops the jobs whose deadline is over. Each fails, at once if it does not run, else once its process ends."""

    name = "deadlines"
    changes = "jobs stopped by their deadline"
    #: If `WorkProbe` does not wake it.
    every_seconds = 1.0

    def __init__(self, database: Database, control: Control) -> None:
        super().__init__()
        self._database = database
        self._control = control

    def run_once(self, _now: float) -> int:
        """Stop overdue jobs. Returns the number of jobs, those below them included."""
        with self._database.transaction() as connection:
            requests = [
                CancelRequest(
                    tenant_id=each.tenant_id,
                    job_id=each.job_id,
                    cancelled_by=None,
                    error=system_cancel.overdue(each.seconds),
                    is_overdue=True,
                )
                for each in deadlines.overdue(connection, limit=_JOBS_PER_TRANSACTION)
            ]
            stopped = cancel.cancel_each(connection, requests)
        revoke_all(self._database, self._control, stopped)
        return len(stopped)
