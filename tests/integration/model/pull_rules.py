"""Steps of runs that are claimed over HTTP: claims, heartbeats, ends, silence, and runs that no worker ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ava.domain.jobs.job import RunKey
from ava.errors import RunLost, RunNotFound
from ava.services.pulled_runs import SentOutcome
from tests.integration.model import client_rules, duty_rules, end_rules, transitions
from tests.integration.model.cast import PULLED_TIMEOUT_SECONDS, TENANTS, World
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.run_driver import Lease
from tests.integration.model.state import JobState
from tests.integration.model.transitions import End, Run

_WORKER = "wkr_pulled"


@rule(weight=4)
def claim_pulled(history: History) -> None:
    """A worker claims offered runs, the most urgent first."""
    tenant, capacity = history.choose(TENANTS), history.choose([1, 2, 5])
    queue, claim = history.world.workers[_WORKER].queue_of(tenant), history.new_uuid()
    history.say(tenant, capacity)
    offered = [
        job
        for job in history.jobs.values()
        if job.is_published
        and job.queue == queue
        and not job.has_expired
        and not transitions.is_paused(job, history.world)
    ]
    if history.world.is_paused_queue(queue):
        offered = []
    if not offered and history.happens(0.8):
        raise NotNow
    may = {job.id for job in offered}

    def begins(job: JobState, world: World) -> list[JobState | None]:
        run = Run(key=RunKey(job.tenant, job.id, job.run_no + 1), worker=job.worker, node=None, claim=claim)
        return [transitions.claim(job, world, run) if job.id in may else None]

    found = history.act(
        Expected(transitions=begins), lambda: history.run_driver.claim_pulled(queue, capacity=capacity, claim_id=claim)
    )
    claimed = [job for job in history.jobs.values() if job.claim == claim]
    for job in claimed:
        history.runs.append(Run(key=RunKey(job.tenant, job.id, job.run_no), worker=job.worker, node=None, claim=claim))
        history.oracle.record_begun(job.id)
    if found is not Killed:
        wanted = sorted(job.priority for job in offered)[:capacity]
        history.require([job.priority for job in found], wanted, "priorities that were claimed")


@rule(weight=2)
def watch_pulled(history: History) -> None:
    """Some pulled runs were silent for too long, or are not ended in time; of some the token was never used."""
    rows = history.driver.run(
        "SELECT tenant_id, job_id::text, run_no, claim_id::text FROM pulled_runs WHERE ended_at IS NULL ORDER BY lookup"
    )
    transitions_of: dict[str, JobState | None] = {}
    alive: set[tuple[str, int]] = set()
    history.choose(rows)
    history.driver.run("UPDATE pulled_runs SET heartbeat_at = now(), end_by = now() + interval '1 day'")
    for tenant, uuid, run_no, claim in rows:
        how = history.choose(["silent", "unused", "overdue", "alive"])
        job_id = history.job_id(uuid)
        history.say(job_id, run_no, how)
        history.driver.run(
            "UPDATE pulled_runs SET is_used = %(is_used)s, "
            "heartbeat_at = now() - %(is_silent)s * interval '1 hour', "
            "end_by = CASE WHEN %(is_overdue)s THEN now() - interval '1 s' ELSE end_by END "
            "WHERE tenant_id = %(tenant)s AND job_id = %(id)s::uuid AND run_no = %(run_no)s",
            is_used=how != "unused", is_silent=int(how in ("silent", "unused")), is_overdue=how == "overdue",
            tenant=tenant, id=uuid, run_no=run_no,
        )  # fmt: skip
        run = Run(key=RunKey(tenant, job_id, run_no), worker=_WORKER, node=None, claim=claim)
        job = history.jobs.get(job_id)
        # A time-out cannot be decided without the record of the job.
        if how == "alive" or (how == "overdue" and job is None):
            alive.add((uuid, run_no))
        if job is None or how == "alive":
            continue
        if how == "overdue":
            wanted = transitions.kill(job, run, error=f"Timeout: exceeded {PULLED_TIMEOUT_SECONDS:g} s")
        elif transitions.owns(job, run):
            error = "WorkerLost: the worker was silent"
            unbegun = transitions.not_begun(job) if how == "unused" else job
            wanted = transitions.lose(unbegun, history.world, error=error, is_loss=how == "silent")
        else:
            wanted = None
        if wanted is not None:
            transitions_of[job_id] = wanted
    found = history.act(Expected.of(transitions_of.values()), history.run_driver.watch_pulled)
    if found is not Killed:
        open_runs = history.driver.run("SELECT job_id::text, run_no FROM pulled_runs WHERE ended_at IS NULL")
        history.require(set(open_runs), alive, "leases that the watch has left")


@rule(weight=3)
def pull_in_line(history: History) -> None:
    """Trigger jobs of the pull worker; a worker claims their runs, reports progress and ends one."""
    tenant = history.choose(TENANTS)
    specs = [replace(client_rules.any_spec(history), worker_id=_WORKER) for _ in range(3)]
    client_rules.trigger_specs(history, tenant, specs)
    duty_rules.feed(history)
    claim_pulled(history)
    renew_pulled(history)
    report_pulled(history)
    end_pulled(history)
    delete_old_leases(history)


def _leased_runs(history: History) -> list[Run]:
    """Return the runs with tokens of workers, also of runs that no longer own their jobs."""
    tokens = history.run_driver.tokens
    return [run for run in history.runs if run.node is None and (run.key, run.claim) in tokens]


def _choose_leased(history: History) -> Run:
    runs = _leased_runs(history)
    owning = [run for run in runs if history.owns(run)]
    return history.choose(owning if owning and history.happens(0.7) else runs)


def _token(history: History, run: Run) -> str:
    return history.run_driver.tokens[run.key, run.claim]


@rule(weight=1.5)
def renew_pulled(history: History) -> None:
    """A worker sends heartbeats of its runs, also of such as have lost their jobs."""
    runs = [run for run in dict.fromkeys(_leased_runs(history)) if history.happens(0.7)]
    history.choose(runs)
    history.say([(run.job_id, run.run_no) for run in runs])
    if history.happens(0.4):
        # The job ends without the lease: only the job's row decides whether the run is lost.
        run = history.choose(runs)
        job, how = history.job_of(run), End(status="completed", output="1")
        ended = None if job is None else transitions.end(job, run, how)
        history.act(Expected.of([ended]), lambda: history.run_driver.end(run, how), can_be_killed=False)
    owning = [run for run in runs if history.owns(run)]
    before = history.run_driver.leases()
    found = history.act(
        Expected(), lambda: history.run_driver.pulled.renew([_token(history, run) for run in runs])
    )  # fmt: skip
    if found is Killed:
        return
    to_stop = [_token(history, run) for run in owning if history.jobs[run.job_id].is_cancel_asked]
    lost = [_token(history, run) for run in runs if run not in owning]
    history.require(
        (sorted(found.stop), sorted(found.lost)), (sorted(to_stop), sorted(lost)), "runs to stop, runs lost"
    )
    _check_renewed(history, before, owning)


def _check_renewed(history: History, before: Mapping[tuple[RunKey, str], Lease], owning: Sequence[Run]) -> None:
    """Raises `ModelError` unless exactly the leases of runs that own their jobs were renewed."""
    after = history.run_driver.leases()
    renewed = {key for key, lease in after.items() if lease.heartbeat_at != before[key].heartbeat_at}
    history.require(renewed, {(run.key, run.claim) for run in owning}, "leases renewed")
    for key in renewed:
        is_to_stop = history.jobs[key[0].job_id].is_cancel_asked
        # The grace begins when the worker is told to stop.
        is_shorter = after[key].end_by < before[key].end_by
        history.require(after[key].is_used, True, "a renewed lease is used")
        history.require(is_to_stop or not is_shorter, True, "the lease of a continuing run is as long as before")


@rule(weight=1)
def report_pulled(history: History) -> None:
    """A worker reports the progress of a run."""
    run = _choose_leased(history)
    job = history.job_of(run)
    history.say(run.job_id, run.run_no)
    wanted = None if job is None else transitions.progress(job, run, '{"fraction": 0.5, "message": ""}')
    before = history.run_driver.leases()
    found = history.act(
        Expected.of([wanted]),
        lambda: history.run_driver.pulled.report(_token(history, run), fraction=0.5, message=""),
        raises=RunLost if wanted is None else None,
    )
    if found is not Killed:
        history.require(found, None if wanted is None else wanted.is_cancel_asked, "is to stop")
        _check_renewed(history, before, [] if wanted is None else [run])


_ENDINGS = (
    SentOutcome(output_json='{"done":true}'),
    SentOutcome(error="ValueError: no"),
    SentOutcome(error="ValueError: no", gives_up=True),
    SentOutcome(retry_later_seconds=100.0, reason="later"),
)


@rule(weight=3)
def end_pulled(history: History) -> None:
    """A worker ends a run, and in some cases sends the same end again, or another one."""
    run = _choose_leased(history)
    end_rules.ask_to_stop(history, run)
    ending = history.choose(_ENDINGS)
    _end_pulled(history, run, ending)
    if history.happens(0.4):
        _end_pulled(history, run, ending)
        _end_pulled(history, run, history.choose(_ENDINGS))


def _end_pulled(history: History, run: Run, ending: SentOutcome) -> None:
    job, stored = history.job_of(run), history.pulled_ends.get(run.key)
    history.say(run.job_id, run.run_no, ending)
    wanted, status = None, None
    if job is not None and stored is None:
        wanted = transitions.end(job, run, _end_of(ending, job))
        status = None if wanted is None else wanted.status
    elif job is not None and stored is not None and stored[0] == ending:
        status = stored[1]
    # Retention deletes the lease of a deleted job some time after the job.
    refusal = (RunNotFound, RunLost) if job is None else RunLost
    found = history.act(
        Expected.of([wanted]),
        lambda: history.run_driver.pulled.end(_token(history, run), ending),
        raises=refusal if status is None else None,
    )
    if found is not Killed:
        history.require(found, status, "ended")
        if wanted is not None:
            history.pulled_ends[run.key] = ending, wanted.status


def _end_of(ending: SentOutcome, job: JobState) -> End:
    """Return the end of a job's run for a worker's request."""
    if ending.retry_later_seconds is not None:
        return End(status="queued", retry_in=ending.retry_later_seconds, gives_back=True)
    if ending.error is None:
        return End(status="completed", output=ending.output_json)
    if not ending.gives_up and job.attempt < job.max_attempts:
        return End(status="queued", retry_in=2.0 ** (job.attempt - 1))
    return End(status="failed", error=ending.error)


@rule(weight=0.5)
def delete_old_leases(history: History) -> None:
    """The leases of runs that ended a day ago are deleted, and no others."""
    driver = history.run_driver
    history.choose([lease for lease in driver.leases().values() if lease.has_ended])
    history.driver.run("UPDATE pulled_runs SET ended_at = ended_at - interval '25 hours' WHERE ended_at IS NOT NULL")
    before = driver.leases()
    found = history.act(Expected(), driver.delete_old_leases)
    after = driver.leases()
    if found is not Killed:
        history.require(
            set(after), {key for key, lease in before.items() if not lease.has_ended}, "leases that are left"
        )
    driver.tokens = {key: token for key, token in driver.tokens.items() if key in after}
