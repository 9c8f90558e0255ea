"""The end of a history: everything heals, the duties run, and every job becomes final."""

from __future__ import annotations

from tests.integration.model.cast import NODES, TENANTS
from tests.integration.model.expected import ModelError
from tests.integration.model.history import History
from tests.integration.model.state import EVENT_TYPES
from tests.integration.model.transitions import End, Run

#: Rounds until every job is final, and for each job one more; one is an hour, in which a rate starts one job at least.
_ROUNDS = 20


def heal(history: History) -> None:
    """Repair everything, and run what waits. Raises `ModelError` if a job is stuck."""
    _repair(history)
    jobs = history.read()
    for _ in range(_ROUNDS + len(jobs)):
        if all(job.is_final for job in jobs.values()):
            break
        _run_duties(history)
        _run_jobs(history)
        jobs = history.read()
    if stuck := [job for job in jobs.values() if not job.is_final]:
        raise ModelError(f"{len(stuck)} jobs are stuck: {stuck[:3]}")
    history.jobs = jobs


def _repair(history: History) -> None:
    driver, world, broker = history.driver, history.world, history.broker
    history.recorder.begin()
    broker.is_away, broker.refused = False, set()
    for worker_id, tenant in list(world.statuses):
        driver.set_status(worker_id, tenant, None)
    world.statuses.clear()
    for queue in list(world.paused_queues):
        driver.resume_queue(queue)
    world.paused_queues.clear()
    for tenant in list(world.tenant_limits):
        driver.set_tenant_limit(tenant, None)
    world.tenant_limits.clear()
    # No schedule makes more jobs.
    driver.run("UPDATE schedules SET paused_at = now(), paused_by = '{}', next_run_at = NULL")
    for node_id in NODES:
        driver.fall_silent(node_id)
    driver.rescue_from_dead_nodes(set(), "WorkerLost: its node died")
    driver.run("UPDATE pulled_runs SET heartbeat_at = now() - interval '1 hour', end_by = now() + interval '1 day'")
    history.run_driver.watch_pulled()
    driver.record_claims(is_claimed=True)
    world.is_claimed = True
    for node_id in NODES:
        driver.join(node_id)
    world.living = set(NODES)
    driver.restart()
    for tenant in TENANTS:
        driver.events.send(tenant, EVENT_TYPES)


def _run_duties(history: History) -> None:
    driver = history.driver
    driver.pass_time(3600.0)
    for node_id in NODES:
        driver.heartbeat(node_id)
    driver.duty("due")
    driver.duty("expired")
    driver.duty("schedules")
    driver.duty("deadlines")
    driver.duty("wakes")
    driver.duty("due")
    driver.follow_moved()
    driver.follow_paused()
    driver.return_parked()
    driver.find_lost_messages()


def _run_jobs(history: History) -> None:
    """Feed, and run what was published, until nothing more is."""
    broker, runs = history.broker, history.run_driver
    history.driver.feed()
    while broker.messages:
        message = broker.messages.pop()
        for key in message.runs:
            run = Run(
                key=key, worker=message.worker, node=next(iter(NODES)),
                claim=f"00000000-0000-4000-8000-{history.random.getrandbits(48):012x}",
            )  # fmt: skip
            if runs.claim(run) is not None:
                runs.end(run, End(status="completed", output="1"))
        if not broker.messages:
            history.driver.feed()
    _run_pulled(history)


def _run_pulled(history: History) -> None:
    """Claim the pulled jobs that are offered, and end their runs."""
    for tenant in TENANTS:
        queue = history.world.workers["wkr_pulled"].queue_of(tenant)
        claim = f"00000000-0000-4000-8000-{history.random.getrandbits(48):012x}"
        for job in history.run_driver.claim_pulled(queue, capacity=50, claim_id=claim):
            run = Run(key=job.run, worker=job.worker_id, node=None, claim=claim)
            history.run_driver.end(run, End(status="completed", output="1"))
