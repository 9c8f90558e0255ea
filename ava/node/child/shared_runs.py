"""The runs of a message that share a claim: one statement claims them, and one writes the ends of those that complete.

They are brief (`HandlerTimes.max_together`), and each still looks for a cancel in the database before it begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from ava.domain.job import Job, LogLevel, LogLine, RunEnd, Status
from ava.node.child import run_reports
from ava.node.child.run import Run
from ava.node.run_board import ProcessBoard
from ava.store.jobs import runs
from ava.store.jobs.shared_claims import CompletedRun

__all__ = ["SharedRuns"]


class SharedRuns:
    """The runs of one claim. The caller locks what it calls from several threads."""

    def __init__(self, board: ProcessBoard) -> None:
        self._board = board
        self.claim_id = ""
        #: The claimed jobs that have not begun by their ids, and when each was claimed.
        self._unbegun: dict[str, tuple[Job, float]] = {}
        #: Runs that have completed, and what is to be written of each.
        self._completed: list[tuple[Run, CompletedRun]] = []

    def begin(self, jobs: Sequence[Job], claim_id: str) -> None:
        """Begin with jobs that were just claimed. The ends of another claim are written."""
        if claim_id != self.claim_id:
            self.claim_id, self._unbegun = claim_id, {}
        self._unbegun |= {job.id: (job, time.monotonic()) for job in jobs}

    def holds(self, job_id: str, run_no: int) -> bool:
        """Returns True if a run was claimed and has not begun."""
        return job_id in self._unbegun and self._unbegun[job_id][0].run_no == run_no

    def take(self, job_id: str, run_no: int) -> Job | None:
        """Take a job whose turn has come, with the time of now as its start. Returns None if it was not claimed."""
        if not self.holds(job_id, run_no):
            return None
        job, claimed_at = self._unbegun.pop(job_id)
        assert job.started_at is not None
        return replace(job, started_at=job.started_at + timedelta(seconds=time.monotonic() - claimed_at))

    def open_log(self, run: Run) -> None:
        """Put the first line into a run's log; the claim has not stored it."""
        assert run.job.started_at is not None
        seq = run.job.run_no * runs.SEQ_PER_RUN
        run.log.put_back([LogLine(seq=seq, ts=run.job.started_at, level=LogLevel.INFO, msg=runs.OPENING)])

    def may_defer(self, run: Run) -> bool:
        """Returns True if the end of a run may be written together with others."""
        return run.claim_id == self.claim_id and run.end is not None and run.end.status is Status.COMPLETED

    def defer(self, run: Run, run_end: RunEnd) -> bool:
        """Keep the end of a run until `write`. Returns False if the node's parent does not see it for lack of room."""
        assert run.job.started_at is not None
        lines = run.log.take_with_closing(*run_end.closing)
        completed = CompletedRun(end=run_end, began_at=run.job.started_at, lines=lines, progress_json=run.progress_json)
        self._completed.append((run, completed))
        return self._board.keep_end(completed, self.claim_id)

    @property
    def is_to_write(self) -> bool:
        """Returns True if ends wait to be written."""
        return bool(self._completed)

    def write(self, act: Callable[[Sequence[CompletedRun], str], dict[str, Status]]) -> None:
        """Write the ends that wait, by `act`, and report them. They are kept if it raises."""
        if not self._completed:
            return
        statuses = act([completed for _, completed in self._completed], self.claim_id)
        written, self._completed = self._completed, []
        self._board.forget_ends()
        for run, _ in written:
            run_reports.report_end(run, statuses.get(run.job.id))
            run.span.end()
