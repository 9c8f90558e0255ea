"""Duty: rescue pulled runs that are silent, and end those whose time-out or grace is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.pull import PULLED_SILENT_SECONDS
from ava.domain.jobs.retry import DEFAULT
from ava.store.engine.database import Database
from ava.store.fleet import worker_claims
from ava.store.jobs.moves import pull, rescue

#: Of the seconds without a word PostgreSQL's clock says the first ones, so that only runs that have missed a heartbeat
#: are watched.
_MISSED_SECONDS = 6.0
#: If more seconds pass between two rounds, the database may have been out of reach for the workers as well.
_GAP_SECONDS = 3.0
#: If the heartbeat of the API processes, which they write every second, is older, none can receive those of runs.
_API_GAP_SECONDS = 5.0
_MAX_WATCHED = 20_000
_RUNS_PER_STATEMENT = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Silent:
    """A run that has missed a heartbeat."""

    #: PostgreSQL's time of the last word. It is only compared with another one for equality.
    heard_at: datetime
    #: Since when the run is silent, in seconds of this process's monotonic clock.
    since: float


class PulledRunWatch:
    """Rescues runs whose worker is silent, and ends those that their worker should have ended.

    PostgreSQL's clock may jump, and after an outage of the database or of the API the last heartbeats of living workers
    are old. So a run is silent only if its last heartbeat has not changed while an API process could receive another
    one, and while this process read it repeatedly without a gap.
    """

    def __init__(self, database: Database, *, silent_seconds: float = PULLED_SILENT_SECONDS) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._watched: dict[RunKey, _Silent] = {}
        #: When this process last read the runs, and since when it has read them without a gap.
        self._read_at = self._began_at = float("-inf")
        #: The last heartbeat of the API processes, by PostgreSQL's clock, and when it was read first.
        self._api_heartbeat_at: datetime | None = None
        self._api_read_at = float("-inf")

    def run_once(self, now: float) -> int:
        """Rescue silent runs, and end overdue ones, a batch of each. Returns the number of runs."""
        missed_seconds = min(_MISSED_SECONDS, self._silent_seconds / 2)
        with self._database.connect() as connection:
            found = pull.missed(connection, seconds=missed_seconds, limit=_MAX_WATCHED)
            self._check_gaps(now, worker_claims.api_heartbeat_at(connection))
        since = max(now - missed_seconds, self._began_at)
        self._watched = {
            run: last
            if (last := self._watched.get(run)) is not None and last.heard_at == heard_at
            else _Silent(heard_at=heard_at, since=since)
            for run, heard_at in found.items()
        }
        silent = [
            (run, last.heard_at) for run, last in self._watched.items() if now - last.since >= self._silent_seconds
        ]
        return self._rescue(silent[:_RUNS_PER_STATEMENT]) + self._end_overdue()

    def _check_gaps(self, now: float, api_heartbeat_at: datetime | None) -> None:
        """Begin anew if the runs could not be read, or no API process could receive their heartbeats."""
        if api_heartbeat_at != self._api_heartbeat_at:
            self._api_heartbeat_at, self._api_read_at = api_heartbeat_at, now
        if now - self._read_at > _GAP_SECONDS or now - self._api_read_at > _API_GAP_SECONDS:
            self._watched, self._began_at = {}, now
        self._read_at = now

    def _rescue(self, silent: list[tuple[RunKey, datetime]]) -> int:
        if not silent:
            return 0
        with self._database.transaction() as connection:
            locked = pull.lock_silent(connection, silent)
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

    def _end_overdue(self) -> int:
        with self._database.transaction() as connection:
            overdue = pull.lock_overdue(connection, limit=_RUNS_PER_STATEMENT)
            # In the order of the ids, as a cancel locks jobs.
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
