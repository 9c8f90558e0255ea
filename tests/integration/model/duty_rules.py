"""Steps of the dispatcher and of the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ava.errors import BrokerUnavailable
from tests.integration.model import transitions
from tests.integration.model.cast import QUEUES, TENANTS, World
from tests.integration.model.expected import Expected, ModelError
from tests.integration.model.history import History, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.state import PERMIT, JobState
from tests.integration.model.transitions import Transitions

#: Seconds within which a busy machine may make a job due while a step is under way.
_SOON_SECONDS = 30.0


def _one(transition: Callable[[JobState, World], JobState | None]) -> Transitions:
    """Return a transition in the form of a duty's."""
    return lambda job, world: [transition(job, world)]


def _call(history: History, duty_transitions: Transitions, call: Callable[[], Any]) -> bool:
    """Returns True if the duty was called to its end."""

    def act() -> bool:
        try:
            call()
        except BrokerUnavailable:
            return False
        return True

    return history.act(Expected(transitions=duty_transitions), act) is True


@rule(weight=12)
def feed(history: History) -> None:
    """The feed gives permits and publishes."""
    before = history.jobs
    if _call(history, transitions.feed, history.driver.feed) and not history.broker.is_away:
        history.oracle.check_fed(before)


@rule(weight=2)
def feed_noticed(history: History) -> None:
    """The feed gives the permits of keys of which a notice has come."""
    keys = {job.limit_key for job in history.jobs.values() if job.limit_key is not None and not job.is_final}
    history.choose(sorted(keys))
    _call(history, transitions.feed, lambda: history.driver.feed_noticed(keys))


@rule(weight=3)
def make_due(history: History) -> None:
    """Jobs whose time has come are made startable."""
    wanted = [
        transitions.make_due(job, history.world)
        for job in history.jobs.values()
        if job.due is not None and job.due <= 0
    ]
    soon: Transitions = lambda job, world: [transitions.make_due(job, world)] if (job.due or 0) < _SOON_SECONDS else []  # noqa: E731
    history.act(Expected(jobs=Expected.of(wanted).jobs, transitions=soon), lambda: history.driver.duty("due"))


@rule(weight=3)
def expire(history: History) -> None:
    """Jobs that have expired are cancelled."""
    jobs = [job for job in history.jobs.values() if job.has_expired]
    errors = dict(
        history.driver.run(
            "SELECT id::text, 'Expired: not started by ' || replace(to_char(expires_at AT TIME ZONE 'UTC', "
            "'YYYY-MM-DD\"T\"HH24:MI:SS.MS'), '.000', '') || 'Z' FROM jobs WHERE expires_at IS NOT NULL"
        )
    )
    named = {history.job_id(uuid): error for uuid, error in errors.items()}
    wanted = [transitions.expire(job, named[job.id]) for job in jobs]
    history.act(Expected.of(wanted), lambda: history.driver.duty("expired"))


@rule(weight=4)
def pass_time(history: History) -> None:
    """Time passes, and living nodes are seen."""
    history.pass_time(history.choose([61.0, 307.0, 307.0, 1801.0]))


@rule(weight=2)
def follow_moved(history: History) -> None:
    """Jobs follow the queue and the limits of their worker."""

    def follow(job: JobState, world: World) -> Iterator[JobState | None]:
        yield transitions.follow_worker(job, world)
        yield transitions.follow_limits(job, world)

    _call(history, follow, history.driver.follow_moved)


@rule(weight=2)
def follow_paused(history: History) -> None:
    """Jobs of paused workers are parked."""
    wanted = [
        transitions.park_of_worker(job, history.world)
        for job in history.jobs.values()
        if any(worker == job.worker and tenant in (job.tenant, "*") for worker, tenant in history.paused_once)
    ]
    history.act(Expected.of(wanted), history.driver.follow_paused)


@rule(weight=1)
def contain_and_lift(history: History) -> None:
    """A tenant is contained, which holds its jobs that can start, and the containment is lifted."""
    tenant = history.choose(TENANTS)
    history.say(tenant)
    wanted = [
        transitions.return_to_backlog(transitions.park(job, "contained"), history.world)
        for job in history.jobs.values()
        if job.tenant == tenant and (job.is_startable or job.waits == PERMIT)
    ]
    history.act(Expected.of(wanted), lambda: history.driver.contain_and_lift(tenant), can_be_killed=False)


