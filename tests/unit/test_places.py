"""The places of a pool: what no job takes any more is free again after a few looks; what a job takes is left alone."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import ApplyResult
from celery.worker.state import reserved_requests
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from ava.node.celery_internals.places import Places


class Request:
    """A message of a node."""

    id = "job_a.1"

    def __init__(self) -> None:
        self.is_given_up = False

    def on_accepted(self, _pid: int, _time: float) -> None: ...

    def give_up(self) -> None:
        self.is_given_up = True
        reserved_requests.discard(self)


class Pool:
    """What a pool of two processes counts, without any process."""

    def __init__(self) -> None:
        self._cache: dict[int, Any] = {}
        self._putlock = LaxBoundedSemaphore(2)
        self._all_inqueues = {7, 8}
        self._busy_workers: set[int] = set()
        self.outbound_buffer: deque[Any] = deque()

    def give(self, inqueue: int | None = 7, *, is_accepted: bool = True) -> tuple[Any, Request]:
        """Give a job to a child, or to none yet. Returns its result and its request."""
        request = Request()
        reserved_requests.add(request)
        self._putlock.acquire(lambda: None)
        result = ApplyResult(self._cache, None, accept_callback=request.on_accepted)
        if inqueue is None:
            self.outbound_buffer.append(result)
        else:
            result._write_to = SimpleNamespace(inqW_fd=inqueue)
            self._busy_workers.add(inqueue)
        result._accepted = is_accepted
        return result, request


@pytest.fixture
def pool() -> Pool:
    reserved_requests.clear()
    return Pool()


def _check(pool: Pool, looks: int = 3) -> int:
    places = Places(pool)
    return sum(places.check() for _ in range(looks))


def test_nothing_is_corrected_while_jobs_take_what_is_taken(pool: Pool) -> None:
    _, one = pool.give(7)
    # The child is soon free of this one, and its next message waits in its pipe.
    result, other = pool.give(8)
    result.is_soon_free = True
    pool._putlock.release()
    _, following = pool.give(8, is_accepted=False)
    # No child is free for this one.
    waiting = Request()
    reserved_requests.add(waiting)
    pool._putlock.acquire(lambda _request: None, waiting)
    assert _check(pool, looks=10) == 0
    assert pool._busy_workers == {7, 8}
    assert not any(request.is_given_up for request in (one, other, following, waiting))


def test_a_slot_that_no_job_has_is_free_again(pool: Pool) -> None:
    pool.give(7)
    pool._putlock.acquire(lambda: None)
    assert _check(pool, looks=2) == 0
    assert _check(pool) == 1
    assert pool._putlock.value == 1


def test_all_slots_are_free_again(pool: Pool) -> None:
    pool._putlock.value = 0
    assert _check(pool) == 2
    assert pool._putlock.value == 2


def test_a_child_that_runs_no_job_is_free_again(pool: Pool) -> None:
    pool.give(8)
    pool._busy_workers.add(7)
    assert _check(pool) == 1
    assert pool._busy_workers == {8}


@pytest.mark.parametrize("inqueue", [7, None])
def test_a_message_that_no_child_takes_is_given_up(pool: Pool, inqueue: int | None) -> None:
    _, request = pool.give(inqueue, is_accepted=False)
    assert _check(pool) == 1
    assert request.is_given_up
    assert (pool._putlock.value, pool._cache, list(pool.outbound_buffer)) == (2, {}, [])


def test_a_request_that_was_forgotten_takes_no_place(pool: Pool) -> None:
    pool.give(7)
    forgotten = Request()
    reserved_requests.add(forgotten)
    assert _check(pool) == 1
    assert forgotten.is_given_up


def test_what_ends_between_two_looks_is_not_corrected(pool: Pool) -> None:
    places = Places(pool)
    for _ in range(5):
        result, request = pool.give(7, is_accepted=False)
        assert places.check() == places.check() == 0
        del pool._cache[result._job]
        pool._putlock.release()
        pool._busy_workers.clear()
        reserved_requests.discard(request)
