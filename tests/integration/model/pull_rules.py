"""Steps of runs that are claimed over HTTP: claims, silence, and what their workers do not end."""

from __future__ import annotations

from dataclasses import replace

from ava.domain.jobs.job import RunKey
from tests.integration.model import client_rules, duty_rules, moves
from tests.integration.model.cast import TENANTS, World
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.moves import Run
from tests.integration.model.recorder import Killed
from tests.integration.model.state import JobState

_WORKER = "wkr_pulled"


@rule(weight=4)
def claim_pulled(history: History) -> None:
    """A worker claims what is offered to it, the most urgent first."""
    tenant, capacity = history.choose(TENANTS), history.choose([1, 2, 5])
    queue, claim = history.world.workers[_WORKER].queue_of(tenant), history.new_uuid()
    history.say(tenant, capacity)
    offered = [
        job
        for job in history.jobs.values()
        if job.is_published and job.queue == queue and not job.has_expired and not moves.is_paused(job, history.world)
    ]
    if history.world.is_paused_queue(queue):
        offered = []
    if not offered and history.is_chance(0.8):
        raise NotNow
    may = {job.id for job in offered}

    def begins(job: JobState, world: World) -> list[JobState | None]:
        run = Run(key=RunKey(job.tenant, job.id, job.run_no + 1), worker=job.worker, node=None, claim=claim)
        return [moves.claim(job, world, run) if job.id in may else None]

    found = history.act(
        Expected(moves=begins),
        lambda: history.run_driver.claim_pulled(queue, capacity=capacity, claim_id=claim),
    )
    claimed = [job for job in history.jobs.values() if job.claim == claim]
    for job in claimed:
        history.runs.append(Run(key=RunKey(job.tenant, job.id, job.run_no), worker=job.worker, node=None, claim=claim))
        history.oracle.note_begun(job.id)
    if found is not Killed:
        wanted = sorted(job.priority for job in offered)[:capacity]
        history.require([job.priority for job in found], wanted, "priorities that were claimed")


@rule(weight=2)
def watch_pulled(history: History) -> None:
    """Some pulled runs were silent for too long, or are not ended in time; of some the token was never used."""
    rows = history.driver.run(
        "SELECT tenant_id, job_id::text, run_no, claim_id::text FROM pulled_runs WHERE ended_at IS NULL ORDER BY lookup"
    )
    moves_of: dict[str, JobState | None] = {}
    history.choose(rows)
    history.driver.run("UPDATE pulled_runs SET heard_at = now(), end_by = now() + interval '1 day'")
    for tenant, uuid, run_no, claim in rows:
        how = history.choose(["silent", "unused", "overdue", "alive"])
        job_id = history.job_id(uuid)
        history.say(job_id, run_no, how)
        history.driver.run(
            "UPDATE pulled_runs SET is_used = %(is_used)s, "
            "heard_at = now() - %(is_silent)s * interval '1 hour', "
            "end_by = CASE WHEN %(is_overdue)s THEN now() - interval '1 s' ELSE end_by END "
            "WHERE tenant_id = %(tenant)s AND job_id = %(id)s::uuid AND run_no = %(run_no)s",
            is_used=how != "unused", is_silent=int(how in ("silent", "unused")), is_overdue=how == "overdue",
            tenant=tenant, id=uuid, run_no=run_no,
        )  # fmt: skip
        run = Run(key=RunKey(tenant, job_id, run_no), worker=_WORKER, node=None, claim=claim)
        job = history.jobs.get(job_id)
        if job is None or how == "alive":
            continue
        if how == "overdue":
            wanted = moves.kill(job, run, error="Timeout: exceeded 10 s")
        elif moves.owns(job, run):
            error = "WorkerLost: the worker was silent"
            unbegun = moves.not_begun(job) if how == "unused" else job
            wanted = moves.lose(unbegun, history.world, error=error, is_loss=how == "silent")
        else:
            wanted = None
        if wanted is not None:
            moves_of[job_id] = wanted
    history.act(Expected.of(moves_of.values()), history.run_driver.watch_pulled)


@rule(weight=2)
def pull_in_line(history: History) -> None:
    """Jobs of the pulled worker come, and are claimed."""
    tenant = history.choose(TENANTS)
    specs = [replace(client_rules.any_spec(history), worker_id=_WORKER) for _ in range(3)]
    client_rules.trigger_specs(history, tenant, specs)
    duty_rules.feed(history)
    claim_pulled(history)
