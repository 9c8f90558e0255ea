"""The lease of the active dispatcher: at most one is active, whatever is frozen and whatever the clocks show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ava.settings import Settings
from ava.store.engine import leader_lease
from ava.store.engine.database import Database
from ava.store.engine.leader_lease import LeaderLease
from ava.store.engine.leader_lock import LeaderLock
from ava.store.reports import metrics


class Clock:
    """The clock of all dispatchers of a test."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def run(self, seconds: float, *acquire: Callable[[], object]) -> None:
        """Let seconds pass, in which the dispatchers that are not frozen ask whether they are active."""
        until = self.seconds + seconds
        while self.seconds < until:
            self.seconds += 0.5
            for each in acquire:
                each()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leader_lease, "now", clock)
    return clock


@pytest.fixture
def dispatchers(database_url: str, clock: Clock) -> Iterator[tuple[LeaderLease, LeaderLease]]:
    first, second = (LeaderLease(Database(database_url, name="test", pool_size=1)) for _ in range(2))
    yield first, second
    first.release()
    second.release()


@pytest.fixture
def lock(database_url: str, clock: Clock) -> Iterator[LeaderLock]:
    lock = LeaderLock(database_url)
    yield lock
    lock.release()


@pytest.fixture
def execute(database_url: str) -> Iterator[Callable[[str], object]]:
    database = Database(database_url, name="tests")

    def run(statement: str) -> object:
        with database.connect() as connection:
            return connection.exec_driver_sql(statement)

    yield run
    database.close()


def test_a_frozen_dispatcher_stops_before_the_next_begins(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock
) -> None:
    first, second = dispatchers
    assert first.acquire()
    assert not second.acquire()
    clock.run(10, first.acquire, second.acquire)
    assert (first.may_act(), second.may_act()) == (True, False)
    # The first is frozen from here on.
    clock.run(3, second.acquire)
    assert (first.may_act(), second.may_act()) == (False, False)
    clock.run(2, second.acquire)
    assert second.may_act()
    assert not first.acquire()
    clock.run(10, first.acquire, second.acquire)
    assert (first.may_act(), second.may_act()) == (False, True)


def test_a_dispatcher_whose_time_is_over_waits_although_the_lease_is_still_its_own(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock
) -> None:
    first, _ = dispatchers
    assert first.acquire()
    clock.run(3)
    assert not first.acquire()
    clock.run(4, first.acquire)
    assert not first.may_act()
    clock.run(1, first.acquire)
    assert first.may_act()


def test_a_dispatcher_that_ends_is_replaced_at_once(dispatchers: tuple[LeaderLease, LeaderLease]) -> None:
    first, second = dispatchers
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert not first.may_act()
    assert second.acquire()


def test_the_clock_of_the_database_counts_for_nothing(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock, execute: Callable[[str], object]
) -> None:
    first, second = dispatchers
    execute("UPDATE dispatcher_lease SET renewed_at = clock_timestamp() - interval '1 year'")
    # Nothing is known of the one that held it, so each waits.
    assert not first.acquire()
    clock.run(5, first.acquire)
    assert first.may_act()
    clock.run(2, first.acquire, second.acquire)
    execute("UPDATE dispatcher_lease SET renewed_at = clock_timestamp() + interval '1 year'")
    # The first does not find the renewal that it has made, so it may have been replaced.
    assert not first.acquire()
    clock.run(4, first.acquire, second.acquire)
    assert (first.may_act(), second.may_act()) == (False, False)
    clock.run(2, first.acquire, second.acquire)
    assert [first.may_act(), second.may_act()].count(True) == 1


def test_after_a_failure_none_is_active_until_processes_have_asked_for_their_runs(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock, execute: Callable[[str], object]
) -> None:
    first, second = dispatchers
    assert first.acquire()
    assert not second.acquire()
    # As a failover behind a pooler: the lease is free on the new server, and connections were lost.
    execute("UPDATE dispatcher_lease SET renewed_at = NULL")
    assert not first.acquire()
    execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'ava test'"
    )
    clock.run(2.5, first.acquire)
    assert not first.may_act()
    clock.run(1, first.acquire)
    assert first.may_act()


def test_a_dispatcher_with_a_session_and_one_without_are_not_active_at_once(
    dispatchers: tuple[LeaderLease, LeaderLease], lock: LeaderLock, clock: Clock
) -> None:
    leased, other = dispatchers
    assert leased.acquire()
    # It has the lock, and waits until the other has seen that.
    assert not lock.acquire()
    assert not leased.acquire()
    assert not leased.may_act()
    assert lock.acquire()
    clock.run(10, leased.acquire, other.acquire, lock.acquire)
    assert (leased.may_act(), other.may_act(), lock.may_act()) == (False, False, True)
    lock.release()
    assert other.acquire()


def test_a_lease_whose_holder_died_keeps_one_with_a_session_waiting_for_seconds_only(
    dispatchers: tuple[LeaderLease, LeaderLease], lock: LeaderLock, clock: Clock
) -> None:
    leased, _ = dispatchers
    assert leased.acquire()
    clock.run(4, lock.acquire)
    assert not lock.may_act()
    clock.run(1, lock.acquire)
    assert lock.may_act()
    # The former holder thaws.
    assert not leased.acquire()


def test_metrics_say_that_one_with_a_lease_is_active(
    dispatchers: tuple[LeaderLease, LeaderLease], database_settings: Settings
) -> None:
    database = Database.of(database_settings, name="tests")
    with database.connect() as connection:
        assert not metrics.has_leader(connection)
        assert dispatchers[0].acquire()
        assert metrics.has_leader(connection)
    database.close()
