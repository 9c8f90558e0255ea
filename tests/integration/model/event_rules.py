"""Steps of events: clients send them, handlers begin to wait for them, and wakes without a wait are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain.jobs.job import JobSpec
from ava.domain.jobs.waits import Wait, WaitCondition
from tests.integration.model import client_rules, duty_rules, end_rules, graph_rules, transitions
from tests.integration.model.cast import TENANTS
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.state import EVENT_TYPES, JobState
from tests.integration.model.transitions import Run


@rule(weight=2)
def send_events(history: History) -> None:
    """A client sends events, for which jobs may wait."""
    tenant = history.choose(TENANTS[:2])
    send(history, tenant, [history.choose(EVENT_TYPES) for _ in range(history.choose([1, 1, 3]))])


def send(history: History, tenant: str, types: Sequence[str], *, can_be_killed: bool = True) -> None:
    """Send events. The waits for their types have one then, whether it has been found for them or not."""
    history.say(tenant, types)
    waiting = [job for job in history.jobs.values() if job.tenant == tenant and not job.is_final]
    changed = [replace(job, events=with_event(job, types)) for job in waiting]
    history.act(
        Expected.of(job for job in changed if job != history.jobs[job.id]),
        lambda: history.driver.events.send(tenant, types),
        can_be_killed=can_be_killed,
    )


def with_event(job: JobState, types: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    return tuple((type_, has_one or type_ in types) for type_, has_one in job.events)


@rule(weight=2)
def await_events(history: History) -> None:
    """A handler begins to wait for events: the waits are written before it looks."""
    run = history.choose_run()
    begin_to_wait(history, run)


def begin_to_wait(history: History, run: Run) -> None:
    job = history.job_of(run)
    if job is None:
        raise NotNow
    known = [type_ for type_, _ in job.events]
    types = [type_ for type_ in EVENT_TYPES if type_ not in known and history.happens(0.7)]
    if not types:
        raise NotNow
    history.say(run.job_id, run.run_no, types)
    # An event that was sent before may be compared with the wait later.
    pending = history.driver.events.pending(job)
    events = tuple(sorted((*job.events, *((type_, type_ in pending) for type_ in types))))
    written = [("event", type_) for type_ in types]
    history.act(
        Expected.of([replace(job, events=events).with_entries(written)] if transitions.owns(job, run) else []),
        lambda: history.driver.events.begin_to_wait(run, job.attempt, types),
    )


@rule(weight=1.5)
def live_for_an_event(history: History) -> None:
    """A handler waits for an event, which comes before it waits, while it waits, or after its time."""
    tenant = history.choose(TENANTS[:2])
    client_rules.trigger_specs(history, tenant, [JobSpec(worker_id="wkr_plain", priority=1)])
    duty_rules.feed(history)
    running = [run for run in end_rules.start_all(history, "wkr_plain") if not history.jobs[run.job_id].is_cancel_asked]
    run = history.choose(running)
    begin_to_wait(history, run)
    job = history.jobs[run.job_id]
    names = [type_ for type_, _ in job.events]
    if not names:
        raise NotNow
    comes_early = history.happens(0.5)
    if comes_early:
        send(history, job.tenant, names[:1], can_be_killed=False)
        if history.happens(0.5):
            graph_rules.follow_wakes(history)
    if len(names) > 1 and history.happens(0.5):
        # The handler has given the other one up.
        names = names[:1]
    wait = Wait(condition=WaitCondition.EVENT, event_names=names, timeout_seconds=history.choose([None, 300.0]))
    graph_rules.end_run_waiting(history, run, wait)
    if not comes_early:
        # Its wake of itself is followed first, so that only the event can end the wait.
        graph_rules.follow_wakes(history)
        send(history, job.tenant, names[:1], can_be_killed=False)
    if history.happens(0.3):
        wanted = transitions.cancel_all(history.jobs, [history.jobs[job.id]], f"usr_{job.tenant}", again=True)
        history.act(Expected.of(wanted), lambda: history.driver.cancel(job.tenant, job.id), can_be_killed=False)
        send(history, job.tenant, names[:1], can_be_killed=False)
    graph_rules.follow_wakes(history)


@rule(weight=1)
def live_for_the_same_event(history: History) -> None:
    """Handlers of several jobs wait for events of the same types, and one of each type comes for all of them."""
    tenant = history.choose(TENANTS[:2])
    client_rules.trigger_specs(history, tenant, [JobSpec(worker_id="wkr_plain", priority=1)] * 3)
    duty_rules.feed(history)
    for run in end_rules.start_all(history, "wkr_plain"):
        job = history.jobs[run.job_id]
        if job.tenant == tenant and not job.is_cancel_asked and len(job.events) < len(EVENT_TYPES):
            begin_to_wait(history, run)
    send(history, tenant, EVENT_TYPES, can_be_killed=False)
    graph_rules.follow_wakes(history)
