"""Write the ends of runs, and report them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from ava.domain.jobs.job import JobKey, Status
from ava.node.runs import run_reports
from ava.node.runs.run import Run
from ava.node.runs.run_writer import RunWriter
from ava.store.jobs.transitions.ended_runs import EndedRun


def close_log(run: Run) -> None:
    """Drop further lines of a run that has ended, and record in its span why it has no outcome."""
    run.log.close()
    if run.end is None and run.stopped_for is not None:
        run.span.record_failure(run.stopped_for.value)


def ended_run(run: Run, *, began_at: datetime | None = None) -> EndedRun:
    """Return a run's decided end, with its buffered log lines. `began_at`: see `EndedRun`."""
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


def write_single(run: Run, writer: RunWriter, write: Callable[[EndedRun], Status | None]) -> None:
    """Write the end of a run, by `write` if it is decided; otherwise its job returns to the queue."""
    try:
        if run.end is not None:
            run_reports.report_end(run, write(ended_run(run)))
        else:
            writer.end_undecided(run)
    finally:
        run.span.end()


def report_written(runs: Iterable[Run], statuses: Mapping[JobKey, Status]) -> None:
    """Report the ends that one statement has written. `statuses`: the jobs that the runs still owned."""
    for run in runs:
        run_reports.report_end(run, statuses.get(run.job.key))
        run.span.end()
