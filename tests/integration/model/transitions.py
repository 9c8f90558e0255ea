"""What each transition makes of a job; None: it changes nothing. `owns` is the fence of claims, ends and rescues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.retry import MAX_LOSSES, MAX_NODE_LOSSES
from ava.domain.jobs.waits import Wait, WaitCondition
from tests.integration.model.cast import World
from tests.integration.model.state import (
    CHILDREN,
    DEBOUNCE,
    DEFERRED,
    EVENT,
    JOBS,
    NODE,
    PERMIT,
    QUEUE,
    RETRY,
    SCHEDULE,
    SLEEP,
    WORKER,
    JobState,
)

#: The processor time that each run reports, in microseconds.
CPU_US = 1000


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a process knows of a run: the right, or no right, to write."""

    key: RunKey
    worker: str
    #: None: it was claimed over HTTP.
    node: str | None
    claim: str
    #: Claimed together with others.
    is_shared: bool = False

    @property
    def job_id(self) -> str:
        return self.key.job_id

    @property
    def run_no(self) -> int:
        return self.key.run_no


def owns(job: JobState, run: Run) -> bool:
    return job.is_running and job.run_no == run.run_no and job.claim == run.claim


def claim(job: JobState, world: World, run: Run) -> JobState | None:
    if not job.is_startable or job.run_no != run.run_no - 1 or job.worker != run.worker:
        return None
    if world.is_paused(job.worker, job.tenant) or (run.is_shared and job.losses) or job.has_expired:
        return None
    if run.is_shared and job.expires is not None and job.first_run is None:
        return None
    return replace(
        job, status="running", waits=None, is_published=False, run_no=job.run_no + 1, attempt=job.attempt + 1,
        node=run.node, claim=run.claim, is_started=True, progress=None, first_run=job.first_run or job.run_no + 1,
        condition=None, after=(), is_leased=run.node is None,
    )  # fmt: skip


def _wait(job: JobState, waits: str | None, *, due: float | None = None) -> JobState:
    """The job leaves its process, or the broker, and waits."""
    return replace(job, status="queued", waits=waits, is_published=False, is_started=False, node=None, due=due)


def cancelled(job: JobState) -> JobState:
    status = "failed" if job.is_overdue else "cancelled"
    return replace(job, status=status, waits=None, is_published=False, due=None, condition=None, after=())


@dataclass(frozen=True, kw_only=True)
class End:
    """How a handler ended."""

    status: str
    output: str | None = None
    error: str | None = None
    retry_in: float = 0.0
    gives_back: bool = False
    progress: str | None = None
    #: What the handler waits for; the status is `queued` then.
    wait: Wait | None = None


def end(job: JobState, run: Run, how: End) -> JobState | None:
    # Only the database decides that a run was cancelled, not the process.
    if not owns(job, run) or (how.status == "cancelled" and not job.is_cancel_asked):
        return None
    job = replace(job, output=how.output, progress=how.progress or job.progress)
    if run.node is not None:
        job = replace(job, cpu_us=(job.cpu_us or 0) + CPU_US, peak_mb=max(run.run_no, job.peak_mb or 0))
    if job.is_cancel_asked:
        return cancelled(job)
    if how.wait is not None:
        job = job.with_entries((entry.kind.value, entry.name) for entry in how.wait.entries)
        return _begin_wait(replace(job, attempt=job.attempt - 1, has_waited=True), how.wait)
    if how.status == "queued":
        job = replace(job, attempt=job.attempt - how.gives_back, has_waited=job.has_waited and how.gives_back)
        return _wait(job, DEFERRED if how.gives_back else RETRY, due=how.retry_in)
    return replace(job, status=how.status, error=how.error)


