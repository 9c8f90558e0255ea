"""Steps of schedules: they are created, fire, and are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain.jobs import run_outcome
from ava.domain.schedules.schedule_record import CatchUp, Overlap, ScheduleSpec
from tests.integration.model import graph_rules, transitions
from tests.integration.model.cast import PRIORITIES, TENANTS, World
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.state import JOBS, PERMIT, WORKER, JobState


@rule(weight=2.5)
def create_schedule(history: History) -> None:
    """A schedule that fires every five minutes."""
    if len(history.schedules) >= 3:
        raise NotNow
    _create(history, history.choose([*list(Overlap), Overlap.QUEUE_ONE, Overlap.CANCEL_RUNNING]))


def _create(history: History, overlap: Overlap) -> str:
    tenant = history.choose(TENANTS)
    spec = ScheduleSpec(
        worker_id=history.choose(history.favourites), cron="*/5 * * * *", timezone="UTC", overlap=overlap,
        catch_up=history.choose([CatchUp.LAST, CatchUp.ALL]), priority=history.choose(PRIORITIES),
    )  # fmt: skip
    history.say(tenant, spec.worker_id, overlap)
    schedule_id: str = history.act(
        Expected(), lambda: history.driver.create_schedule(tenant, spec), can_be_killed=False
    )  # fmt: skip
    history.schedules[schedule_id] = (tenant, overlap.value)
    return schedule_id


@rule(weight=5)
def fire_schedules(history: History) -> None:
    """What is due fires, mostly several times: only then does a job wait for an earlier one, and one after it fire."""
    history.choose(list(history.schedules))
    for _ in range(history.choose([1, 2, 3, 3])):
        _fire(history)


def _fire(history: History) -> None:
    waiting = [job for job in history.jobs.values() if _waits_for_earlier(job)]
    if waiting and history.happens(0.4):
        # The one before it runs on.
        job = history.choose(waiting)
        history.say("cancelled;", job.id)
        wanted = transitions.cancel_all(history.jobs, [job], f"usr_{job.tenant}", again=True)
        history.act(Expected.of(wanted), lambda: history.driver.cancel(job.tenant, job.id), can_be_killed=False)
    if history.happens(0.7):
        history.pass_time(301.0)
    jobs = history.jobs
    last = {
        schedule_id: [job for job in jobs.values() if job.triggered_by == schedule_id][-1:]
        for schedule_id in history.schedules
    }
    cancelled = {
        job.id: job
        for schedule_id, found in last.items()
        for job in transitions.cancel_all(jobs, found, schedule_id, error=run_outcome.overlapped(schedule_id))
    }
    # Another job may wait for its end from now on.
    awaited = {job.id for job in jobs.values() if job.trigger == "scheduled"}

    def fired(job: JobState, _world: World) -> Sequence[JobState | None]:
        return [
            cancelled.get(job.id),
            replace(job, is_awaited=True) if job.id in awaited and not job.is_final else None,
        ]

    history.act(
        Expected(transitions=fired, may_make=lambda job: _check_fired(history, job)),
        lambda: history.driver.duty("schedules"),
    )
    history.oracle.check_overlaps()


def _waits_for_earlier(job: JobState) -> bool:
    """Returns True if a job waits for an earlier one of its schedule."""
    return job.trigger == "scheduled" and job.waits == JOBS and job.run_no == 0


@rule(weight=1.5)
def delete_schedule(history: History) -> None:
    """A schedule is deleted; the job of it that waits for an earlier one waits no longer."""
    has_waiting = history.happens(0.7)
    if has_waiting:
        queueing = [each for each, (_, overlap) in history.schedules.items() if overlap == Overlap.QUEUE_ONE.value]
        schedule_id = history.choose(queueing) if queueing else _create(history, Overlap.QUEUE_ONE)
    else:
        schedule_id = history.choose(list(history.schedules))
    tenant, _ = history.schedules[schedule_id]
    history.say(schedule_id)
    if has_waiting:
        for _ in range(2):
            history.pass_time(301.0)
            _fire(history)
        # The wake of the creation is followed first, so that only the deletion ends the wait.
        graph_rules.follow_wakes(history)

    def released(job: JobState, _world: World) -> Sequence[JobState | None]:
        return [replace(job, after=()) if job.triggered_by == schedule_id and _waits_for_earlier(job) else None]

    history.act(Expected(transitions=released), lambda: history.driver.delete_schedule(tenant, schedule_id))
    waiting = [
        job
        for job in history.jobs.values()
        if job.triggered_by == schedule_id and _waits_for_earlier(job) and job.after and not job.is_cancel_asked
    ]
    if not history.was_killed:
        history.require(waiting, [], "waits for an earlier job of a schedule that is deleted")
    if not history.driver.has_schedule(schedule_id):
        history.schedules.pop(schedule_id)
    if has_waiting:
        graph_rules.follow_wakes(history)


def _check_fired(history: History, job: JobState) -> None:
    """Raises `ModelError` unless a schedule may have made a job."""
    world = history.world
    worker = world.workers[job.worker]
    wanted = JobState(
        id=job.id, tenant=history.schedules[job.triggered_by][0], worker=worker.id, trigger="scheduled",
        triggered_by=job.triggered_by, priority=job.priority, queue=worker.queue_of(job.tenant),
        max_attempts=worker.max_retries + 1,
        limit_key=worker.limit_key(job.tenant, None), rate_key=worker.rate_key(job.tenant, None),
        condition="ended" if job.after else None, after=job.after, is_awaited=job.is_awaited,
        waits=JOBS if job.after
        else WORKER if world.is_paused(worker.id, job.tenant) else PERMIT if worker.is_limited else None,
    )  # fmt: skip
    history.require(job, wanted, "fired")
