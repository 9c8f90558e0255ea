"""Steps of clients: triggers of every kind, retries, cancels, operations, schedules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import JobSpec, Status
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.trigger_options import Debounce, Dedupe, DedupeMode, Keep
from ava.errors import JobNotFound, JobStateConflict
from tests.integration.model import duty_rules, graph_transitions, transitions
from tests.integration.model.cast import ACCOUNTS, PRIORITIES, PULL, TENANTS, WORKERS
from tests.integration.model.expected import REPLACING, Expected
from tests.integration.model.history import DebouncedJob, History, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.state import DEBOUNCE, PERMIT, SCHEDULE, WORKER, JobState

#: The jobs of one call that are published at once.
_MAX_PUBLISHED = 16
_DATED_SECONDS = 1000.0
_DEDUPE_KEY = "k"


def any_spec(history: History, *, may_be_dated: bool = True) -> JobSpec:
    worker_id = history.choose(history.favourites if history.happens(0.85) else WORKERS)
    dated = datetime.now(UTC) + timedelta(seconds=_DATED_SECONDS)
    is_dated = may_be_dated and history.happens(0.1)
    return JobSpec(
        worker_id=worker_id,
        input_json=json.dumps({"account": history.choose(ACCOUNTS)}) if history.happens(0.5) else "{}",
        priority=history.choose(PRIORITIES),
        scheduled_at=dated if is_dated else None,
        tags_json='{"t":"1"}' if history.happens(0.2) else "{}",
        expires_in_seconds=history.choose([50, 400, 3600]) if history.happens(0.2) else None,
    )


def new_job(
    history: History,
    tenant: str,
    spec: JobSpec,
    *,
    position: int = 0,
    due: float | None = None,
    may_publish: bool = True,
) -> JobState:
    """Returns the job that a trigger makes."""
    worker = history.world.workers[spec.worker_id]
    account = json.loads(spec.input_json).get("account")
    due = _DATED_SECONDS if spec.scheduled_at and due is None else due
    is_paused = history.world.is_paused(worker.id, tenant)
    waits = WORKER if is_paused else PERMIT if worker.is_limited else None
    if due is not None:
        waits = SCHEDULE if spec.debounce is None else DEBOUNCE
    queue, world = worker.queue_of(tenant), history.world
    is_open = (queue, spec.priority) not in _closed_windows(history) and (worker.queue != PULL or world.is_claimed)
    may_publish = may_publish and position < _MAX_PUBLISHED and is_open and tenant not in world.tenant_limits
    return JobState(
        tenant=tenant, worker=worker.id, triggered_by=f"usr_{tenant}", priority=spec.priority, queue=queue,
        input=spec.input_json, tags=None if spec.tags_json == "{}" else spec.tags_json, retry_of=spec.retry_of,
        dedupe_key=spec.dedupe.key if spec.dedupe else None, max_attempts=worker.max_retries + 1, waits=waits,
        is_published=waits is None and may_publish, limit_key=worker.limit_key(tenant, account),
        rate_key=worker.rate_key(tenant, account), due=due,
        expires=None if spec.expires_in_seconds is None else (due or 0.0) + spec.expires_in_seconds,
    )  # fmt: skip


def _closed_windows(history: History) -> set[tuple[str, int]]:
    return {(queue, priority) for queue, priority in history.driver.run("SELECT queue, priority FROM closed_windows")}


def _published(history: History, new: JobState) -> JobState:
    """Returns a new job as it is once its message was sent, or was called back because it could not be sent."""
    broker = history.broker
    is_unsent = broker.is_away or new.queue in broker.refused
    return (transitions.recall(new) or new) if is_unsent and not new.queue.startswith(PULL) else new


@rule(weight=8)
def trigger(history: History) -> None:
    """One job."""
    tenant, spec = history.choose(TENANTS), any_spec(history)
    history.say(tenant, spec.worker_id, spec.priority, "dated" if spec.scheduled_at else "")
    new = _published(history, new_job(history, tenant, spec))
    history.act(Expected(new=[new]), lambda: history.driver.trigger(tenant, [spec]))


@rule(weight=2)
def trigger_urgently(history: History) -> None:
    """What a limit lets run is in the broker, and a more urgent job of the tenant or the worker comes."""
    limited = sorted(history.world.tenant_limits)
    if limited and history.happens(0.6):
        tenant, worker_id = history.choose(limited), history.choose(["wkr_retries", "wkr_retries", "wkr_plain"])
    else:
        tenant, worker_id = history.choose(TENANTS), history.choose(["wkr_limited", "wkr_tenant"])
    for priority in (9, 9, 1):
        trigger_specs(history, tenant, [JobSpec(worker_id=worker_id, priority=priority)])
        duty_rules.feed(history)


@rule(weight=1.5)
def trigger_several(history: History) -> None:
    """Several jobs of one call."""
    tenant, count = history.choose(TENANTS), history.choose([2, 3, 4, 18])
    specs = [any_spec(history) for _ in range(count)] if count < 18 else [any_spec(history)] * count
    trigger_specs(history, tenant, specs)


def trigger_specs(history: History, tenant: str, specs: Sequence[JobSpec]) -> None:
    """Trigger jobs in one call."""
    history.say(tenant, [(spec.worker_id, spec.priority) for spec in specs[:4]], len(specs))
    new = [_published(history, new_job(history, tenant, spec, position=n)) for n, spec in enumerate(specs)]
    history.act(Expected(new=new), lambda: history.driver.trigger(tenant, specs))


@rule(weight=1.5)
def trigger_in_group(history: History) -> None:
    """Jobs of several clients in one statement."""
    wanted = [(history.choose(TENANTS), any_spec(history)) for _ in range(history.choose([2, 3]))]
    history.say([(tenant, spec.worker_id) for tenant, spec in wanted])
    new = [_published(history, new_job(history, tenant, spec)) for tenant, spec in wanted]
    history.act(Expected(new=new), lambda: history.driver.trigger_group(wanted))


@rule(weight=3)
def trigger_deduped(history: History) -> None:
    """A job with a key for `dedupe`."""
    worker_id = history.choose(["wkr_plain", "wkr_plain", "wkr_limited"])
    _trigger_deduped(history, history.choose(TENANTS[:2]), worker_id, history.choose([*DedupeMode, DedupeMode.REPLACE]))


@rule(weight=0.7)
def trigger_deduped_again(history: History) -> None:
    """A job with a key is cancelled, and others with the key come."""
    tenant, worker_id = history.choose(TENANTS[:2]), "wkr_plain"
    _trigger_deduped(history, tenant, worker_id, DedupeMode.RETURN)
    job = _unfinished(history, tenant, worker_id)
    if job is not None and not job.is_running:
        wanted = transitions.cancel_all(history.jobs, [job], f"usr_{tenant}", again=True)
        history.act(Expected.of(wanted), lambda: history.driver.cancel(tenant, job.id), can_be_killed=False)
    for _ in range(2):
        _trigger_deduped(history, tenant, worker_id, DedupeMode.RETURN)


def _unfinished(history: History, tenant: str, worker_id: str) -> JobState | None:
    """Returns the unfinished job of a key."""
    key, jobs = (tenant, worker_id, _DEDUPE_KEY), history.jobs.values()
    return next((job for job in jobs if (job.tenant, job.worker, job.dedupe_key) == key and not job.is_final), None)


def _trigger_deduped(history: History, tenant: str, worker_id: str, mode: DedupeMode) -> None:
    spec = replace(any_spec(history), worker_id=worker_id, dedupe=Dedupe(key=_DEDUPE_KEY, mode=mode))
    history.say(tenant, worker_id, mode)
    earlier = _unfinished(history, tenant, worker_id)
    new = _published(history, new_job(history, tenant, spec))
    if earlier is None:
        expected = Expected(new=[new])
    elif mode is DedupeMode.REPLACE and not earlier.is_running:
        # The id of the new job is not known yet.
        replaced = transitions.cancel_all(history.jobs, [earlier], REPLACING, error=run_outcome.replaced(REPLACING))
        expected = Expected(jobs=Expected.of(replaced).jobs, new=[new])
    else:
        expected = Expected()
    is_refused = earlier is not None and mode is not DedupeMode.RETURN and not expected.new
    found = history.act(
        expected, lambda: history.driver.trigger(tenant, [spec]), raises=JobStateConflict if is_refused else None
    )
    if earlier is not None and mode is DedupeMode.RETURN and found is not Killed:
        history.require([job.id for job in found], [earlier.id], "the job that dedupe returns")


@rule(weight=3)
def trigger_debounced(history: History) -> None:
    """A job with a key for `debounce`, in some cases triggered again shortly before its start."""
    tenant, worker_id = history.choose(TENANTS[:2]), history.choose(["wkr_plain", "wkr_both"])
    _trigger_debounced(history, tenant, worker_id)
    if history.happens(0.3):
        history.pass_time(401.0)
        _trigger_debounced(history, tenant, worker_id)


def _trigger_debounced(history: History, tenant: str, worker_id: str) -> None:
    key, keep = "d", history.choose(list(Keep))
    seconds, max_seconds = 500, history.choose([None, 700])
    debounce = Debounce(key=key, seconds=seconds, max_seconds=max_seconds, keep=keep)
    spec = replace(any_spec(history, may_be_dated=False), worker_id=worker_id, debounce=debounce)
    history.say(tenant, spec.worker_id, key, keep, max_seconds)
    known = history.debounced.get((tenant, spec.worker_id, key))
    job = history.jobs.get(known.job_id) if known else None
    if known and job and job.status == "queued" and job.run_no == 0 and job.waits == DEBOUNCE and (job.due or 0) > 0:
        due = min(float(seconds), known.latest - history.now) if known.latest is not None else float(seconds)
        expected = Expected.of([_defer(history, job, spec, due)])
    else:
        expected = Expected(new=[new_job(history, tenant, spec, due=float(seconds))])
    found = history.act(expected, lambda: history.driver.trigger(tenant, [spec]))
    if found is not Killed and expected.new:
        latest = None if max_seconds is None else history.now + max_seconds
        history.debounced[tenant, spec.worker_id, key] = DebouncedJob(job_id=found[0].id, latest=latest)
    elif found is Killed:
        _read_debounced(history, (tenant, spec.worker_id, key))


def _defer(history: History, job: JobState, spec: JobSpec, due: float) -> JobState:
    expires = None if job.expires is None else due + job.expires - (job.due or 0.0)
    job = replace(job, due=due, expires=expires)
    if spec.debounce is None or spec.debounce.keep is Keep.FIRST:
        return job
    wanted = new_job(history, job.tenant, spec, due=due)
    return replace(
        job, input=wanted.input, priority=wanted.priority, tags=wanted.tags, limit_key=wanted.limit_key,
        rate_key=wanted.rate_key, expires=wanted.expires,
    )  # fmt: skip


def _read_debounced(history: History, key: tuple[str, str, str]) -> None:
    """A killed trigger has made a job, or not."""
    statement = (
        "SELECT job_id::text, extract(epoch FROM latest_at - now())::float8 FROM debounces "
        "WHERE tenant_id = %(tenant)s AND worker_id = %(worker)s AND key = %(key)s"
    )
    found = history.driver.run(statement, tenant=key[0], worker=key[1], key=key[2])
    history.debounced.pop(key, None)
    if found and found[0][0]:
        left = found[0][1]
        latest = None if left is None else history.now + left
        history.debounced[key] = DebouncedJob(job_id=history.job_id(found[0][0]), latest=latest)


@rule(weight=1)
def retry(history: History) -> None:
    """A final job is triggered again."""
    job = history.choose_job(lambda job: job.is_final and graph_transitions.REFERENCE not in job.input)
    history.say(job.id)
    history.act(Expected(new=[_retried(history, job)]), lambda: history.driver.retry(job.tenant, job.id))


def _retried(history: History, job: JobState, position: int = 0) -> JobState:
    spec = JobSpec(
        worker_id=job.worker, input_json=job.input, priority=job.priority, retry_of=job.id, tags_json=job.tags or "{}"
    )  # fmt: skip
    # A history moves the dates of jobs and not their creation, so the seconds of the expiry are not compared.
    new = replace(new_job(history, job.tenant, spec, position=position), trigger=job.trigger, expires=None)
    return _published(history, new)


@rule(weight=3)
def change(history: History) -> None:
    """A client changes a job, also one that is not queued any more."""
    job = history.choose_job(lambda job: job.status == "queued" or history.happens(0.1))
    known = ("priority", "scheduled_at", "expires_in_seconds", "tags")
    names = {name for name in known if history.happens(0.4)} or {"tags"}
    date = history.choose([0.0, 2000.0]) if "scheduled_at" in names else None
    # Otherwise it might expire at its date.
    names |= {"expires_in_seconds"} if date and job.expires is not None else set()
    # The date of a firing is ahead of the database's clock by the time that has passed in the history.
    if job.trigger == "scheduled" and date is None:
        names = (names - {"expires_in_seconds"}) or {"tags"}
    wanted = JobChange(
        names=frozenset(names),
        priority=history.choose(PRIORITIES) if "priority" in names else None,
        scheduled_at=datetime.now(UTC) + timedelta(seconds=date) if date else None,
        expires_in_seconds=history.choose([None, 400, 3600]) if "expires_in_seconds" in names else None,
        tags_json=history.choose(['{"t":"1"}', '{"u":"2"}', "{}"]) if "tags" in names else "{}",
    )
    history.say(job.id, sorted(names), date or "")
    changed = transitions.change(job, history.world, wanted, date=date)
    refusal = None if changed else JobStateConflict
    history.act(Expected.of([changed]), lambda: history.driver.change(job.tenant, job.id, wanted), raises=refusal)


@rule(weight=4)
def cancel(history: History) -> None:
    """One job, also of another tenant."""
    job, is_ours = history.choose_job(lambda job: not job.is_final or history.happens(0.1)), history.happens(0.9)
    tenant = job.tenant if is_ours else next(tenant for tenant in TENANTS if tenant != job.tenant)
    history.say(job.id, job.status, tenant)
    wanted = transitions.cancel_all(history.jobs, [job], f"usr_{tenant}", again=True) if is_ours else []
    refusal = JobNotFound if not is_ours else JobStateConflict if job.is_final else None
    if refusal is not None:
        wanted = []
    history.act(Expected.of(wanted), lambda: history.driver.cancel(tenant, job.id), raises=refusal)


@rule(weight=1)
def cancel_batch(history: History) -> None:
    """Several jobs in one statement, also such as are final or of another tenant."""
    tenant = history.choose(TENANTS)
    jobs = [job for job in history.jobs.values() if history.happens(0.15)]
    history.say(tenant, len(jobs))
    # The jobs below one that has ended are left alone.
    roots = [job for job in jobs if job.tenant == tenant and not job.is_final]
    wanted = transitions.cancel_all(history.jobs, roots, f"usr_{tenant}")
    history.act(Expected.of(wanted), lambda: history.driver.cancel_batch(tenant, [job.id for job in jobs]))


@rule(weight=1)
def operate(history: History) -> None:
    """An operation on all jobs that a filter finds."""
    tenant, worker_id = history.choose(TENANTS), history.choose(history.favourites)
    kind = history.choose(["retry", "cancel"])
    statuses = ["failed", "cancelled"] if kind == "retry" else ["queued", "running"]
    status = history.choose(statuses)
    history.say(kind, tenant, worker_id, status)
    found = [
        job
        for job in history.jobs.values()
        if (job.tenant, job.worker, job.status) == (tenant, worker_id, status)
    ]  # fmt: skip
    if kind == "cancel":
        expected = Expected.of(transitions.cancel_all(history.jobs, found, f"usr_{tenant}"))
    else:
        expected = Expected(new=[_retried(history, job, n) for n, job in enumerate(found)])
    job_filter = JobFilter(worker_id=worker_id, status=Status(status))
    result = history.act(expected, lambda: history.driver.operate(tenant, kind, job_filter))
    if result is Killed:
        # What the call has not done the dispatcher does.
        history.driver.run("DELETE FROM bulk_operations WHERE state = 'running'")
