"""Steps of jobs that belong together: graphs of a bulk, children, waits, their ends, and deadlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain.jobs.graphs import Entry, When
from ava.domain.jobs.job import JobSpec
from ava.domain.jobs.waits import EntryState, JournalKind, NewChild, NewEntry, Wait, WaitCondition
from ava.errors import RunStopped
from tests.integration.model import client_rules, duty_rules, end_rules, graph_transitions, transitions
from tests.integration.model.cast import TENANTS, World
from tests.integration.model.client_rules import new_job
from tests.integration.model.expected import Expected, ModelError
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.state import CHILDREN, JOBS, JobState
from tests.integration.model.transitions import End, Run

_NAMES = ("a", "b", "c", "d", "e")
_DEADLINE_SECONDS = 1000


@rule(weight=3)
def trigger_graph(history: History) -> None:
    """Entries of a bulk come after each other."""
    tenant, count = history.choose(TENANTS[:2]), history.choose([2, 3, 3, 4, 5])
    specs = [_entry(history, n) for n in range(count)]
    history.say(tenant, [(spec.worker_id, spec.entry.after, spec.entry.when) for spec in specs if spec.entry])
    before = set(history.jobs)
    wanted = {_NAMES[n]: new_job(history, tenant, spec, position=n) for n, spec in enumerate(specs)}
    made: list[JobState] = []
    found = history.act(Expected(may_make=made.append), lambda: history.driver.trigger(tenant, specs))
    if not made and found is Killed:
        return
    history.require(len(made), count, "entries made")
    ids = {job.name: job.id for job in made}
    awaited = {name for spec in specs if spec.entry for name in spec.entry.after}
    for job, spec in zip(sorted(made, key=lambda each: each.id), specs, strict=True):
        assert spec.entry is not None
        expected = replace(
            wanted[str(job.name)], id=job.id, tree=min(each.id for each in made), name=spec.entry.name,
            is_awaited=spec.entry.name in awaited,
        )  # fmt: skip
        if spec.entry.after:
            after = tuple(ids[name] for name in spec.entry.after)
            expected = replace(
                expected, waits=JOBS, is_published=False, condition=spec.entry.when.value, after=after
            )  # fmt: skip
        is_unsent = history.broker.is_away or expected.queue in history.broker.refused or found is Killed
        if job not in (expected, transitions.recall(expected) if is_unsent else expected):
            raise ModelError(f"made: {job}\n  wanted: {expected}")
    if before & {job.id for job in made}:
        raise ModelError("an entry has the id of an earlier job")


def _entry(history: History, n: int) -> JobSpec:
    after = tuple(name for name in _NAMES[:n] if history.happens(0.6))
    refers = "a" in after and history.happens(0.5)
    when = history.choose([When.COMPLETED, When.COMPLETED, When.ENDED, When.FAILED])
    return JobSpec(
        worker_id=history.choose(["wkr_plain", "wkr_plain", "wkr_limited", "wkr_retries"]),
        input_json=f'{{"from":{graph_transitions.REFERENCE}}}' if refers else "{}",
        deadline_seconds=_DEADLINE_SECONDS if history.happens(0.1) else None,
        entry=Entry(name=_NAMES[n], after=after, when=when, has_references=refers),
    )


@rule(weight=3)
def make_children(history: History) -> None:
    """A handler makes jobs, and in some cases its job is to be cancelled."""
    run = history.choose_run()
    end_rules.ask_to_stop(history, run)
    job = history.job_of(run)
    if job is None:
        raise NotNow
    count = history.choose([1, 1, 2, 3])
    new = [
        NewChild(
            name=f"child{history.random.getrandbits(30)}",
            worker_id=history.choose(["wkr_plain", "wkr_plain", "wkr_limited", "wkr_retries"]),
            input_json="{}",
            priority=history.choose([None, 1, 9]),
            is_detached=history.happens(0.15),
        )
        for _ in range(count)
    ]
    make_children_of(history, run, new)


def make_children_of(history: History, run: Run, new: Sequence[NewChild]) -> None:
    """Make children of a run."""
    job = history.jobs[run.job_id]
    history.say(run.job_id, run.run_no, [child.worker_id for child in new])
    parent = graph_transitions.enter_tree(job, run)
    if parent is not None:
        parent = parent.with_entries(("child", child.name) for child in new)
    children = [] if parent is None else [_child(history, parent, child) for child in new]
    history.act(
        Expected(jobs=Expected.of([parent]).jobs, new=children),
        lambda: history.driver.make_children(run, new),
        raises=RunStopped if parent is None else None,
    )


def _child(history: History, parent: JobState, child: NewChild) -> JobState:
    # A node publishes nothing.
    spec = JobSpec(
        worker_id=child.worker_id, input_json=child.input_json, priority=child.priority or parent.priority,
        tags_json=parent.tags or "{}",
    )  # fmt: skip
    made = new_job(history, parent.tenant, spec, may_publish=False)
    return replace(
        made, trigger="event", triggered_by=parent.id, parent=parent.id, tree=parent.tree, name=child.name,
        is_detached=child.is_detached, is_awaited=True,
    )  # fmt: skip


@rule(weight=5)
def end_waiting(history: History) -> None:
    """A handler waits: for its children, or for a time."""
    parents = {job.parent for job in history.jobs.values() if job.parent is not None}
    if parents and history.happens(0.7):
        run = history.choose_run(lambda run: run.job_id in parents)
    else:
        run = history.choose_run()
    end_run_waiting(history, run, _wait(history, run))


def end_run_waiting(history: History, run: Run, wait: Wait) -> None:
    job = history.job_of(run)
    how = End(status="queued", gives_back=True, wait=wait)
    history.say(run.job_id, run.run_no, wait.condition, len(wait.job_ids))
    wanted = None if job is None else transitions.end(job, run, how)
    attempt = 0 if job is None else job.attempt
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.end_waiting(run, how, attempt))
    history.require(found, None if wanted is None else wanted.status, "waits")


def _wait(history: History, run: Run) -> Wait:
    children = [job.id for job in history.jobs.values() if job.parent == run.job_id]
    job = history.jobs.get(run.job_id)
    names = [] if job is None else [type_ for type_, _ in job.events if history.happens(0.7)]
    entry = NewEntry(kind=JournalKind.SLEEP, name="sleep", state=EntryState.WAITS, until_in_seconds=200.0)
    if names and (not children or history.happens(0.5)):
        return Wait(condition=WaitCondition.EVENT, event_names=names, timeout_seconds=history.choose([None, 400.0]))
    if not children or history.happens(0.2):
        return Wait(condition=WaitCondition.TIME, timeout_seconds=200.0, entries=[entry])
    chosen = [child for child in children if history.happens(0.8)]
    condition = history.choose([WaitCondition.ENDED, WaitCondition.ENDED, WaitCondition.ANY])
    seconds = history.choose([None, None, 400.0])
    if condition is not WaitCondition.ANY:
        names = []
    return Wait(condition=condition, job_ids=chosen, timeout_seconds=seconds, event_names=names)


@rule(weight=8)
def follow_wakes(history: History) -> None:
    """Jobs continue whose waits are over."""
    wanted = graph_transitions.wake_all(history.jobs, history.world)

    def woken(job: JobState, _world: World) -> list[JobState]:
        return [wanted[job.id]]

    history.act(Expected(transitions=woken), lambda: history.driver.duty("wakes"))
    if not history.was_killed:
        check_woken(history)


def check_woken(history: History) -> None:
    """Raises `ModelError` if a job waits although its wait is over: its wake is lost."""
    for job_id, job in graph_transitions.wake_all(history.jobs, history.world).items():
        if job != history.jobs[job_id]:
            raise ModelError(f"its wait is over, and it waits: {history.jobs[job_id]}")


@rule(weight=1.5)
def fail_unresolved(history: History) -> None:
    """The input of a waiting job cannot be made."""
    job = history.choose_job(lambda job: job.waits in (CHILDREN, JOBS))
    run_no = job.run_no + history.choose([0, 0, 1])
    history.say(job.id, run_no)
    wanted = graph_transitions.fail_unresolved(job, run_no)
    history.act(Expected.of([wanted]), lambda: history.driver.fail_unresolved(job, run_no))


@rule(weight=1)
def stop_overdue(history: History) -> None:
    """Jobs whose deadline is over are stopped."""
    overdue = [
        job
        for job in history.jobs.values()
        if job.deadline is not None and job.deadline <= 0 and not job.is_final and not job.is_cancel_asked
    ]
    # How long it had is not that of a history, whose time is shifted.
    error = "Timeout: exceeded its deadline"
    wanted = transitions.cancel_all(history.jobs, overdue, None, error=error)
    history.act(Expected.of(wanted), lambda: history.driver.duty("deadlines"))


@rule(weight=1.2)
def live_as_a_family(history: History) -> None:
    """A handler waits for its children; one of them runs, and in some cases its parent is cancelled meanwhile."""
    tenant = history.choose(TENANTS[:2])
    client_rules.trigger_specs(history, tenant, [JobSpec(worker_id="wkr_plain", priority=1)])
    duty_rules.feed(history)
    running = [run for run in end_rules.start_all(history, "wkr_plain") if not history.jobs[run.job_id].is_cancel_asked]
    run = history.choose(running)
    make_children_of(history, run, [NewChild(name=_NAMES[0], worker_id="wkr_plain", input_json="{}", priority=1)])
    duty_rules.feed(history)
    started = end_rules.start_all(history, "wkr_plain")
    children = [job.id for job in history.jobs.values() if job.parent == run.job_id]
    end_run_waiting(history, run, Wait(condition=WaitCondition.ENDED, job_ids=children))
    parent = history.jobs[run.job_id]
    if history.happens(0.7):
        wanted = transitions.cancel_all(history.jobs, [parent], f"usr_{parent.tenant}", again=True)
        history.act(Expected.of(wanted), lambda: history.driver.cancel(parent.tenant, parent.id), can_be_killed=False)
        follow_wakes(history)
    for each in started:
        job = history.jobs.get(each.job_id)
        if job is not None and job.parent == run.job_id:
            wanted_end = transitions.end(job, each, _DONE)
            history.act(
                Expected.of([wanted_end]),
                lambda each=each: history.run_driver.end(each, _DONE),  # type: ignore[misc]
                can_be_killed=False,
            )
    follow_wakes(history)


_DONE = End(status="completed", output="1")
