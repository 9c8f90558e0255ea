"""Jobs that wait for events: which events find which jobs, in which transactions, and what a wait leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from ava.dispatcher.duties.waiting_jobs import move_due_jobs
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import Job, RunKey, Status
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.waits import EntryState, JournalKind, LoadedJournal, NewEntry, Wait, WaitCondition
from ava.node.runs.run import Run
from ava.node.runs.run_journal import Creators, RunJournal
from ava.settings import Settings
from ava.store.jobs import journal
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import wait
from harness.api import Api
from tests.integration.model.run_driver import run_line
from tests.integration.test_graphs import JOBS, Graphs
from tests.runs import ended

EVENTS = "/v1/ava/events"
PAID = "order.paid"


class Waiters(Graphs):
    """Jobs whose handlers wait for events; the test is the process that runs them."""

    def __init__(self, api: Api, settings: Settings) -> None:
        super().__init__(api, settings)
        self._settings = settings

    def begin(self) -> tuple[str, RunKey, str]:
        """Start a job. Returns its id, its run and its claim."""
        job_id = self.api.trigger("wkr_open")["id"]
        return (job_id, *self.start(job_id))

    def register(self, run: RunKey, claim_id: str, match: Any = None, name: str = PAID) -> None:
        """Write the wait into the journal, as `env.wait_event` does before it looks."""
        entry = NewEntry(
            kind=JournalKind.EVENT, name=name, state=EntryState.WAITS, value_json=AwaitedEvent.of(PAID, match).json
        )  # fmt: skip
        with self.api.database.connect() as connection:
            assert journal.write(connection, run=run, claim_id=claim_id, attempt=1, entries=[entry])

    def suspend(self, run: RunKey, claim_id: str, *names: str, seconds: float | None = None) -> None:
        waits = Wait(
            condition=WaitCondition.EVENT,
            event=AwaitedEvent(PAID).shown,
            event_names=names or (PAID,),
            timeout_seconds=seconds,
        )
        self.end_waiting(run, claim_id, waits)

    def end_waiting(self, run: RunKey, claim_id: str, waits: Wait) -> None:
        lines = [run_line(run.run_no, 1, f"Handler waits for {waits.description}")]
        with self.api.database.connect() as connection:
            how = ended(connection, run, Ending.WAITED, lines, claim_id=claim_id, wait=waits)
            assert wait.end_waiting(connection, how) is Status.QUEUED

    def waiting(self, match: Any = None, **more: Any) -> str:
        """Returns a job that waits."""
        job_id, run, claim_id = self.begin()
        self.register(run, claim_id, match)
        self.suspend(run, claim_id, **more)
        self.wake()
        return job_id

    def search(self, job_id: str, match: Any = None, *, event_id: str | None = None, taken: Sequence[str] = ()) -> Any:
        """Look for an event as a run of the job does."""

        class OfJob:
            job: Job

        one = OfJob()
        with self.api.database.connect() as connection:
            found = lists.show(connection, tenant_id="ten_test", job_id=job_id)
        assert found is not None
        one.job = found
        store = RunJournal(cast(Run, one), self.api.database, Creators(self._settings))
        return store.find_event(AwaitedEvent.of(PAID, match), event_id=event_id, taken=taken)

    def load(self, run: RunKey, claim_id: str, attempt: int = 1) -> LoadedJournal:
        with self.api.database.connect() as connection:
            found = journal.load(connection, run=run, claim_id=claim_id, attempt=attempt)
        assert found is not None
        return found

    def send(self, *numbers: int, type_: str = PAID) -> list[str]:
        """Send events. Returns their ids."""
        response = self.api.post(EVENTS, json={"events": [{"type": type_, "data": {"n": n}} for n in numbers]})
        assert response.status_code == 201, response.text
        return [event["id"] for event in response.get_json()["data"]]

    def continues(self, job_id: str) -> bool:
        return bool(self.startable({"job": job_id}))

    def count(self, table: str) -> int:
        (row,) = self.api.execute(f"SELECT count(*) FROM {table}")
        return int(row[0])


@pytest.fixture
def waiters(api: Api, api_settings: Settings) -> Waiters:
    return Waiters(api, api_settings)


def test_an_event_continues_the_jobs_that_it_matches_and_no_others(waiters: Waiters) -> None:
    any_one, seven, eight = (
        waiters.waiting(match) for match in (None, {"data": {"n": [7]}}, {"data": {"n": [{"numeric": [">", 7]}]}})
    )
    record = waiters.show(seven)
    assert record["waiting_for"] == {
        "jobs": [],
        "event": {"type": PAID, "match": None},
        "approval": None,
        "until": None,
    }
    why = waiters.api.get(f"{JOBS}/{seven}/why").get_json()["data"]
    assert f"its handler waits for an event {PAID}" in json.dumps(why)
    waiters.send(7, type_="order.sent")
    waiters.wake()
    assert not any(map(waiters.continues, (any_one, seven, eight)))
    (event_id,) = waiters.send(7)
    waiters.wake()
    assert [waiters.continues(job_id) for job_id in (any_one, seven, eight)] == [True, True, False]
    run, claim_id = waiters.start(seven)
    (entry,) = waiters.load(run, claim_id).entries
    assert entry.event_id == event_id
    assert waiters.search(seven, {"data": {"n": [7]}}, event_id=event_id)["data"] == {"n": 7}
    assert waiters.count("wakes") == 0


@pytest.mark.parametrize("sent", ["before the wait is written", "before the run ends", "before the wake of its end"])
def test_no_event_is_lost_between_the_poll_and_the_wait(waiters: Waiters, sent: str) -> None:
    job_id, run, claim_id = waiters.begin()
    if sent == "before the wait is written":
        waiters.send(1)
        waiters.wake()
    waiters.register(run, claim_id)
    found = waiters.search(job_id)
    if sent == "before the wait is written":
        assert found["data"] == {"n": 1}
        return
    assert found is None
    if sent == "before the run ends":
        waiters.send(1)
        waiters.wake()
    waiters.suspend(run, claim_id)
    if sent == "before the wake of its end":
        waiters.send(1)
    waiters.wake()
    assert waiters.continues(job_id)


def test_an_event_from_before_the_job_is_none_of_its_events_however_late_its_wake_comes(waiters: Waiters) -> None:
    waiters.send(1)
    waiters.api.execute("SELECT pg_sleep(0.01)")
    job_id = waiters.waiting()
    assert not waiters.continues(job_id)
    assert waiters.search(job_id) is None


def test_a_search_finds_the_first_matching_event_that_the_job_has_not_got(waiters: Waiters) -> None:
    job_id, _, _ = waiters.begin()
    sent = waiters.send(*range(50))
    assert waiters.search(job_id)["id"] == sent[0]
    assert waiters.search(job_id, taken=sent[:3])["id"] == sent[3]
    assert waiters.search(job_id, {"data": {"n": [45]}})["id"] == sent[45]
    assert waiters.search(job_id, {"data": {"n": [45]}}, taken=[sent[45]]) is None
    assert waiters.search(job_id, event_id=sent[9], taken=[sent[9]]) is None


def test_a_wait_that_timed_out_returns_its_job_and_an_ended_wait_is_forgotten(waiters: Waiters) -> None:
    late, cancelled = waiters.waiting(seconds=0.01), waiters.waiting()
    waiters.api.execute("SELECT pg_sleep(0.05)")
    move_due_jobs(waiters.api.database)
    assert waiters.continues(late)
    assert waiters.api.post(f"{JOBS}/{cancelled}/cancel").status_code == 200
    assert waiters.count("job_journal") == 2
    waiters.send(1)
    waiters.wake()
    assert waiters.count("job_journal") == 1
    run, claim_id = waiters.start(late)
    # It came after the time, and before the handler has looked: no harm.
    (entry,) = waiters.load(run, claim_id).entries
    assert entry.event_id is not None
    assert waiters.load(run, claim_id, attempt=2).entries == []


def test_an_event_lists_the_jobs_that_waited_for_it(waiters: Waiters) -> None:
    def listed(event_id: str) -> list[str]:
        record = waiters.api.get(f"{EVENTS}/{event_id}").get_json()["data"]
        (same,) = (event for event in waiters.api.get(EVENTS).get_json()["data"] if event["id"] == event_id)
        assert record["woken_job_ids"] == same["woken_job_ids"]
        assert record["job_ids"] == []
        return list(record["woken_job_ids"])

    waiting = sorted(waiters.waiting(match) for match in (None, {"data": {"n": [7]}}))
    other = waiters.waiting({"data": {"n": [8]}})
    looked, run, claim_id = waiters.begin()
    seven, nine = waiters.send(7, 9)
    assert listed(seven) == []
    waiters.wake()
    assert listed(seven) == waiting
    assert listed(nine) == []
    # A run that finds the event itself has not been woken, and is listed too.
    waiters.register(run, claim_id)
    found = waiters.search(looked)
    done = NewEntry(
        kind=JournalKind.EVENT, name=PAID, state=EntryState.DONE, value_json=json.dumps(found), event_id=seven
    )  # fmt: skip
    with waiters.api.database.connect() as connection:
        journal.write(connection, run=run, claim_id=claim_id, attempt=1, entries=[done])
    assert listed(seven) == sorted([*waiting, looked])
    assert other not in listed(seven)


def test_branches_that_wait_for_a_child_and_for_an_event_continue_with_the_first(waiters: Waiters) -> None:
    job_id, run, claim_id = waiters.begin()
    (child,) = waiters.children(job_id, claim_id, "part")
    waiters.register(run, claim_id)
    waits = Wait(
        condition=WaitCondition.ANY, job_ids=[child], event=AwaitedEvent(PAID).shown, event_names=[PAID]
    )  # fmt: skip
    waiters.end_waiting(run, claim_id, waits)
    waiters.wake()
    sentence = waiters.api.get(f"{JOBS}/{job_id}/why").get_json()["data"]["sentence"]
    assert f"its handler waits for the end of {child} or an event {PAID}" in sentence
    assert not waiters.continues(job_id)
    waiters.send(1)
    waiters.wake()
    assert waiters.continues(job_id)


def test_what_a_wait_has_returned_outlives_the_event(waiters: Waiters) -> None:
    job_id, run, claim_id = waiters.begin()
    waiters.register(run, claim_id)
    (event_id,) = waiters.send(1)
    record = waiters.search(job_id)
    done = NewEntry(
        kind=JournalKind.EVENT, name=PAID, state=EntryState.DONE, value_json=json.dumps(record), event_id=event_id
    )  # fmt: skip
    with waiters.api.database.connect() as connection:
        journal.write(connection, run=run, claim_id=claim_id, attempt=1, entries=[done])
    waiters.api.execute("DELETE FROM events")
    waiters.wake()
    (entry,) = waiters.load(run, claim_id, attempt=2).entries
    assert (entry.state, json.loads(entry.value_json or "")["data"]) == (EntryState.DONE, {"n": 1})
    assert waiters.search(job_id, event_id=event_id) is None
