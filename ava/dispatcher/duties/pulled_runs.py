"""Duty: rescue pulled runs without heartbeats, and end runs past their timeout or grace period."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ava.dispatcher.duties.lost_runs import Heartbeats
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.pull import PULLED_SILENT_SECONDS
from ava.domain.jobs.retry import DEFAULT
from ava.store.engine.database import Database
from ava.store.fleet import worker_claims
from ava.store.jobs.transitions import pull, rescue

#: PostgreSQL's clock measures these first seconds of silence, so that only runs that missed a heartbeat are watched.
_MISSED_SECONDS = 6.0
#: API processes write their own heartbeat every second. If it is older, none can receive heartbeats of runs.
_API_GAP_SECONDS = 5.0
_MAX_WATCHED = 20_000
_RUNS_PER_STATEMENT = 500


class PulledRunWatch:
    """Rescues runs without heartbeats, and ends overdue runs that their worker should have ended.

    A run is silent only if its heartbeat stayed the same while an API process could have received another one.
    """

    def __init__(self, database: Database, *, silent_seconds: float = PULLED_SILENT_SECONDS) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._missed_seconds = min(_MISSED_SECONDS, silent_seconds / 2)
        self._heartbeats = Heartbeats[RunKey](age_seconds=self._missed_seconds)
        #: The last heartbeat of the API processes, by PostgreSQL's clock, and when this process first read it.
        self._api_heartbeat_at: datetime | None = None
        self._api_read_at = float("-inf")

    def run_once(self, now: float) -> int:
        """Rescue a batch of silent runs and end a batch of overdue ones. Returns the number of runs."""
        with self._database.connect() as connection:
            found = pull.missed(connection, seconds=self._missed_seconds, limit=_MAX_WATCHED)
            self._check_api(now, worker_claims.api_heartbeat_at(connection))
        self._heartbeats.observe(now, found)
        silent = list(self._heartbeats.silent(now, seconds=self._silent_seconds).items())
        return rescue_silent(self._database, silent[:_RUNS_PER_STATEMENT]) + self._end_overdue()

    def _check_api(self, now: float, api_heartbeat_at: datetime | None) -> None:
        """Discard the observations if no API process could receive heartbeats of runs."""
        if api_heartbeat_at != self._api_heartbeat_at:
            self._api_heartbeat_at, self._api_read_at = api_heartbeat_at, now
        if now - self._api_read_at > _API_GAP_SECONDS:
            self._heartbeats.forget(now)

    def _end_overdue(self) -> int:
        with self._database.transaction() as connection:
            overdue = pull.lock_overdue(connection, limit=_RUNS_PER_STATEMENT)
            # Lock jobs in the order of their ids, as a cancel does.
            for run in sorted(overdue, key=lambda each: each.run.job_id):
                rescue.end_killed_run(
                    connection,
                    run=run.run,
                    error=f"Timeout: exceeded {run.timeout_seconds:g} s",
                    how=" (its worker did not end it)",
                    retry=run.retry or DEFAULT,
                )
            pull.mark_lost(connection, [run.run for run in overdue])
        return len(overdue)


def rescue_silent(database: Database, silent: Sequence[tuple[RunKey, datetime]]) -> int:
    """Rescue runs that sent no heartbeat since the given one. Unused claims return to the queue. Returns the number."""
    if not silent:
        return 0
    with database.transaction() as connection:
        locked = pull.lock_expired(connection, silent)
        for has_begun, msg in (
            (True, "Handler lost: its worker is silent"),
            (False, "The claim was not used: the run had not begun"),
        ):
            runs = [(run, claim_id) for run, claim_id, is_used in locked if is_used is has_begun]
            if runs:
                error = "WorkerLost: the worker was silent"
                rescue.rescue_pulled(connection, runs, msg=msg, error=error, has_begun=has_begun)
        pull.mark_lost(connection, [run for run, _, _ in locked])
    return len(locked)
