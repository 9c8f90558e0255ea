"""The pool in a node's parent: what it does about each message of a child, a death, and a lost broker."""

from __future__ import annotations

import gc
import os
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from billiard import pool as billiard_pool
from billiard.pool import ACK, READY, ApplyResult
from celery.concurrency import asynpool, prefork
from kombu.asynchronous import READ, WRITE, Hub
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from ava.node.celery_internals.pool import JobPool, _RemoveWriter, _Results, _TakeAheadPool, is_soon_free
from ava.node.celery_internals.pool_child import SOON_FREE

PID = 4711


class Request:
    """What the pool asks of the request of a job."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_accepted(self, pid: int, _time: float) -> None:
        self.calls.append(("accepted", pid))

    def fetch_next(self) -> None:
        self.calls.append("fetch_next")


class Parent:
    """What a pool has in the parent, of a child that reads its jobs from `fd`, without any process."""

    def __init__(self, slots: int = 1) -> None:
        self.cache: dict[int, Any] = {}
        self.slots = LaxBoundedSemaphore(slots)
        self.busy: set[int] = set()
        self.fd = 7
        self.counter = _Counter()
        self.results = _Results(
            None, None, self.cache, None, None, self.slots, SimpleNamespace(R=0), None,
            lambda _job, _part, _outcome, inqueue: self.busy.discard(inqueue),
            on_ready_counters={PID: self.counter}, fileno_to_outq={}, on_process_alive=None,
        )  # fmt: skip

    def give(self) -> tuple[int, Any, Request]:
        """Write a job to the child; its number, its result and its request."""
        request = Request()
        taken = self.slots.value
        self.slots.acquire(lambda: None)
        assert self.slots.value == taken - 1, "no slot was free"
        result = ApplyResult(self.cache, None, accept_callback=request.on_accepted)
        result._write_to = SimpleNamespace(inqW_fd=self.fd)
        self.busy.add(self.fd)
        return result._job, result, request

    def read(self, kind: int, *content: Any) -> None:
        """Read a message of the child."""
        self.results.on_state_change((kind, content))

    def accept(self, job: int) -> None:
        self.read(ACK, job, None, 0.0, PID, None)

    def end(self, job: int) -> None:
        self.read(READY, job, None, (True, None), self.fd)


class _Counter:
    value = 0

    def get_lock(self) -> Any:
        return _Lock()


class _Lock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def parent() -> Parent:
    return Parent()


def test_soon_free_frees_the_child_and_asks_for_its_next_message(parent: Parent) -> None:
    job, result, request = parent.give()
    parent.accept(job)
    assert (parent.slots.value, parent.busy) == (0, {7})
    parent.read(SOON_FREE, job, parent.fd)
    assert (parent.slots.value, parent.busy) == (1, set())
    assert request.calls == [("accepted", PID), "fetch_next"]
    assert is_soon_free(result)


def test_the_end_of_a_job_frees_a_child_once(parent: Parent) -> None:
    job, result, _ = parent.give()
    parent.accept(job)
    parent.read(SOON_FREE, job, parent.fd)
    parent.give()
    parent.end(job)
    assert (parent.slots.value, parent.busy) == (0, {7}), "the next job has the slot"
    assert result.ready()
    assert job not in parent.cache
    assert not is_soon_free(result)
    assert parent.counter.value == 1


def test_the_end_of_a_job_that_was_not_announced_frees_its_child(parent: Parent) -> None:
    job, result, _ = parent.give()
    parent.accept(job)
    parent.end(job)
    assert (parent.slots.value, parent.busy) == (1, set())
    assert result.ready()
    assert parent.counter.value == 1


def test_soon_free_for_an_ended_or_unknown_job_changes_nothing(parent: Parent) -> None:
    job, _, request = parent.give()
    parent.accept(job)
    parent.end(job)
    parent.give()
    for number in (job, 10**9):
        parent.read(SOON_FREE, number, parent.fd)
    assert (parent.slots.value, parent.busy) == (0, {7})
    assert request.calls == [("accepted", PID)]


# The pool itself ---------------------------------------------------------------------------------------------------


def _pool(parent: Parent) -> Any:
    pool = cast(Any, object.__new__(_TakeAheadPool))
    pool._cache, pool._putlock = parent.cache, parent.slots
    return pool


def _let_die(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pool find its child dead, as billiard does: accepted jobs are lost, others go to another child."""
    exits = [-9]

    def join() -> list[int]:
        for result in list(pool._cache.values()):
            if result.accepted():
                pool.mark_as_worker_lost(result, -9)
        return [exits.pop()] if exits else []

    restarted: list[int] = []
    monkeypatch.setattr(pool, "_join_exited_workers", join, raising=False)
    monkeypatch.setattr(pool, "_repopulate_pool", restarted.extend, raising=False)
    for _ in range(2):
        pool._maintain_pool()
    assert restarted == [-9]