@rule(weight=2)
def return_parked(history: History) -> None:
    """Jobs return whose worker or queue was resumed, or whose handler a node has now."""
    wanted = [transitions.return_parked(job, history.world) for job in history.jobs.values()]
    history.act(Expected.of(wanted), history.driver.return_parked)


@rule(weight=3)
def rescue_from_dead_nodes(history: History) -> None:
    """The runs of dead nodes are rescued."""
    error = "WorkerLost: its node died"
    wanted = [
        transitions.lose(job, history.world, error=error, is_of_node=True)
        for job in history.jobs.values()
        if job.is_running and job.node is not None and job.node not in history.world.living
    ]
    living = set(history.world.living)
    history.act(Expected.of(wanted), lambda: history.driver.rescue_from_dead_nodes(living, error))


@rule(weight=2)
def find_lost_messages(history: History) -> None:
    """Messages that the broker lost are published again; after a reset of the broker, all return to the backlog."""
    broker = history.broker
    recalled = _one(lambda job, _: transitions.recall(job))
    none: Transitions = lambda _job, _world: []  # noqa: E731
    _call(
        history,
        recalled if broker.has_lost_all or broker.is_away or broker.refused else none,
        history.driver.find_lost_messages,
    )


@rule(weight=1)
def lose_messages(history: History) -> None:
    """The broker loses messages, and may say so."""
    broker = history.broker
    history.choose(broker.messages)
    broker.has_lost_all = history.happens(0.5)
    broker.messages = [] if broker.has_lost_all else [each for each in broker.messages if history.happens(0.5)]
    history.act(Expected(), lambda: None, can_be_killed=False)


@rule(weight=1)
def change_broker(history: History) -> None:
    """The broker goes away, refuses a queue, or is well again."""
    broker = history.broker
    broker.is_away = history.happens(0.15)
    broker.refused = {history.choose(QUEUES)} if history.happens(0.15) else set()
    history.say("away" if broker.is_away else "", broker.refused or "")


@rule(weight=0.5)
def reset_broker(history: History) -> None:
    """An operator calls everything back."""
    wanted = [transitions.recall(job) for job in history.jobs.values()]
    history.act(Expected.of(wanted), history.driver.reset_broker)


@rule(weight=0.7)
def delete_old_jobs(history: History) -> None:
    """Retention deletes final jobs."""
    days = history.choose([0.0, 1e-6, 1e-6, 1.0])
    jobs = history.jobs
    unfinished = {job.tree for job in jobs.values() if not job.is_final}
    # Nothing of an unfinished tree is deleted.
    final = frozenset(
        id_ for id_, job in jobs.items() if job.is_final and (job.tree is None or job.tree not in unfinished)
    )
    history.choose(sorted(final))
    for job in history.jobs.values():
        if job.is_final and job.triggered_by in history.schedules:
            # Whether an earlier job of the schedule runs is not known without it.
            history.schedules[job.triggered_by] = (job.tenant, "unknown")
    for _ in range(3):
        found = history.act(Expected(may_delete=final), lambda: history.driver.delete_old_jobs(days))
        # The lines of a job go before it.
        history.oracle.record_lines_deleted(final)
        if found is Killed:
            return
    old = [id_ for id_ in final if days == 0.0 and jobs[id_].worker != "wkr_fragile"]
    if old and all(id_ in history.jobs for id_ in old):
        raise ModelError(f"retention deletes none of {old}")


@rule(weight=0.7)
def delete_idle(history: History) -> None:
    """Rows that decide on nothing any more are deleted."""
    history.act(Expected(), history.driver.delete_idle)


@rule(weight=1)
def group_errors(history: History) -> None:
    """Failed jobs are grouped by their errors. A job without a group gets one, also if it is final."""
    for _ in range(2):
        # The second call counts what the first one has seen.
        history.act(Expected(), lambda: history.driver.duty("statistics"))


@rule(weight=0.5)
def restart(history: History) -> None:
    """Another dispatcher and another API take over."""
    history.driver.window = history.choose([100, 100, 3])
    history.driver.restart()
