"""The statements of runs, as the process of a pool, its parent and its node send them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ava.dispatcher.duties.lost_runs import PulledRunWatch
from ava.domain.access import tokens
from ava.domain.access.tokens import TokenKind
from ava.domain.jobs.job import Job, LogLevel, LogLine, RunKey, Status
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.domain.jobs.usage import NO_USAGE, RunUsage
from ava.domain.jobs.waits import NewEntry
from ava.services.pulled_runs import PulledRuns
from ava.store.engine.database import Connection, Database
from ava.store.jobs import journal, rows
from ava.store.jobs.transitions import claim, end, log_lines, park, permits, pull, recall, rescue, wait
from ava.store.jobs.transitions.ended_runs import EndedRun, closing_line
from tests.integration.model.cast import DEAD_AFTER_SECONDS
from tests.integration.model.transitions import CPU_US, End, Run
from tests.runs import first_run

OPENING, CONTINUING = log_lines.OPENING, log_lines.CONTINUING


def run_line(run_no: int, number: int, message: str) -> LogLine:
    """Returns a line of a run's log."""
    return LogLine(seq=run_no * log_lines.SEQ_PER_RUN + number, ts=datetime.now(UTC), level=LogLevel.INFO, msg=message)


class Lease(NamedTuple):
    """The row of a run that was claimed over HTTP."""

    has_ended: bool
    is_used: bool
    heartbeat_at: datetime
    end_by: datetime


_LEASES = "SELECT lookup, ended_at IS NOT NULL, is_used, heartbeat_at, end_by FROM pulled_runs"


class RunDriver:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.pulled = PulledRuns(database)
        #: The tokens of the runs that were claimed over HTTP, by run and claim.
        self.tokens: dict[tuple[RunKey, str], str] = {}

    def claim(self, run: Run) -> Job | None:
        with self._database.connect() as connection:
            return claim.claim(connection, _wanted(run))

    def claimed(self, run: Run) -> Job | None:
        """Look for a claim whose result was lost."""
        with self._database.connect() as connection:
            if run.is_shared:
                wanted = [run.key]
                return next(iter(claim.claimed_together(connection, wanted, claim_id=run.claim)), None)
            return claim.claimed(connection, _wanted(run))

    def claim_together(self, together: Sequence[Run]) -> list[Job]:
        first = together[0]
        wanted = [run.key for run in together]
        with self._database.connect() as connection:
            return claim.claim_together(
                connection, wanted, worker_id=first.worker, node_id=first.node, claim_id=first.claim
            )  # fmt: skip

    def check(self, run: Run) -> tuple[bool, bool]:
        """Returns whether a claimed run holds its job, and whether it is to be cancelled."""
        with self._database.connect() as connection:
            found = claim.check(connection, run=run.key, claim_id=run.claim)
        return found is not None, found is not None and found.is_to_be_cancelled

    def is_held(self, run: Run) -> bool:
        with self._database.connect() as connection:
            return claim.owns_job(connection, run=run.key, claim_id=run.claim)

    def append_lines(self, run: Run, progress: str | None) -> bool:
        with self._database.connect() as connection:
            return log_lines.append(
                connection, run=run.key, claim_id=run.claim,
                lines=[run_line(run.run_no, 1, "said")], progress_json=progress,
            )  # fmt: skip

    def write_entries(self, run: Run, attempt: int, entries: Sequence[NewEntry]) -> bool:
        """Write entries into the journal of a run's job."""
        with self._database.connect() as connection:
            return journal.write(connection, run=run.key, claim_id=run.claim, attempt=attempt, entries=entries)

    def load_journal(self, run: Run, attempt: int) -> set[tuple[str, str]] | None:
        """Return the kinds and names of the entries that a run finds; None if it has lost its job."""
        with self._database.connect() as connection:
            found = journal.load(connection, run=run.key, claim_id=run.claim, attempt=attempt)
        return None if found is None else {(entry.kind.value, entry.name) for entry in found.entries}

    def end(self, run: Run, how: End) -> Status | None:
        with self._database.connect() as connection:
            ended = _ended(connection, run, how)
            if not run.is_shared or not ended.is_final:
                return end.end(connection, ended)
            return end.end_and_check(connection, [ended], run.key, run.claim)[0].get(ended.key)

    def end_waiting(self, run: Run, how: End, attempt: int) -> Status | None:
        """End a run because its handler waits."""
        with self._database.connect() as connection:
            return wait.end_waiting(connection, _ended(connection, run, how))

    def end_and_claim(self, run: Run, how: End, following: Run) -> tuple[Status | None, Job | None]:
        with self._database.connect() as connection:
            ended = _ended(connection, run, how)
            if not ended.is_plain:
                return end.end(connection, ended), None
            status, job, _ = end.end_and_claim(connection, ended, _wanted(following))
            return status or end.end_stopped(connection, [ended]).get(ended.key), job

    def end_together(self, ended: Sequence[tuple[Run, End]]) -> dict[str, Status]:
        with self._database.connect() as connection:
            found = end.end_each(connection, [_ended(connection, run, how, is_shared=True) for run, how in ended])
        return {key.id: status for key, status in found.items()}

    def release(self, together: Sequence[Run]) -> int:
        with self._database.connect() as connection:
            return rescue.release(connection, [(run.key, run.claim) for run in together])

    def claim_pulled(self, queue: str, *, capacity: int, claim_id: str) -> list[Job]:
        """Claim the jobs that are offered in a queue, over HTTP."""
        picks = [pull.Pick(queue=queue, priority=number, count=capacity) for number in range(1, 11)]
        made = [tokens.make(TokenKind.RUN, "00") for _ in range(capacity)]
        with self._database.connect() as connection:
            found = pull.claim(connection, picks, made, claim_id=claim_id, key_id=None, name=None)
        for each in found:
            self.tokens[each.job.run, claim_id] = each.token.encoded
        return [each.job for each in found]

    def leases(self) -> dict[tuple[RunKey, str], Lease]:
        """Return the leases of the runs whose tokens are known, by run and claim."""
        with self._database.connect() as connection:
            rows = {row[0]: Lease(*row[1:]) for row in connection.exec_driver_sql(_LEASES)}
        parsed = {key: tokens.parse(encoded, TokenKind.RUN) for key, encoded in self.tokens.items()}
        return {key: rows[token.lookup] for key, token in parsed.items() if token is not None and token.lookup in rows}

    def delete_old_leases(self) -> None:
        with self._database.connect() as connection:
            pull.delete_old(connection, limit=100)

    def watch_pulled(self) -> None:
        """Rescue the pulled runs without a word for an hour, and end those that are overdue."""
        watch = PulledRunWatch(self._database)
        for n in range(6):
            with self._database.connect() as connection:
                connection.exec_driver_sql("UPDATE installation SET api_heartbeat_at = clock_timestamp()")
            watch.run_once(3.0 * n)

    def defer_rate(self, run: Run, seconds: float) -> bool:
        with self._database.connect() as connection:
            return permits.defer_rate(
                connection, run=run.key, claim_id=run.claim, seconds=seconds
            )  # fmt: skip

    def rescue(self, run: Run, *, error: str, is_loss: bool, is_unbegun: bool = False) -> Status | None:
        with self._database.connect() as connection:
            return rescue.rescue(
                connection, run=run.key, node_id=run.node, msg="lost", error=error,
                is_loss=is_loss, has_begun=not is_unbegun,
            )  # fmt: skip

    def kill(self, run: Run, *, error: str) -> Status | None:
        with self._database.connect() as connection:
            return rescue.end_killed_run(
                connection, run=run.key, node_id=run.node, error=error
            )  # fmt: skip

    def recall_run(self, run: RunKey) -> bool:
        with self._database.connect() as connection:
            return recall.recall_runs(connection, [run]) == 1

    def park_unclaimed(self, run: Run, *, lacks_handler: bool) -> bool:
        with self._database.connect() as connection:
            return park.park_unclaimed(
                connection, run=run.key, worker_id=run.worker, lacks_handler=lacks_handler,
                dead_after_seconds=DEAD_AFTER_SECONDS,
            )  # fmt: skip