def _begin_wait(job: JobState, wait: Wait) -> JobState:
    # A wait for an event that the handler has not asked for again is forgotten.
    abandoned = {("event", type_) for type_, _ in job.events if type_ not in wait.event_names}
    job = forget(job, abandoned)
    reason = {WaitCondition.EVENT: EVENT, WaitCondition.TIME: SLEEP}.get(wait.condition)
    if reason is not None:
        return _wait(job, reason, due=wait.timeout_seconds)
    job = replace(job, condition=wait.condition.value, after=tuple(wait.job_ids))
    return _wait(job, CHILDREN, due=wait.timeout_seconds)


def forget(job: JobState, entries: Collection[tuple[str, str]]) -> JobState:
    """Return the job without entries of its journal, each a kind and a name."""
    events = tuple(each for each in job.events if ("event", each[0]) not in entries)
    return replace(job, events=events, journal=frozenset(each for each in job.journal if each[:2] not in entries))


def _requeue(job: JobState) -> JobState:
    """The run does not count as an attempt. The permit stays the job's, unless its rate has to allow the next start."""
    return _wait(replace(job, attempt=job.attempt - 1), PERMIT if job.rate_key else None)


def not_begun(job: JobState) -> JobState:
    """The handler was not entered in this run."""
    return replace(job, first_run=None) if job.first_run == job.run_no else job


def release(job: JobState, run: Run) -> JobState | None:
    """The run was claimed and has not begun."""
    if not owns(job, run):
        return None
    job = not_begun(job)
    return cancelled(job) if job.is_cancel_asked else _requeue(job)


def lose(job: JobState, world: World, *, error: str, is_loss: bool = True, is_of_node: bool = False) -> JobState:
    """The process of a running job is gone, or returns it because its node shuts down."""
    worker = world.workers[job.worker]
    is_often = job.node_losses >= MAX_NODE_LOSSES if is_of_node else job.losses - job.node_losses >= MAX_LOSSES
    is_last = is_loss and (worker.fails_when_lost or is_often)
    node_losses = job.node_losses + is_of_node
    job = replace(job, losses=job.losses + is_loss, node_losses=node_losses, queue=worker.queue_of(job.tenant))
    if job.is_cancel_asked:
        return cancelled(job)
    if is_last:
        return replace(job, status="failed", error=error)
    return _requeue(job)


def rescue(
    job: JobState, world: World, run: Run, *, error: str, is_loss: bool, is_unbegun: bool = False
) -> JobState | None:
    if not job.is_running or job.run_no != run.run_no or job.node != run.node or run.node is None:
        return None
    return lose(not_begun(job) if is_unbegun else job, world, error=error, is_loss=is_loss)


def kill(job: JobState, run: Run, *, error: str) -> JobState | None:
    """The parent has killed the process of a run, or the worker of a pulled one has not ended it in time."""
    if not job.is_running or job.run_no != run.run_no or run.node not in (None, job.node):
        return None
    if job.is_cancel_asked:
        return cancelled(job)
    if job.attempt < job.max_attempts:
        return _wait(replace(job, has_waited=False), RETRY, due=2.0 ** (job.attempt - 1))
    return replace(job, status="failed", error=error)


def recall_run(job: JobState, run_no: int) -> JobState | None:
    """A run that was not claimed is called back, whether its message is known or not."""
    if not job.is_startable or job.run_no != run_no - 1:
        return None
    return replace(job, run_no=job.run_no + 1, is_published=False)


def is_paused(job: JobState, world: World) -> bool:
    return world.is_paused(job.worker, job.tenant)


def park(job: JobState, reason: str, *, due: float | None = None) -> JobState:
    """The job leaves the backlog or the broker; a message of it is refused from then on."""
    return replace(_wait(job, reason, due=due), run_no=job.run_no + job.is_published)


def park_unclaimed(job: JobState, world: World, run: Run, *, lacks_handler: bool) -> JobState | None:
    """A message came to a node that cannot run it."""
    if not job.is_startable or job.run_no != run.run_no - 1 or job.worker != run.worker:
        return None
    if is_paused(job, world):
        return park(job, WORKER)
    if not lacks_handler:
        return None
    return park(job, DEFERRED) if world.has_node(job.worker, job.queue) else park(job, NODE)


