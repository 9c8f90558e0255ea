"""Steps of operators, tenants and nodes that change what is set: pauses, limits, queues, who lives."""

from __future__ import annotations

from tests.integration.model import duty_rules, run_rules
from tests.integration.model.cast import NODES, PULL, QUEUES, TENANTS, WORKERS
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, rule

#: Workers that no deploy moves to another queue.
_STAYING = ("wkr_limited", "wkr_pulled")


def _set(history: History, call: object) -> None:
    history.act(Expected(), call, can_be_killed=False)  # type: ignore[arg-type]


@rule(weight=2)
def set_status(history: History) -> None:
    """A worker is paused, or active again, for a tenant or for all."""
    known = list(history.world.statuses)
    active = [key for key in known if key[1] != "*" and history.world.statuses[key] == "active"]
    if active and history.happens(0.4):
        # The platform's pause ends what the tenant has set.
        worker_id, tenant, status = history.choose(active)[0], "*", "paused"
    elif known and history.happens(0.6):
        (worker_id, tenant), status = history.choose(known), None
    else:
        published = [(job.worker, job.tenant) for job in history.jobs.values() if job.is_published]
        worker_id, tenant = history.choose(published or [(history.choose(WORKERS), history.choose(TENANTS))])
        tenant = "*" if history.happens(0.3) else tenant
        status = history.choose(["paused", "paused", "active"])
    history.say(worker_id, tenant, status)
    _set(history, lambda: history.driver.set_status(worker_id, tenant, status))
    history.paused_once.add((worker_id, tenant))
    history.world.statuses.pop((worker_id, tenant), None)
    if (tenant, status) == ("*", "paused"):
        statuses = history.world.statuses
        for key in [key for key, each in statuses.items() if key[0] == worker_id and each == "active"]:
            del statuses[key]
    if status is not None:
        history.world.statuses[worker_id, tenant] = status
    if history.happens(0.3):
        duty_rules.follow_paused(history)
    elif history.world.is_paused(worker_id, tenant):
        run_rules.park_unclaimed(history)


@rule(weight=1)
def pause_queue(history: History) -> None:
    """A queue is paused or resumed."""
    queue, paused = history.choose([*QUEUES, PULL]), history.world.paused_queues
    is_paused = queue in paused
    history.say("resume" if is_paused else "pause", queue)
    _set(history, lambda: (history.driver.resume_queue if is_paused else history.driver.pause_queue)(queue))
    (paused.discard if is_paused else paused.add)(queue)


@rule(weight=1)
def set_tenant_limit(history: History) -> None:
    """The number of running jobs of a tenant is limited, or not any more."""
    tenant, max_running = TENANTS[2], history.choose([None, 1, 1, 2])
    history.say(tenant, max_running)
    _set(history, lambda: history.driver.set_tenant_limit(tenant, max_running))
    history.world.tenant_limits.pop(tenant, None)
    if max_running is not None:
        history.world.tenant_limits[tenant] = max_running


@rule(weight=1)
def set_max_running(history: History) -> None:
    """An operator changes the limit of a worker."""
    worker, max_running = history.world.workers["wkr_limited"], history.choose([None, 1, 3])
    history.say(worker.id, max_running)
    _set(history, lambda: history.driver.set_max_running(worker.id, max_running))
    worker.max_running = max_running or 2


@rule(weight=1)
def deploy(history: History) -> None:
    """A node announces a worker with another queue, and with or without a limit."""
    waiting = [job.worker for job in history.jobs.values() if job.is_startable and job.worker not in _STAYING]
    worker = history.world.workers[history.choose(waiting or ["wkr_plain", "wkr_both"])]
    worker.queue = history.choose(QUEUES)
    if worker.id == "wkr_plain":
        worker.max_running = history.choose([None, None, 2])
    history.say(worker.id, worker.queue, worker.max_running)
    _set(history, lambda: history.driver.announce(worker))
    if history.happens(0.5):
        duty_rules.follow_moved(history)


@rule(weight=1)
def claim_or_not(history: History) -> None:
    """Runs of the pulled worker were not claimed for a while, or are claimed again."""
    world = history.world
    _set(history, lambda: history.driver.record_claims(is_claimed=not world.is_claimed))
    world.is_claimed = not world.is_claimed
    history.say(world.is_claimed)


@rule(weight=1)
def die(history: History) -> None:
    """A node is not seen any more, or leaves in order."""
    living = sorted(history.world.living)
    # The first node is the only one that has some handlers.
    node_id = history.choose([*living[:1], *living])
    call = history.choose([history.driver.fall_silent, history.driver.leave])
    history.say(node_id[-1], call.__name__)
    _set(history, lambda: call(node_id))
    history.world.living.discard(node_id)


@rule(weight=2)
def join(history: History) -> None:
    """A node joins, also one that was dead."""
    node_id = history.choose(sorted(set(NODES) - history.world.living))
    history.say(node_id[-1])
    _set(history, lambda: history.driver.join(node_id))
    history.world.living.add(node_id)
