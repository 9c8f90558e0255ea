"""A child passes the place of a limit from a run that ends to the job that waits next, and runs that one itself.

Otherwise the place would be given again by way of the dispatcher, the broker and the node, which takes as long as a
small job. No message says what the child runs then, so it reports that to its parent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ava.domain.job import RunEnd, Status
from ava.node.celery_internals.take_ahead import TakeAhead
from ava.node.child.claims import Claims
from ava.node.child.run import Run
from ava.node.child.run_writer import RunWriter
from ava.store.jobs import passed_places

__all__ = ["PlacePassing"]


class PlacePassing:
    """Decides which runs of one process pass their places on, and writes the ends of these. The main thread uses it."""

    def __init__(self, claims: Claims, take_ahead: TakeAhead) -> None:
        self._claims = claims
        self._take_ahead = take_ahead
        #: The run that passes its place on, if a job waits for it.
        self._run: Run | None = None

    def decide(self, run: Run) -> bool:
        """Decide before the end of a run is written. Returns True if it passes its place on, if a job waits for it."""
        may_pass = (
            run.handler.spec.limits.max_running is not None
            and run.end is not None
            and not run.end.is_rate_limited
            and not self._claims.shared.may_defer(run)
            and self._claims.group.may_pass_place
            and self._take_ahead.may_pass_place()
        )
        self._run = run if may_pass else None
        return may_pass

    def is_decided_for(self, run: Run) -> bool:
        """Returns True if `decide` has returned True for a run."""
        return self._run is run

    def write_end(
        self, run: Run, run_end: RunEnd, run_writer: RunWriter, *, if_not_passed: Callable[[], None]
    ) -> Status | None:
        """Write the end of a run, and claim the job that gets its place; if none does, call `if_not_passed`.

        Returns the status of the ended run's job, or None if the run has lost it.
        """
        self._run = None
        assert run.claim_id is not None
        began_ns, claim_id = time.time_ns(), passed_places.claim_after(run.claim_id)
        lines = run.log.take_with_closing(*run_end.closing)
        status, job = run_writer.end_and_pass(run, run_end, lines, claim_id)
        if job is None:
            if_not_passed()
        else:
            self._claims.keep_next(job, claim_id, began_ns, run_writer)
            self._claims.group.follow_by_place(job)
        return status
