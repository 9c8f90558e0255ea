"""Rates: how many jobs of a key may start in a span of time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ava.domain.jobs.job import Job
from ava.domain.limits.rates import Rate
from ava.settings import Settings
from ava.store.jobs.feed import permit_waits
from harness.polling import wait_until
from tests import limited
from tests.backlog import Backlog


@pytest.fixture
def backlog(database_url: str, redis_url: str) -> Iterator[Backlog]:
    with limited.limited_backlog(Settings(database_url=database_url, broker_url=redis_url)) as backlog:
        yield backlog


def test_a_rate_starts_jobs_one_by_one(backlog: Backlog) -> None:
    limited.limit(backlog, rate=Rate(jobs=5, seconds=1.0))
    limited.insert(backlog, 20)
    feed = limited.feed(backlog)
    assert (feed.run_once(0), feed.run_once(0)) == (1, 0), "one job may wait for its start"
    ((second_at,),) = backlog.run("SELECT next_at FROM rate_states")
    starts: list[Job] = []

    def has_started_more() -> bool:
        starts.extend(limited.claim_all(backlog))
        feed.run_once(0)
        return len(starts) >= 4

    wait_until(has_started_more, what="the others follow")
    timestamps = sorted(job.started_at for job in starts if job.started_at is not None)
    # Each may start late, but the fourth no sooner than two intervals after the moment of the second.
    assert (timestamps[3] - second_at).total_seconds() >= 0.4


def _set_clock_back(backlog: Backlog) -> None:
    """Make the states of rates those of a clock that has gone back by a minute since."""
    minute = "interval '1 minute'"
    backlog.run(f"UPDATE rate_states SET next_at = next_at + {minute}, written_at = written_at + {minute}")


def test_a_rate_goes_on_after_the_clock_has_gone_back(backlog: Backlog) -> None:
    limited.limit(backlog, rate=Rate(jobs=5, seconds=1.0))
    limited.insert(backlog, 3)
    feed = limited.feed(backlog)
    assert feed.run_once(0) == 1
    _set_clock_back(backlog)
    limited.claim_all(backlog)
    wait_until(lambda: feed.run_once(0) == 1, seconds=10, what="the next job starts within an interval")
    ((ahead,),) = backlog.run("SELECT max(next_at) - clock_timestamp() < interval '1 second' FROM rate_states")
    assert ahead, "what is written later does not bring the minute back"


def test_a_rate_that_is_written_after_the_clock_has_gone_back_waits_for_no_more_than_its_own(backlog: Backlog) -> None:
    with backlog.database.connect() as connection:
        (state,) = permit_waits.read_rates(connection, ["key"]).values()
        permit_waits.write_rates(connection, {"key": state.now})
    _set_clock_back(backlog)
    with backlog.database.connect() as connection:
        permit_waits.write_rates(connection, {"key": state.now + timedelta(seconds=1)})
        assert permit_waits.read_rates(connection, ["key"])["key"].wait_seconds <= 1