def _wanted(run: Run) -> claim.Claim:
    return claim.Claim(
        run=run.key, worker_id=run.worker, node_id=run.node, claim_id=run.claim
    )  # fmt: skip


# Not the store's own text, so that a step is not killed at it.
_SHOW = f"SELECT {rows.STARTED_COLUMNS} FROM jobs AS j WHERE (tenant_id, id) = (%(tenant_id)s, %(id)s::uuid)"


def _ended(connection: Connection, run: Run, how: End, *, is_shared: bool = False) -> EndedRun:
    """Return the end of a run as its process knows it: the values depend on the row as the claim left it."""
    row = connection.exec_driver_sql(_SHOW, rows.run_parameters(run.key)).first()
    job = first_run(run.key) if row is None else rows.job(row)
    outcome = RunOutcome(
        run=run.key, ending=_ending(how), elapsed_ms=1, output_json=how.output, error=how.error,
        delay_seconds=how.retry_in if how.status == "queued" and how.wait is None else None,
        reason="later" if how.gives_back else "", wait=how.wait,
        usage=NO_USAGE if run.node is None else RunUsage(cpu_us=CPU_US, peak_memory_mb=run.run_no),
    )  # fmt: skip
    closing = closing_line(run.run_no * log_lines.SEQ_PER_RUN + 2, datetime.now(UTC), outcome)
    return EndedRun.of(
        job, outcome, claim_id=run.claim, lines=[run_line(run.run_no, 1, "said")], closing=closing,
        progress_json=how.progress, began_at=datetime.now(UTC) if is_shared else None,
    )  # fmt: skip


def _ending(how: End) -> Ending:
    if how.wait is not None:
        return Ending.WAITED
    if how.status == "queued":
        return Ending.DEFERRED if how.gives_back else Ending.RETRIED
    return Ending(how.status)
