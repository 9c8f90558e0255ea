"""Everything runs through PgBouncer in transaction mode, or everything but what needs a session of its own."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from harness.polling import wait_until
from harness.servers.pgbouncer import PgBouncer
from harness.system import System

#: Server connections of the pool; the processes below have more than twice as many of their own.
_POOL = 20


def _connections(system: System) -> list[tuple[str, int]]:
    """The sessions of the system's database by application."""
    return system.query(
        "SELECT application_name, count(*)::int FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() GROUP BY 1"
    )


def _all_well(system: System) -> str:
    """Returns the output of the doctor once it finds all well, except that the server of the tests is without fsync.

    On a busy machine the lease of the dispatcher may lapse for a moment.
    """

    def output() -> str:
        doctor = system.spawn("doctor")
        doctor.wait(60)
        return doctor.output if re.findall(r"^!!  (\w+)", doctor.output, re.MULTILINE) == ["durability"] else ""

    return wait_until(output, seconds=60, what=lambda: f"all is well: {system.processes[-1].output}")


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_jobs_run_once_through_a_pool_that_is_smaller_than_their_processes(pooler: PgBouncer, system: System) -> None:
    environ = {"DATABASE_POOL_URL": pooler.url_of(system.database_url), "AVA_HANDLERS": "workers,workers.sleep"}
    upgrade = system.spawn("db", "upgrade", environ=environ)
    assert upgrade.wait(60) == 0, upgrade.output
    system.start(workers=2, concurrency=8, webhooks=1, environ=environ)
    # The first jobs run while the pooler dies and comes back, the others after that.
    jobs = [system.trigger("wkr_sleep", input={"seconds": 0.05})["id"] for _ in range(60)]
    pooler.kill()
    pooler.start()
    system.await_api()
    jobs += [system.trigger("wkr_sleep", input={"seconds": 0.05})["id"] for _ in range(60)]
    for id_ in jobs:
        assert system.wait_for(id_, seconds=60)["status"] == "completed"
    runs = system.query("SELECT count(*)::int, sum(attempt)::int, max(run_no) FROM jobs WHERE status = 'completed'")
    assert runs[0][:2] == (len(jobs), len(jobs))
    job = system.trigger("wkr_sleep", input={"seconds": 60})
    system.wait_for(job["id"], "running")
    system.cancel(job["id"])
    assert system.wait_for(job["id"])["status"] == "cancelled"
    assert system.messages(job["id"])[0] == "Worker handler started"
    by_application = dict(_connections(system))
    # The notices of the active dispatcher alone go past the pooler.
    by_application.pop("ava dispatcher notices")
    assert sum(by_application.values()) <= _POOL
    assert "ok  sessions: the session settings are correct" in _all_well(system)


@pytest.mark.needs_session(because="behind a pooler the role has these settings")
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_the_doctor_says_what_is_missing_behind_a_pooler(pooler: PgBouncer, system: System) -> None:
    doctor = system.spawn("doctor", environ={"DATABASE_POOL_URL": pooler.url_of(system.database_url)})
    assert doctor.wait(60) == 1
    assert "behind DATABASE_POOL_URL, the session settings jit, plan_cache_mode, statement_timeout" in doctor.output
    with pytest.raises(psycopg2.OperationalError, match="unsupported startup parameter"):
        psycopg2.connect(pooler.url_of(system.database_url), options="-c statement_timeout=1000")


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_all_goes_through_the_pooler_and_a_frozen_dispatcher_is_replaced(pooler: PgBouncer, system: System) -> None:
    pool_url = pooler.url_of(system.database_url)
    past_it, system.database_url = system.database_url, pool_url
    environ = {"DATABASE_URL": "", "DATABASE_POOL_URL": pool_url}
    refused = system.spawn("db", "upgrade", environ=environ)
    assert refused.wait(60) == 1
    assert "set DATABASE_OWNER_URL to PostgreSQL itself" in refused.output
    upgrade = system.spawn("db", "upgrade", environ={**environ, "DATABASE_OWNER_URL": past_it})
    assert upgrade.wait(60) == 0, upgrade.output
    # A connection that the pooler has opened before has other defaults.
    pooler.kill()
    pooler.start()
    system.start(environ=environ)
    job = system.trigger("wkr_sleep", input={"seconds": 0})
    assert system.wait_for(job["id"])["status"] == "completed"
    [first] = system.dispatchers
    second = system.start_dispatcher()
    first.send(signal.SIGSTOP)
    wait_until(lambda: "is active now" in second.output, what="the second dispatcher is active")
    first.send(signal.SIGCONT)
    wait_until(lambda: "no longer active" in first.output, what="the first has seen that it is not")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    jobs = [system.trigger("wkr_sleep", input={"seconds": 0}, scheduled_at=soon)["id"] for _ in range(5)]
    assert [system.wait_for(id_)["attempt"] for id_ in jobs] == [1] * len(jobs)
    assert "ava dispatcher notices" not in dict(_connections(system))
    reset = system.spawn("broker", "reset", environ=environ)
    assert reset.wait(60) == 0, reset.output
    sessions = "ok  sessions: the session settings are correct; because every connection uses DATABASE_POOL_URL"
    assert sessions in _all_well(system)


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_pooler_in_database_url_is_refused_with_the_setting_that_is_right(pooler: PgBouncer, system: System) -> None:
    current = system.spawn("db", "show", environ={"DATABASE_URL": pooler.url_of(system.database_url)})
    assert current.wait(60) == 1
    assert "DATABASE_URL leads to a pooler" in current.output
    assert "set only DATABASE_POOL_URL" in current.output
