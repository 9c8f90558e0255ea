"""Steps of journals: a handler writes entries, and the next run of its job loads them."""

from __future__ import annotations

from ava.domain.jobs.job import JobSpec
from ava.domain.jobs.waits import EntryState, JournalKind, NewChild, NewEntry
from tests.integration.model import (
    client_rules,
    duty_rules,
    end_rules,
    event_rules,
    graph_rules,
    graph_transitions,
    transitions,
)
from tests.integration.model.cast import TENANTS
from tests.integration.model.expected import Expected
from tests.integration.model.history import History, NotNow, rule
from tests.integration.model.recorder import Killed
from tests.integration.model.state import JobState
from tests.integration.model.transitions import End, Run

_ENTRIES = (
    NewEntry(kind=JournalKind.STEP, name="done", state=EntryState.DONE, value_json="1"),
    NewEntry(kind=JournalKind.STEP, name="once", state=EntryState.BEGAN),
    NewEntry(kind=JournalKind.SLEEP, name="sleep", state=EntryState.WAITS, until_in_seconds=200.0),
    NewEntry(kind=JournalKind.SLEEP, name="nap", state=EntryState.WAITS, until_in_seconds=1.0),
    NewEntry(kind=JournalKind.WAIT, name="any", state=EntryState.WAITS, until_in_seconds=200.0),
    NewEntry(kind=JournalKind.EVENT, name="late", state=EntryState.TIMED_OUT, value_json="{}"),
)


@rule(weight=2)
def write_entries(history: History) -> None:
    """A handler has done a step, or begins to wait."""
    _write_entries(history, history.choose_run())


def _write_entries(history: History, run: Run) -> None:
    job = history.job_of(run)
    entries = [entry for entry in _ENTRIES if history.happens(0.5)]
    if job is None or not entries:
        raise NotNow
    history.say(run.job_id, run.run_no, [entry.name for entry in entries])
    wanted = None
    if transitions.owns(job, run):
        wanted = job.with_entries((entry.kind.value, entry.name) for entry in entries)
    found = history.act(
        Expected.of([wanted]), lambda: history.run_driver.write_entries(run, job.attempt, entries)
    )  # fmt: skip
    history.require(found, wanted is not None, "entries written")


@rule(weight=2)
def load_journal(history: History) -> None:
    """A handler is entered again: its run loads the journal of its job."""
    _load_journal(
        history, history.choose_run(lambda run: (job := history.job_of(run)) is not None and bool(job.journal))
    )


def _load_journal(history: History, run: Run) -> None:
    job = history.job_of(run)
    if job is None:
        raise NotNow
    history.say(run.job_id, run.run_no, job.attempt)
    wanted = graph_transitions.carry(job, run, history.jobs, _forgotten(history, job))
    found = history.act(Expected.of([wanted]), lambda: history.run_driver.load_journal(run, job.attempt))
    if found is not Killed:
        entries = None if wanted is None else {(kind, name) for kind, name, _ in wanted.journal}
        history.require(found, entries, "entries loaded")


def _forgotten(history: History, job: JobState) -> set[tuple[str, str]]:
    """Return the entries that a new attempt forgets: unfinished waits and sleeps, and a wait that has timed out."""
    unfinished = history.driver.events.sleeps(job) | {("event", type_) for type_, _ in job.events}
    return unfinished | {("event", "late")}


@rule(weight=1)
def live_through_a_retry(history: History) -> None:
    """A handler writes entries, makes children and fails; the next attempt loads the journal."""
    tenant = history.choose(TENANTS[:2])
    client_rules.trigger_specs(history, tenant, [JobSpec(worker_id="wkr_retries", priority=1)])
    duty_rules.feed(history)
    running = [
        run for run in end_rules.start_all(history, "wkr_retries") if not history.jobs[run.job_id].is_cancel_asked
    ]
    run = history.choose(running)
    _write_entries(history, run)
    if history.happens(0.5):
        event_rules.begin_to_wait(history, run)
    names = [f"child{history.random.getrandbits(30)}" for _ in range(2)]
    children = [NewChild(name=name, worker_id="wkr_plain", input_json="{}") for name in names]
    graph_rules.make_children_of(history, run, children)
    made = [job for job in history.jobs.values() if job.parent == run.job_id]
    if made and history.happens(0.5):
        # A child that is cancelled is made again by the next attempt.
        child = history.choose(made)
        wanted = transitions.cancel_all(history.jobs, [child], f"usr_{child.tenant}", again=True)
        history.act(Expected.of(wanted), lambda: history.driver.cancel(child.tenant, child.id), can_be_killed=False)
    retry = End(status="queued", retry_in=100.0)
    ended = transitions.end(history.jobs[run.job_id], run, retry)
    history.act(Expected.of([ended]), lambda: history.run_driver.end(run, retry), can_be_killed=False)
    history.pass_time(101.0)
    duty_rules.make_due(history)
    duty_rules.feed(history)
    for again in end_rules.start_all(history, "wkr_retries"):
        if again.job_id == run.job_id:
            _load_journal(history, again)