def cancel(job: JobState, by: str | None, *, error: str | None = None) -> JobState | None:
    """`error`: of a cancel by the system."""
    if job.is_final:
        return None
    if not job.is_cancel_asked:
        job = replace(job, is_cancel_asked=True, cancelled_by=by, error=error)
    return job if job.is_running else cancelled(job)


def _cancel(job: JobState, by: str | None, *, error: str | None, stays_queued: bool = False) -> JobState | None:
    found = cancel(job, by, error=error)
    if found is None or not stays_queued or not job.is_waiting:
        return found
    asked = job if job.is_cancel_asked else replace(job, is_cancel_asked=True, cancelled_by=by, error=error)
    # It waits for the ends of the jobs below it from now on.
    return replace(asked, waits=CHILDREN, due=None, condition=None, after=())


def cancel_all(
    jobs: Mapping[str, JobState],
    roots: Iterable[JobState],
    by: str | None,
    *,
    error: str | None = None,
    again: bool = False,
) -> list[JobState]:
    """Returns what a cancel makes of jobs and of those below them. A job that was asked already is left out.

    `again`: the roots are not left out.
    """
    wanted = {root.id: root for root in roots}
    below = dict.fromkeys(wanted)
    edge = list(wanted)
    while edge:
        found = {
            child.id: child.parent
            for child in jobs.values()
            if child.parent in edge and not child.is_detached and not (below.get(child.id))
        }
        below |= found
        edge = list(found)
    busy: set[str] = set()
    for each in below:
        above = below[each] if jobs[each].is_running else None
        while above is not None and above not in busy:
            busy.add(above)
            above = below.get(above)
    changed = []
    for each, parent in below.items():
        job = jobs[each]
        if job.is_final or (job.is_cancel_asked and not (again and each in wanted)):
            continue
        if each in wanted:
            changed.append(_cancel(job, by, error=error, stays_queued=each in busy))
        else:
            assert parent is not None
            # The duty of deadlines stops the roots; what is further below was stopped by its own parent's cancel.
            is_overdue = parent in wanted and (error or "").startswith("Timeout: exceeded its deadline")
            stopped = run_outcome.parent_cancelled(parent, is_overdue=is_overdue)
            changed.append(_cancel(job, parent, error=stopped, stays_queued=each in busy))
    return [job for job in changed if job is not None]


def change(job: JobState, world: World, wanted: JobChange, *, date: float | None) -> JobState | None:
    """A client changes a queued job. `date`: seconds from now, if that is changed; 0: at once."""
    has_date = "scheduled_at" in wanted.names
    has_started = job.first_run is not None and wanted.names - {"priority", "tags"}
    if job.status != "queued" or has_started or (has_date and job.waits == JOBS):
        return None
    moved = replace(job, priority=wanted.priority or job.priority)
    if "tags" in wanted.names:
        moved = replace(moved, tags=None if wanted.tags_json == "{}" else wanted.tags_json)
    if has_date and (date or job.waits in (SCHEDULE, DEFERRED, DEBOUNCE)):
        waits = WORKER if is_paused(job, world) else PERMIT if job.limit_key else None
        dated = DEBOUNCE if job.waits == DEBOUNCE else SCHEDULE
        moved = replace(moved, waits=dated if date else waits, due=date or None)
    if "expires_in_seconds" in wanted.names:
        begins = (date or 0.0) if has_date else max(0.0, job.due or 0.0)
        lifetime = wanted.expires_in_seconds
        moved = replace(moved, expires=None if lifetime is None else begins + lifetime)
    if moved.priority == job.priority and not date:
        return moved
    return replace(moved, is_published=False, run_no=job.run_no + job.is_published)


def expire(job: JobState, error: str) -> JobState | None:
    """Its handler was not entered in time."""
    return cancel(job, None, error=error) if job.has_expired else None


