"""Duty: rescue pulled runs that are silent, and end those whose time-out or grace is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.pull import PULLED_SILENT_SECONDS
from ava.domain.jobs.retry import DEFAULT
from ava.store.engine.database import Database
from ava.store.jobs.moves import pull, rescue

#: Of the seconds without a word PostgreSQL's clock says the first ones, so that only runs that have missed a heartbeat
#: are watched.
_MISSED_SECONDS = 6.0
#: If more seconds pass between two rounds, the database may have been out of reach for the workers as well.
_GAP_SECONDS = 3.0
_MAX_WATCHED = 20_000
_RUNS_PER_STATEMENT = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Silent:
    """A run that has missed a heartbeat."""

    #: PostgreSQL's time of the last word. It is only compared with another one for equality.
    heard_at: datetime
    #: When this process first read it, in seconds of the monotonic clock.
    read_at: float


class PulledRunWatch:
    """Rescues runs whose worker is silent, and ends those that their worker should have ended.

    PostgreSQL's clock may jump, and after an outage the last words of living workers are old. So a run is silent only
    if its last word has not changed while this process itself read it again and again, without a gap.
    """

    def __init__(self, database: Database, *, silent_seconds: float = PULLED_SILENT_SECONDS) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._watched: dict[RunKey, _Silent] = {}
        self._read_at = float("-inf")

    def run_once(self, now: float) -> int:
        """Rescue silent runs, and end overdue ones, a batch of each. Returns the number of runs."""
        missed_seconds = min(_MISSED_SECONDS, self._silent_seconds / 2)
        with self._database.connect() as connection:
            found = pull.missed(connection, seconds=missed_seconds, limit=_MAX_WATCHED)
        known = self._watched if now - self._read_at <= _GAP_SECONDS else {}
        self._watched = {
            run: last
            if (last := known.get(run)) is not None and last.heard_at == heard_at
            else _Silent(heard_at=heard_at, read_at=now)
            for run, heard_at in found.items()
        }
        self._read_at = now
        silent = [
            (run, last.heard_at)
            for run, last in self._watched.items()
            if now - last.read_at >= self._silent_seconds - missed_seconds
        ]
        return self._rescue(silent[:_RUNS_PER_STATEMENT]) + self._end_overdue()

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
