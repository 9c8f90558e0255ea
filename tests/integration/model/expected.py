"""What one step may change: everything else must stay as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ava.domain.jobs import run_outcome
from tests.integration.model.cast import World
from tests.integration.model.state import JobState
from tests.integration.model.transitions import Transitions, closure, recall

#: Seconds by which a moment may differ from the expected one, however busy the machine is.
_TOLERANCE_SECONDS = 60.0


#: Stands for the id of the job that the step makes.
REPLACING = "job_new"


class ModelError(AssertionError):
    """The rows are not what the model says."""


@dataclass(kw_only=True)
class Expected:
    """The changes that a step makes, all or none if it is killed."""

    #: What these jobs are afterwards.
    jobs: dict[str, JobState] = field(default_factory=dict)
    #: Jobs that are made, without their ids.
    new: list[JobState] = field(default_factory=list)
    #: What each job may be afterwards, if the step is a duty's call.
    transitions: Transitions | None = None
    #: Raises `ModelError` if a duty must not have made this job.
    may_make: Callable[[JobState], None] | None = None
    #: Jobs that may be deleted.
    may_delete: frozenset[str] = frozenset()

    @classmethod
    def of(cls, changed: Iterable[JobState | None]) -> Expected:
        return cls(jobs={job.id: job for job in changed if job is not None})


def compare(
    before: Mapping[str, JobState], after: Mapping[str, JobState], expected: Expected, world: World, *, was_killed: bool
) -> None:
    """Compare the rows after a step with those before it. Raises `ModelError`."""
    known = {id_: job for id_, job in before.items() if id_ in after}
    if gone := before.keys() - after.keys() - expected.may_delete:
        raise ModelError(f"{gone} must not be deleted")
    made = [job for id_, job in after.items() if id_ not in before]
    has_happened = (
        not was_killed or bool(made) or any(after[id_] != known[id_] for id_ in expected.jobs if id_ in after)
    )
    for id_, job in known.items():
        if expected.transitions is not None and id_ not in expected.jobs:
            if after[id_] not in closure(job, world, expected.transitions):
                raise ModelError(_difference("no such transition", job, after[id_]))
        else:
            wanted = expected.jobs.get(id_, job) if has_happened else job
            _compare(job, after[id_], _named(wanted, made))
    if expected.may_make is not None:
        for job in made:
            expected.may_make(job)
    elif has_happened:
        _compare_new(made, expected.new, was_killed=was_killed)


def _named(wanted: JobState, made: list[JobState]) -> JobState:
    """Returns what a job is to be, with the id of the job that replaces it."""
    if wanted.cancelled_by != REPLACING or len(made) != 1:
        return wanted
    return replace(wanted, cancelled_by=made[0].id, error=run_outcome.replaced(made[0].id))


def _compare(before: JobState, after: JobState, wanted: JobState) -> None:
    if after != wanted:
        raise ModelError(_difference("wrong", wanted, after, f"\n  before: {before}"))
    if wanted is not before and wanted.due is not None and not _is_near(after.due, wanted.due):
        raise ModelError(f"due in {after.due} s, not {wanted.due} s: {after}")
    is_compared = wanted is not before and after.status == "queued" and wanted.expires is not None
    if is_compared and not _is_near(after.expires, wanted.expires or 0.0):
        raise ModelError(f"it expires in {after.expires} s, not {wanted.expires} s: {after}")


def _is_near(found: float | None, wanted: float) -> bool:
    return found is not None and abs(found - wanted) < _TOLERANCE_SECONDS


def _compare_new(made: list[JobState], wanted: list[JobState], *, was_killed: bool) -> None:
    left = list(wanted)
    for job in made:
        nameless = replace(job, id="")
        if was_killed and nameless not in left:
            # The broker has refused its message, and nothing has written that.
            nameless = recall(nameless) or nameless
        if nameless not in left:
            closest = f"\n  wanted: {left[0]}" if left else ""
            raise ModelError(f"made: {job}{closest}")
        found = left.pop(left.index(nameless))
        if found.due is not None and not _is_near(job.due, found.due):
            raise ModelError(f"due in {job.due} s, not {found.due} s: {job}")
        if found.expires is not None and not _is_near(job.expires, found.expires):
            raise ModelError(f"it expires in {job.expires} s, not {found.expires} s: {job}")
    if left:
        raise ModelError(f"not made: {left}")


def _difference(what: str, wanted: JobState, found: JobState, more: str = "") -> str:
    fields = [
        f"{name}: {getattr(wanted, name)!r} -> {getattr(found, name)!r}"
        for name in JobState.__dataclass_fields__
        if name != "due" and getattr(wanted, name) != getattr(found, name)
    ]
    return f"{what}: {found.id} {', '.join(fields)}\n  wanted: {wanted}\n  found:  {found}{more}"
