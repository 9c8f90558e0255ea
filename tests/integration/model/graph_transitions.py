"""What the transitions of related jobs make of a job."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import Status
from tests.integration.model.cast import World
from tests.integration.model.state import CHILDREN, EVENT, JOBS, JobState
from tests.integration.model.transitions import Run, cancel, cancelled, forget, owns, return_to_backlog


def wake_all(jobs: Mapping[str, JobState], world: World) -> dict[str, JobState]:
    """Returns what all jobs are once each wait that is over has been followed."""
    now = dict(jobs)
    has_changed = True
    while has_changed:
        has_changed = False
        for job in [job for job in now.values() if job.status == "queued" and job.waits in (CHILDREN, JOBS, EVENT)]:
            woken = _wake(job, now, world)
            if woken is not None:
                now[job.id], has_changed = woken, True
    return now


def _wake(job: JobState, jobs: Mapping[str, JobState], world: World) -> JobState | None:
    if job.is_cancel_asked:
        below = [each for each in jobs.values() if each.parent == job.id and not each.is_detached]
        return None if any(not each.is_final for each in below) else cancelled(job)
    if (job.waits == EVENT or job.condition == "any") and any(has_come for _, has_come in job.events):
        return return_to_backlog(job, world)
    if job.waits == EVENT:
        return None
    after = [jobs[each] for each in job.after if each in jobs]
    if job.condition == "any":
        return return_to_backlog(job, world) if not job.after or any(each.is_final for each in after) else None
    if any(not each.is_final for each in after):
        return None
    unmet = next((each for each in after if each.status != "completed"), None)
    if job.condition == "ended" or (job.condition == "failed") == (unmet is not None):
        return return_to_backlog(_resolve(job, after, world) if REFERENCE in job.input else job, world)
    unmet = unmet or after[0]
    error = run_outcome.condition_unmet(unmet.name or unmet.id, Status(unmet.status))
    return cancel(job, unmet.id, error=error)


def _resolve(job: JobState, after: Sequence[JobState], world: World) -> JobState:
    """Its input may have other keys of limits, and its worker other limits, than when it was made."""
    job = replace(job, input=resolved_input(job.input, after))
    worker = world.workers[job.worker]
    limit_key, rate_key = worker.limit_key(job.tenant, job.account), worker.rate_key(job.tenant, job.account)
    return replace(job, limit_key=limit_key, rate_key=rate_key)


def resolved_input(template: str, after: Sequence[JobState]) -> str:
    """Returns an input in which the output of the entry `a` stands for the reference to it."""
    if REFERENCE not in template:
        return template
    output = next((each.output for each in after if each.name == "a" and each.status == "completed"), None)
    return template.replace(REFERENCE, output or "null")


#: A reference to the output of an entry.
REFERENCE = '{"$output":"a"}'


def enter_tree(job: JobState, run: Run) -> JobState | None:
    """A handler makes children."""
    return None if not owns(job, run) or job.is_cancel_asked else replace(job, tree=job.tree or job.id)


def carry(
    job: JobState, run: Run, jobs: Mapping[str, JobState], forgotten: Collection[tuple[str, str]]
) -> JobState | None:
    """A run loads the journal. The first run of a new attempt forgets waits and children that did not complete.

    `forgotten`: the kinds and names of entries whose state or time is why they are forgotten.
    """
    if not owns(job, run):
        return None
    earlier = {(kind, name) for kind, name, attempt in job.journal if attempt < job.attempt}
    lasting = {
        each.name for each in jobs.values() if each.parent == job.id and each.status not in ("failed", "cancelled")
    }
    gone = {
        (kind, name)
        for kind, name in earlier
        if (kind, name) in forgotten or kind == "wait" or (kind == "child" and name not in lasting)
    }
    return forget(job, gone).with_entries(earlier - gone)


def fail_unresolved(job: JobState, run_no: int) -> JobState | None:
    if job.status != "queued" or job.waits not in (CHILDREN, JOBS) or job.run_no != run_no or job.is_cancel_asked:
        return None
    return replace(job, status="failed", error="InputInvalid: no", waits=None, due=None, condition=None, after=())