def test_the_death_of_a_child_frees_the_slot_of_its_job(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    job, result, _ = parent.give()
    parent.accept(job)
    _let_die(_pool(parent), monkeypatch)
    assert parent.slots.value == 1
    assert result.ready()


@pytest.mark.parametrize("is_taken_ahead", [False, True])
def test_the_death_of_a_child_between_two_jobs_frees_the_slot_of_the_second_if_that_is_lost(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, is_taken_ahead: bool
) -> None:
    job, _, _ = parent.give()
    parent.accept(job)
    parent.read(SOON_FREE, job, parent.fd)
    following, _, _ = parent.give()
    if is_taken_ahead:
        parent.accept(following)
    _let_die(_pool(parent), monkeypatch)
    # One that waited in the pipe keeps its slot, and goes to the next child.
    assert parent.slots.value == (1 if is_taken_ahead else 0)


def test_the_death_of_a_child_that_was_soon_free_of_both_jobs_frees_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Parent(slots=2)
    parent.slots.acquire(lambda: None)
    for _ in range(2):
        job, _, _ = parent.give()
        parent.accept(job)
        parent.read(SOON_FREE, job, parent.fd)
    assert parent.slots.value == 1, "another child has the other slot"
    _let_die(_pool(parent), monkeypatch)
    assert parent.slots.value == 1


def test_the_death_of_an_idle_child_frees_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Parent(slots=2)
    parent.slots.acquire(lambda: None)
    _let_die(_pool(parent), monkeypatch)
    assert parent.slots.value == 1


def test_a_child_that_dies_while_its_node_starts_does_not_end_the_node(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _pool(parent)
    # What Celery's loop asks before it begins, with a child that was killed since its fork.
    monkeypatch.setattr(pool, "_join_exited_workers", lambda: {4712: -9}, raising=False)
    assert not billiard_pool.Pool.did_start_ok(pool)
    assert pool.did_start_ok()


def test_a_fork_finds_little_garbage_to_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    # The collection of the tests has frozen others.
    gc.unfreeze()
    frozen: list[int] = []
    monkeypatch.setattr(prefork.TaskPool, "on_start", lambda _pool: frozen.append(gc.get_freeze_count()))
    try:
        JobPool(app=None).on_start()
        assert frozen[0] > len(gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_lost_broker_makes_the_pool_forget_only_what_no_child_was_given(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Parent(slots=3)
    given, _, _ = parent.give()
    waiting, result, _ = parent.give()
    result._write_to = None
    over, done, _ = parent.give()
    done._set(None, (True, None))
    pool = _pool(parent)
    monkeypatch.setattr(
        asynpool.AsynPool, "flush", lambda pool: [each.discard() for each in list(pool._cache.values())]
    )
    pool.flush()
    assert list(parent.cache) == [given]
    assert waiting not in parent.cache
    assert over not in parent.cache


def test_a_job_is_written_to_a_free_child_when_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[Any] = []
    written: list[list[int]] = []
    pool = _pool(Parent())
    pool._all_inqueues, pool._busy_workers, pool._active_writes = {5, 6, 7}, {6}, {7}
    monkeypatch.setattr(
        asynpool.AsynPool, "_create_write_handlers", lambda pool, hub: setattr(pool, "_quick_put", queued.append)
    )
    pool._create_write_handlers(SimpleNamespace(consolidate_callback=written.append))
    pool._quick_put("job")
    assert (queued, written) == (["job"], [[5]])


def test_a_writer_that_is_not_there_costs_the_event_loop_no_system_call() -> None:
    hub = Hub()
    poller = Mock(wraps=hub.poller)
    reader, writer = os.pipe()
    try:
        hub.add(reader, print, READ)
        hub.poller = poller
        remove = _RemoveWriter(hub)
        remove(reader)
        assert poller.mock_calls == []
        hub.add(writer, print, WRITE)
        remove(writer)
        assert (list(hub.readers), list(hub.writers)) == ([reader], [])
    finally:
        hub.close()
        os.close(reader)
        os.close(writer)
