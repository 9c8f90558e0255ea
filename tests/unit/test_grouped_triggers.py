"""Concurrent triggers share a statement; each gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ava.domain.jobs.job import Job, JobSpec
from ava.domain.jobs.new_job import UNMATCHED, JobOrRefusal, NewJob
from ava.domain.jobs.trigger_options import Dedupe
from ava.errors import DatabaseUnavailable, StatementFailed, TooMany, WorkerNotFound
from ava.services.creation.trigger_groups import is_groupable
from ava.services.jobs import Jobs
from harness.polling import wait_until
from tests.unit.handlers import JOB


def new(name: str) -> NewJob:
    """Returns the job of a user; the tenant is the part of the name before a dot."""
    return NewJob(tenant_id=f"ten_{name.rpartition('.')[0]}", user_id=name, spec=JobSpec(worker_id="wkr_noop"))


def job_of(each: NewJob) -> Job:
    return replace(JOB, id=f"job_{each.user_id}", triggered_by=each.user_id, published_at=datetime.now(UTC))


class Store:
    """Stands for the database, the creator and the publisher: stores groups when the test lets it."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.published: list[list[str]] = []
        self.is_open = threading.Event()
        self.error: BaseException | None = None
        self.outcome: Callable[[NewJob], JobOrRefusal] = job_of

    @contextmanager
    def connect(self, *, of_process: bool) -> Iterator[None]:
        assert of_process
        yield

    def create(self, _connection: None, group: Sequence[NewJob]) -> list[JobOrRefusal]:
        self.groups.append([each.user_id for each in group])
        assert self.is_open.wait(10)
        if self.error is not None:
            raise self.error
        return [self.outcome(each) for each in group]

    def publish(self, jobs: Sequence[Job]) -> None:
        self.published.append([job.triggered_by for job in jobs])


class Triggers:
    """A store, and threads that trigger jobs."""

    def __init__(self) -> None:
        self.store = Store()
        self.jobs = Jobs(self.store, self.store, None)
        self.jobs.creator = self.store
        self.groups, self.trigger = self.jobs._groups, self.jobs._trigger_grouped
        self.threads = ThreadPoolExecutor(100)

    def begin(self, *names: str) -> list[Future[Job | None]]:
        """Begin a trigger of each name; each waits, or is in the store, when the next one begins."""
        futures = []
        for name in names:
            before = len(self.groups._waiting) + len(self.store.groups)
            futures.append(self.threads.submit(self.trigger, new(name)))
            wait_until(lambda before=before: len(self.groups._waiting) + len(self.store.groups) > before)
        return futures


@pytest.fixture
def triggers():
    made = Triggers()
    yield made
    made.store.is_open.set()
    made.threads.shutdown()


def test_a_trigger_that_is_alone_is_stored_at_once(triggers):
    triggers.store.is_open.set()
    for name in ("a", "b"):
        job = triggers.trigger(new(name))
        assert job is not None
        assert job.triggered_by == name
    assert triggers.store.groups == triggers.store.published == [["a"], ["b"]]


def test_those_that_come_meanwhile_are_stored_together_in_their_order(triggers):
    futures = triggers.begin("a", "b", "c", "d")
    triggers.store.is_open.set()
    assert [future.result(10).triggered_by for future in futures] == ["a", "b", "c", "d"]
    assert triggers.store.groups == [["a"], ["b", "c", "d"]]
    wait_until(lambda: sorted(triggers.store.published) == [["a"], ["b", "c", "d"]])
    assert triggers.trigger(new("e")) is not None


def test_a_trigger_does_not_wait_for_those_of_another_tenant(triggers):
    futures = triggers.begin("a.1", "b.1", "a.2", "b.2", "c.1", "d.1", "e.1", "a.3")
    assert triggers.store.groups == [["a.1"], ["b.1"], ["c.1"]]
    triggers.store.is_open.set()
    names = [future.result(10).triggered_by for future in futures]
    assert names == ["a.1", "b.1", "a.2", "b.2", "c.1", "d.1", "e.1", "a.3"]
    # Those of a tenant stay in order, and more tenants than statements share one.
    later = [[name for name in group if name[0] == "a"] for group in triggers.store.groups[1:]]
    assert [group for group in later if group] in ([["a.2", "a.3"]], [["a.2"], ["a.3"]])
    assert any(len({name[0] for name in group}) > 1 for group in triggers.store.groups[3:])
    assert (triggers.groups._statements, triggers.groups._tenants, triggers.groups._waiting) == (0, set(), [])


def test_a_group_has_a_bound_and_the_next_one_follows(triggers):
    names = [f"{number:02}" for number in range(90)]
    futures = triggers.begin(names[0])
    futures += [triggers.threads.submit(triggers.trigger, new(name)) for name in names[1:]]
    wait_until(lambda: len(triggers.groups._waiting) == len(names) - 1)
    triggers.store.is_open.set()
    assert [future.result(10).triggered_by for future in futures] == names
    assert [len(group) for group in triggers.store.groups] == [1, 64, 25]


def test_a_refusal_or_an_unknown_worker_stays_with_its_own_trigger(triggers):
    refusal = TooMany("Enough.", retry_after_seconds=1)
    unknown = WorkerNotFound()
    outcomes = {"b": refusal, "c": unknown}
    triggers.store.outcome = lambda each: outcomes.get(each.user_id, job_of(each))
    a, b, c, d = triggers.begin("a", "b", "c", "d")
    triggers.store.is_open.set()
    assert a.result(10) is not None
    assert d.result(10) is not None
    assert b.exception(10) is refusal
    assert c.exception(10) is unknown
    wait_until(lambda: ["d"] in triggers.store.published)


def test_a_statement_that_fails_blames_none_of_the_group(triggers):
    triggers.store.error = StatementFailed("SQLSTATE 22P05")
    futures = triggers.begin("a", "b", "c")
    triggers.store.is_open.set()
    assert [future.result(10) for future in futures] == [None, None, None]


@pytest.mark.parametrize("error", [DatabaseUnavailable(), KeyboardInterrupt()])
def test_if_the_store_is_out_of_reach_each_of_the_group_gets_an_error(triggers, error):
    a, b, c = triggers.begin("a", "b", "c")
    triggers.store.error = error
    triggers.store.is_open.set()
    assert a.exception(10) is error
    assert b.exception(10) is error
    # The trigger that was stopped takes no other with it.
    assert isinstance(c.exception(10), DatabaseUnavailable)
    triggers.store.error = None
    assert triggers.trigger(new("d")) is not None


@pytest.mark.parametrize(
    ("spec", "version", "is_stored_together"),
    [
        (JobSpec(worker_id="wkr_noop", input_json='{"a": 1}'), None, True),
        (JobSpec(worker_id="wkr_noop", tags_json='{"a": "1"}'), "v1", True),
        (JobSpec(worker_id="wkr_noop", input_json=f'{{"a": "{"x" * 20_000}"}}'), None, False),
        (JobSpec(worker_id="wkr_noop", dedupe=Dedupe(key="k")), None, False),
        (JobSpec(worker_id="wkr_noop"), UNMATCHED, False),
    ],
)
def test_what_is_long_or_has_a_key_or_mismatches_is_stored_alone(spec, version, is_stored_together):
    each = NewJob(tenant_id="ten_a", user_id="usr_a", spec=spec, schema_version=version)
    assert is_groupable(each) == is_stored_together
