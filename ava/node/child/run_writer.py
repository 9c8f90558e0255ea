"""What the process that runs a job writes of it; each write is repeated while the database is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count
from typing import TypeVar

from ava.broker.dropped import DROPPED
from ava.domain.jobs.job import Job, JobKey, LogLine, RunKey, Status
from ava.domain.jobs.messages import Message
from ava.domain.jobs.waits import LoadedJournal
from ava.domain.worker import WorkerSettings
from ava.errors import DatabaseUnavailable
from ava.node.child.run import Run
from ava.node.outcome import Stop
from ava.store.engine.database import Connection, Database
from ava.store.fleet import worker_settings
from ava.store.jobs import journal
from ava.store.jobs.moves import claim, end, log_lines, park, permits, rescue, wait
from ava.store.jobs.moves.claim import NO_PRIORITY, Claim, RunCheck
from ava.store.jobs.moves.ended_runs import EndedRun

Result = TypeVar("Result")

#: Seconds for which a write is repeated while the database is away.
HOLD_SECONDS = 300.0


class RunWriter:
    """Writes the jobs that one process runs. Its methods raise `DatabaseUnavailable` after `HOLD_SECONDS`."""

    def __init__(self, database: Database, node_id: str) -> None:
        self.database = database
        self._kept = database.dedicated()
        self._node_id = node_id

    def claim(self, run: RunKey, worker_id: str, claim_id: str) -> Job | None:
        """Start a run. Returns None if it cannot be claimed."""
        wanted = self._claim(run, worker_id, claim_id)
        # An earlier try may have claimed the run and lost the database before the reply; `claimed` finds that claim.
        return self._persist(lambda c: claim.claim(c, wanted) or claim.claimed(c, wanted))

    def claim_or_park(self, run: RunKey, worker_id: str, claim_id: str) -> Job | None:
        """Start a run. Returns None if it cannot be claimed: it parks the job of a paused worker then.

        A message that names another worker than the job's row is counted as dropped.
        """
        job = self.claim(run, worker_id, claim_id)
        if job is None and not self._park_paused(run, worker_id) and self._names_other_worker(run, worker_id):
            DROPPED.drop("worker")
        return job

    def _claim(self, run: RunKey, worker_id: str, claim_id: str) -> Claim:
        return Claim(run=run, worker_id=worker_id, node_id=self._node_id, claim_id=claim_id)

    def claim_together(self, wanted: Sequence[RunKey], worker_id: str, claim_id: str) -> list[Job]:
        """Start runs of one worker. Returns the jobs of those that could be claimed."""
        tries = count()

        def attempt(connection: Connection) -> list[Job]:
            act = claim.claim_together if next(tries) == 0 else claim.claim_together_again
            return act(connection, wanted, worker_id=worker_id, node_id=self._node_id, claim_id=claim_id)

        return self._persist(attempt)

    def check(self, job: Job, claim_id: str | None, *, outranked_by: int) -> RunCheck | None:
        """Returns what is to be known before a claimed run begins, or None if the run has lost its job."""
        return self._persist(lambda c: claim.check(c, run=job.run, claim_id=claim_id, outranked_by=outranked_by))

    def worker_settings(self, job: Job) -> tuple[WorkerSettings | None, WorkerSettings | None]:
        """Returns what a job's tenant and the platform have set of its worker."""
        return self._persist(lambda c: worker_settings.read(c, tenant_id=job.tenant_id, worker_id=job.worker_id))

    def _park_paused(self, run: RunKey, worker_id: str) -> bool:
        """Park a job that could not be claimed. Returns False unless its worker is paused."""
        return self._persist(lambda c: park.park_unclaimed(c, run=run, worker_id=worker_id))

    def _names_other_worker(self, run: RunKey, worker_id: str) -> bool:
        """Returns True if a message that could not be claimed named another worker than the job's row does."""
        return self._persist(lambda c: claim.names_other_worker(c, run=run, worker_id=worker_id))

    def defer(self, run: RunKey, worker_id: str, *, dead_after_seconds: float) -> None:
        """Put off a job whose handler this node does not have."""
        self._persist(
            lambda c: park.park_unclaimed(
                c,
                run=run,
                worker_id=worker_id,
                lacks_handler=True,
                dead_after_seconds=dead_after_seconds,
            )
        )

    def owns_job(self, run: Run) -> bool:
        """Returns True if a run still holds its job. Raises `DatabaseUnavailable` at the first failure.

        It uses a connection of the pool, because a signal handler calls it while the kept connection may be in use.
        """
        with self.database.connect() as connection:
            return claim.owns_job(connection, run=run.job.run, claim_id=run.claim_id)

    def end(
        self, ended: EndedRun, following: tuple[Message, str] | None = None, *, outranked_by: int = NO_PRIORITY
    ) -> tuple[Status | None, Job | None, bool]:
        """Write how a run ended, and claim the `following` one in the same transaction if it can be claimed.

        `following`: the message whose first run it is, and the id of its claim. `outranked_by`: the least urgent
        priority of a waiting message for which it is not claimed.

        Returns the status of the ended run's job, or None if the run has lost it; the job that was claimed; and
        whether such a message waits. A stopped or returned job claims none.
        """
        if ended.outcome.is_rate_limited:
            # Before the end, so that no other job of the key is admitted in between.
            self._persist(lambda c: _defer_rate(c, ended))
        if following is None or not ended.is_plain:
            act = wait.end_waiting if ended.outcome.wait is not None else end.end
            return self._persist_end(ended, lambda c: act(c, ended)), None, False
        message, next_claim_id = following
        wanted = self._claim(message.runs[0], message.worker_id, next_claim_id)
        claimed: Job | None = None
        is_outranked = False

        def end_and_claim(connection: Connection) -> Status | None:
            nonlocal claimed, is_outranked
            status, job, is_outranked = end.end_and_claim(connection, ended, wanted, outranked_by=outranked_by)
            claimed = job or claim.claimed(connection, wanted)
            return status or end.end_stopped(connection, [ended]).get(ended.key)

        return self._persist_end(ended, end_and_claim), claimed, is_outranked

    def _persist_end(self, ended: EndedRun, act: Callable[[Connection], Status | None]) -> Status | None:
        tries = count()

        def attempt(connection: Connection) -> Status | None:
            is_first = next(tries) == 0
            status = act(connection)
            # An earlier attempt may have written the end and lost its response.
            return status or (None if is_first else end.written(connection, [ended]).get(ended.key))

        return self._persist(attempt)

    def end_together(self, ended: Sequence[EndedRun]) -> dict[JobKey, Status]:
        """Write how runs ended. Returns the jobs' statuses, without those of runs that have lost their jobs."""
        tries = count()

        def attempt(connection: Connection) -> dict[JobKey, Status]:
            is_first = next(tries) == 0
            statuses = end.end_each(connection, ended)
            if is_first or len(statuses) == len(ended):
                return statuses
            return end.written(connection, ended) | statuses

        return self._persist(attempt)

    def end_undecided(self, run: Run) -> None:
        """Return the job of a run that ended without a decision, unless the run has lost it."""
        if run.is_expired:
            self._give_back(run, run.log.take())
        elif run.stopped_for is Stop.SHUTDOWN:
            self._requeue(run, run.log.take())

    def _give_back(self, run: Run, lines: Sequence[LogLine]) -> None:
        """Return a run's job to the queue, because its handler was not entered in time."""

        def act(connection: Connection) -> None:
            if log_lines.append(connection, run=run.job.run, claim_id=run.claim_id, lines=lines):
                rescue.release(connection, [(run.job.run, run.claim_id or "")])

        self._persist(act)

    def load_journal(self, job: Job, claim_id: str) -> LoadedJournal | None:
        """Returns the journal of a claimed job; None if the run has lost the job."""
        return self._persist(lambda c: journal.load(c, run=job.run, claim_id=claim_id, attempt=job.attempt))

    def _requeue(self, run: Run, lines: Sequence[LogLine]) -> None:
        """Return a run's job to the queue, because the node shuts down."""

        def act(connection: Connection) -> None:
            if not log_lines.append(connection, run=run.job.run, claim_id=run.claim_id, lines=lines):
                return
            rescue.rescue(
                connection,
                run=run.job.run,
                node_id=self._node_id,
                msg="Handler interrupted, the worker is shutting down",
                error="WorkerLost: the worker was shut down",
                is_loss=False,
                usage=run.usage,
            )

        self._persist(act)

    def _persist(self, act: Callable[[Connection], Result]) -> Result:
        def attempt() -> Result:
            with self._kept as connection:
                return act(connection)

        return persist(attempt)

    def close(self) -> None:
        """Return the connection to the pool."""
        self._kept.close()


def _defer_rate(connection: Connection, ended: EndedRun) -> bool:
    return permits.put_off_rate(
        connection,
        run=ended.outcome.run,
        claim_id=ended.claim_id,
        seconds=ended.outcome.delay_seconds or 0,
    )


def ended_run(run: Run, *, began_at: datetime | None = None) -> EndedRun:
    """Return the end of a run as it was decided, with the log lines that wait. `began_at`: as `EndedRun` has it."""
    assert run.end is not None
    closing = run.end.closing
    assert closing is not None
    *lines, last = run.log.take_with_closing(*closing)
    return EndedRun.of(
        run.job,
        run.end,
        claim_id=run.claim_id,
        lines=lines,
        closing=last,
        progress_json=run.progress_json,
        began_at=began_at,
    )


def persist(act: Callable[[], Result], hold_seconds: Callable[[], float] = lambda: HOLD_SECONDS) -> Result:
    """Do something in the database, and repeat it while the database is away. Returns what `act` returns.

    Raises `DatabaseUnavailable` after `hold_seconds`, which may change meanwhile.
    """
    began = time.monotonic()
    pause = 0.1
    while True:
        try:
            return act()
        except DatabaseUnavailable:
            if time.monotonic() >= began + hold_seconds():
                raise
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
