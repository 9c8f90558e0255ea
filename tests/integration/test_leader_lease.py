"""The lease of the active dispatcher: at most one is active, whatever is frozen and whatever the clocks show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ava.settings import Settings
from ava.store.engine import leader_lease
from ava.store.engine.database import Database
from ava.store.engine.leader_lease import RENEWAL_SECONDS, LeaderLease
from harness.polling import wait_until
from harness.servers.server import Server


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
            self.seconds += RENEWAL_SECONDS
            for each in acquire:
                each()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leader_lease, "now", clock)
    return clock


@pytest.fixture
def dispatchers(database_settings: Settings, clock: Clock) -> Iterator[tuple[LeaderLease, LeaderLease]]:
    first, second = LeaderLease(database_settings), LeaderLease(database_settings)
    yield first, second
    first.release()
    second.release()


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
    clock.run(1.5, second.acquire)
    assert (first.may_act(), second.may_act()) == (False, False)
    clock.run(0.5, second.acquire)
    assert second.may_act()
    assert not first.acquire()
    clock.run(10, first.acquire, second.acquire)
    assert (first.may_act(), second.may_act()) == (False, True)


@pytest.mark.parametrize("seconds_since_renewal", [0.0, 0.24])
@pytest.mark.parametrize("seconds_since_poll", [0.0, 0.24])
def test_a_dispatcher_that_dies_is_replaced_within_three_seconds(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock, seconds_since_renewal: float, seconds_since_poll: float
) -> None:
    first, second = dispatchers
    assert first.acquire()
    clock.run(10, first.acquire)
    clock.seconds += seconds_since_renewal
    died = clock.seconds
    # The second has looked a moment before the renewal, so it sees the renewal at its next look.
    clock.seconds += RENEWAL_SECONDS - seconds_since_poll
    assert not second.acquire()
    while not second.may_act():
        clock.run(RENEWAL_SECONDS, second.acquire)
    assert clock.seconds - died <= 2.5


def test_a_dispatcher_that_was_frozen_goes_on_if_none_has_taken_the_lease(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock
) -> None:
    first, second = dispatchers
    assert first.acquire()
    assert not second.acquire()
    clock.run(60)
    assert not first.may_act()
    assert first.acquire()
    # The second has now seen that the lease was renewed, so it does not count the time before.
    assert not second.acquire()
    clock.run(1.5, second.acquire)
    assert (first.may_act(), second.may_act()) == (False, False)


def test_a_lease_that_its_holder_renews_while_another_takes_it_stays_the_holders(
    dispatchers: tuple[LeaderLease, LeaderLease], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = dispatchers
    assert first.acquire()
    assert not second.acquire()
    clock.run(2)
    judge = leader_lease.LeaseWatch.has_expired

    def renew_meanwhile(watch: leader_lease.LeaseWatch, lease: leader_lease.Lease) -> bool:
        # The second has read the lease, and takes it next.
        assert first.acquire()
        return judge(watch, lease)

    monkeypatch.setattr(leader_lease.LeaseWatch, "has_expired", renew_meanwhile)
    assert not second.acquire()
    assert (first.may_act(), second.may_act()) == (True, False)


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
    clock.run(1.5, first.acquire)
    assert not first.may_act()
    clock.run(0.5, first.acquire)
    assert first.may_act()
    clock.run(2, first.acquire, second.acquire)
    execute("UPDATE dispatcher_lease SET renewed_at = clock_timestamp() + interval '1 year'")
    # The first does not find the renewal that it has made, so it may have been replaced.
    assert not first.acquire()
    clock.run(1.5, first.acquire, second.acquire)
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
        " WHERE datname = current_database() AND application_name = 'ava dispatcher lease'"
    )
    clock.run(2.5, first.acquire)
    assert not first.may_act()
    clock.run(1, first.acquire)
    assert first.may_act()


def test_the_database_says_whether_a_dispatcher_is_active(
    dispatchers: tuple[LeaderLease, LeaderLease], database_settings: Settings
) -> None:
    database = Database.of(database_settings, name="tests")
    with database.connect() as connection:
        assert not leader_lease.has_leader(connection)
        assert dispatchers[0].acquire()
        assert leader_lease.has_leader(connection)
        dispatchers[0].release()
        assert not leader_lease.has_leader(connection)
    database.close()


def test_no_dispatcher_is_active_on_a_read_only_server(database_settings: Settings, private_postgres: Server) -> None:
    dispatcher = LeaderLease(replace(database_settings, database_url=private_postgres.url, database_pool_url=""))
    assert dispatcher.acquire()
    with private_postgres.read_only():
        wait_until(lambda: not dispatcher.acquire(), what="it is not active")
    wait_until(dispatcher.acquire, what="it is active again")
    dispatcher.release()


def test_a_dispatcher_is_active_again_after_a_restart_of_the_server(
    database_settings: Settings, private_postgres: Server
) -> None:
    dispatcher = LeaderLease(replace(database_settings, database_url=private_postgres.url, database_pool_url=""))
    assert dispatcher.acquire()
    private_postgres.kill()
    assert not dispatcher.acquire()
    private_postgres.start()
    wait_until(dispatcher.acquire, what="it is active again")
    dispatcher.release()


def test_the_next_replaces_one_that_sleeps(database_settings: Settings) -> None:
    first, second = LeaderLease(database_settings), LeaderLease(database_settings)
    assert first.acquire()
    assert not second.acquire()
    # The first does not renew the lease, as if it were frozen; its connection stays open.
    wait_until(second.acquire, what="the second takes over")
    assert not first.may_act()
    assert not first.acquire()
    first.release()
    second.release()
