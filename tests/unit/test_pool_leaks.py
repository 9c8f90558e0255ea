"""The leaks of a pool: a metric shows what no job takes after a few looks, and nothing of what jobs take."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import ApplyResult
from celery.worker.state import reserved_requests
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from ava.metrics import counters
from ava.node.celery_internals.pool import PoolLeaks


class Request:
    """A message of a node."""

    id = "job_a.1"

    def on_accepted(self, _pid: int, _time: float) -> None: ...


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


def _check(pool: Pool, polls: int = 3) -> int:
    leaks = PoolLeaks(pool)
    return [leaks.check() for _ in range(polls)][-1]


def test_nothing_leaks_while_jobs_take_what_is_taken(pool: Pool) -> None:
    pool.give(7)
    # The child is soon free of this one, and its next message waits in its pipe.
    result, _ = pool.give(8)
    result.is_soon_free = True
    pool._putlock.release()
    pool.give(8, is_accepted=False)
    # No child is free for this one.
    waiting = Request()
    reserved_requests.add(waiting)
    pool._putlock.acquire(lambda _request: None, waiting)
    assert _check(pool, polls=10) == 0


def test_a_slot_that_no_job_has_leaks(pool: Pool) -> None:
    pool.give(7)
    pool._putlock.acquire(lambda: None)
    assert _check(pool, polls=2) == 0
    assert _check(pool) == 1


def test_all_slots_that_no_job_has_leak(pool: Pool) -> None:
    pool._putlock.value = 0
    assert _check(pool) == 2


def test_a_child_that_is_taken_and_runs_no_job_leaks(pool: Pool) -> None:
    pool.give(8)
    pool._busy_workers.add(7)
    assert _check(pool) == 1


@pytest.mark.parametrize("inqueue", [7, None])
def test_a_message_that_no_child_takes_leaks(pool: Pool, inqueue: int | None) -> None:
    pool.give(inqueue, is_accepted=False)
    assert _check(pool) == 1


def test_a_request_that_was_forgotten_leaks(pool: Pool) -> None:
    pool.give(7)
    reserved_requests.add(forgotten := Request())
    assert _check(pool) == 1
    assert forgotten in reserved_requests


def test_runs_that_end_between_two_polls_do_not_leak(pool: Pool) -> None:
    leaks = PoolLeaks(pool)
    for _ in range(5):
        result, request = pool.give(7, is_accepted=False)
        assert leaks.check() == leaks.check() == 0
        del pool._cache[result._job]
        pool._putlock.release()
        pool._busy_workers.clear()
        reserved_requests.discard(request)


def test_a_leak_is_shown_by_its_kind_as_long_as_it_lasts(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    leaks = PoolLeaks(pool)
    pool._busy_workers.add(7)
    for _ in range(5):
        leaks.check()
    assert 'ava_pool_leaks{kind="process"} 1.0' in counters.expose().decode()
    assert caplog.messages == ["Pool: a process is occupied without a job"]
    pool._busy_workers.clear()
    leaks.check()
    assert 'ava_pool_leaks{kind="process"} 0.0' in counters.expose().decode()