def progress(job: JobState, run: Run, value: str | None) -> JobState | None:
    return replace(job, progress=value or job.progress) if owns(job, run) else None


def recall(job: JobState) -> JobState | None:
    """The message is called back: the run's number moves on, so that no claim takes the old message."""
    return replace(job, is_published=False, run_no=job.run_no + 1) if job.is_published else None


def publish(job: JobState) -> JobState | None:
    return replace(job, is_published=True) if job.is_startable and not job.is_published else None


# Transitions by the dispatcher: each yields what one statement may make of a job ----------------------------------

Transitions = Callable[[JobState, World], Iterable[JobState | None]]


def feed(job: JobState, world: World) -> Iterator[JobState | None]:
    """Publish, recall, admit, take a permit back, set aside what no node serves."""
    yield publish(job)
    yield recall(job)
    yield hold(job)
    if job.status == "queued" and job.waits == PERMIT:
        queue = world.workers[job.worker].queue_of(job.tenant)
        admitted = replace(job, waits=None, queue=queue)
        yield admitted
        if job.queue == queue:
            yield replace(admitted, is_published=True)
    if job.is_startable and not job.is_published:
        if world.is_unserved(job.worker, job.queue):
            yield park(job, NODE)
        if world.is_paused_queue(job.queue):
            yield park(job, QUEUE)


def hold(job: JobState) -> JobState | None:
    """An admitted job waits for a permit again."""
    return park(job, PERMIT) if job.is_startable and job.limit_key is not None else None


def return_to_backlog(job: JobState, world: World) -> JobState:
    """What the job waits for has ended."""
    waits = WORKER if is_paused(job, world) else PERMIT if job.limit_key else None
    queue = world.workers[job.worker].queue_of(job.tenant)
    return replace(job, waits=waits, queue=queue, due=None, condition=None, after=())


def make_due(job: JobState, world: World) -> JobState | None:
    return return_to_backlog(job, world) if job.due is not None and job.status == "queued" else None


def return_parked(job: JobState, world: World) -> JobState | None:
    queue = world.workers[job.worker].queue_of(job.tenant)
    has_ended = {
        WORKER: not is_paused(job, world),
        QUEUE: not world.is_paused_queue(queue),
        NODE: world.is_served(job.worker, queue),
    }
    return return_to_backlog(job, world) if has_ended.get(job.waits or "") else None


def follow_worker(job: JobState, world: World) -> JobState | None:
    queue = world.workers[job.worker].queue_of(job.tenant)
    if not job.is_startable or job.queue == queue:
        return None
    return replace(job, queue=queue, is_published=False, run_no=job.run_no + 1)


def follow_limits(job: JobState, world: World) -> JobState | None:
    if job.is_final:
        return None
    worker = world.workers[job.worker]
    key, rate_key = worker.limit_key(job.tenant, job.account), worker.rate_key(job.tenant, job.account)
    if (job.limit_key, job.rate_key) == (key, rate_key) and not (key and job.is_startable):
        return None
    job = replace(job, limit_key=key, rate_key=rate_key)
    if job.is_running:
        return job
    if key is None:
        return replace(job, waits=None) if job.waits == PERMIT else job
    return hold(job) if job.is_startable else job


def park_of_worker(job: JobState, world: World) -> JobState | None:
    if job.status != "queued" or job.waits not in (None, PERMIT, NODE):
        return None
    return park(job, WORKER) if is_paused(job, world) else None


def closure(job: JobState, world: World, transitions: Transitions) -> set[JobState]:
    """Returns what a duty may make of a job in one call, also if it is killed on the way."""
    found, edge = {job}, {job}
    for _ in range(_MAX_TRANSITIONS):
        edge = {each for state in edge for each in transitions(state, world) if each is not None} - found
        found |= edge
    return found


#: Maximum transitions of one job in one call of a duty.
_MAX_TRANSITIONS = 5
