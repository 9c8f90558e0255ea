"""The take-ahead protocol: a child has its next message while it still writes the end of its job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis

from harness.busy import busy_factor
from harness.polling import wait_until
from harness.servers.server import Server
from harness.system import System

ENVIRON = {"AVA_HANDLERS": "tests.acceptance.handlers"}
ON_REDIS = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)


def _trigger(system: System, *jobs: tuple[str, dict[str, Any]]) -> list[str]:
    bulk = [{"worker_id": worker_id, "input": input} for worker_id, input in jobs]
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": bulk})
    assert response.status_code == 201, response.text
    return [record["id"] for record in response.json()["data"]]


@contextmanager
def _blocked_end(system: System, job_id: str, end: Path) -> Iterator[None]:
    """Let a running job end by creating the file `end`, and block the statement that writes its end in the `with`."""
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM jobs WHERE id::text = %s FOR UPDATE", (_uuid(system, job_id),))
        end.touch()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: system.query(waiting) == [(1,)], what="the end waits for the lock")
        yield
        connection.rollback()


def _uuid(system: System, job_id: str) -> str:
    # It is the only job that runs.
    assert system.show(job_id)["status"] == "running"
    ((uuid,),) = system.query("SELECT id::text FROM jobs WHERE status = 'running'")
    return str(uuid)


def test_under_load_one_transaction_ends_a_run_and_claims_the_next(system: System) -> None:
    system.start(concurrency=1, environ=ENVIRON)
    job_ids = _trigger(system, *[("wkr_t_echo", {"n": n}) for n in range(200)])
    for job_id in job_ids:
        assert system.wait_for(job_id)["status"] == "completed"
    together = system.query(
        """SELECT count(*) FROM job_logs AS closing JOIN job_logs AS opening ON opening.xmin = closing.xmin
        WHERE closing.msgs[cardinality(closing.msgs)] LIKE 'Handler completed in %%'
            AND opening.msgs[1] = 'Worker handler started'"""
    )
    # On a busy machine many messages come too late for it.
    assert together[0][0] >= 40, together
    # The timestamps are in order, and every job has all of its lines.
    assert system.query("SELECT count(*) FROM jobs WHERE completed_at < started_at") == [(0,)]
    assert system.query("SELECT count(*) FROM job_lines") == [(400,)]


def test_a_child_that_dies_between_two_jobs_loses_neither(system: System, tmp_path: Path) -> None:
    system.start(concurrency=1, environ=ENVIRON)
    first, ending, following = _trigger(
        system, ("wkr_t_echo", {}), ("wkr_t_brief", {"until": str(tmp_path / "end")}), ("wkr_t_echo", {"after": "all"})
    )
    system.wait_for(ending, "running")
    with _blocked_end(system, ending, tmp_path / "end"):
        system.workers[0].children[0].kill()
    seconds = 10 * busy_factor()
    assert system.wait_for(following, seconds=seconds)["output"] == {"after": "all"}
    assert system.wait_for(ending, seconds=seconds)["status"] == "completed"
    assert system.show(first)["status"] == "completed"
    # Whether its last statement was executed is a matter of timing: the end may be written, the claim made, or neither.
    assert system.query("SELECT max(losses) <= 1 FROM jobs") == [(True,)]
    ends = "SELECT count(DISTINCT job_id), count(*) FROM job_lines WHERE msg LIKE 'Handler completed in %%'"
    assert system.query(ends) == [(3, 3)]


@ON_REDIS
def test_a_message_in_the_pipe_of_a_child_is_still_known_after_an_outage_of_the_broker(
    system: System, private_redis: Server, tmp_path: Path
) -> None:
    system.expects_traceback = True
    system.start(concurrency=1, environ=ENVIRON, broker_url=private_redis.url)
    # After a rest, a child takes nothing ahead: the next message waits in its pipe, and is not accepted yet.
    (ending,) = _trigger(system, ("wkr_t_brief", {"until": str(tmp_path / "end")}))
    system.wait_for(ending, "running")
    (following,) = _trigger(system, ("wkr_t_work", {"seconds": 60}))
    with redis.Redis.from_url(private_redis.url) as broker, _blocked_end(system, ending, tmp_path / "end"):
        wait_until(lambda: not broker.keys("default*"), what="the node has the message")
        private_redis.kill()
        wait_until(lambda: "out of reach" in system.workers[0].output, what="the node notices the outage")
        private_redis.start()
    system.wait_for(following, "running")
    assert system.show(ending)["status"] == "completed"
    # Only a node that knows what its child runs can stop it.
    assert system.cancel(following).status_code == 200
    assert system.wait_for(following)["status"] == "cancelled"


@ON_REDIS
def test_a_job_that_a_child_took_from_its_pipe_runs_and_is_cancelled_while_the_broker_is_away(
    system: System, private_redis: Server, tmp_path: Path
) -> None:
    system.expects_traceback = True
    system.start(concurrency=1, environ=ENVIRON, broker_url=private_redis.url)
    (ending,) = _trigger(system, ("wkr_t_brief", {"until": str(tmp_path / "end")}))
    system.wait_for(ending, "running")
    (following,) = _trigger(system, ("wkr_t_work", {"seconds": 60}))
    with redis.Redis.from_url(private_redis.url) as broker, _blocked_end(system, ending, tmp_path / "end"):
        wait_until(lambda: not broker.keys("default*"), what="the node has the message")
        private_redis.kill()
        wait_until(lambda: "out of reach" in system.workers[0].output, what="the node notices the outage")
    try:
        # Celery's event loop reads neither the end of the one nor the beginning of the other.
        system.wait_for(following, "running")
        ((seen_at,),) = system.query("SELECT seen_at + interval '8 seconds' FROM nodes")
        wait_until(lambda: system.query("SELECT seen_at > %s FROM nodes", seen_at) == [(True,)], what="seconds pass")
        assert system.show(ending)["status"] == "completed"
        assert system.show(following)["status"] == "running"
        assert system.cancel(following).status_code == 200
        assert system.wait_for(following)["status"] == "cancelled"
        assert system.query("SELECT max(run_no), max(losses) FROM jobs") == [(1, 0)]
    finally:
        private_redis.start()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_child_that_takes_longer_than_usual_keeps_no_job_from_its_turn(system: System, processes: int) -> None:
    system.start(concurrency=processes, environ=ENVIRON)
    briefs = [("wkr_t_brief", {"seconds": 0})] * 50
    longs = [("wkr_t_brief", {"seconds": 2 + n / 4}) for n in range(2 * processes)]
    jobs = _trigger(system, *briefs, *longs)
    running = "SELECT count(*) FROM jobs WHERE status = 'running'"
    ended = "SELECT count(*) FROM jobs WHERE status = 'completed'"
    wait_until(lambda: system.query(ended) == [(50,)], what="the brief jobs are over")
    wait_until(lambda: system.query(running) == [(processes,)], what="every child is busy")
    time.sleep(0.5)
    urgent = system.trigger("wkr_t_echo", priority=1)["id"]
    for job_id in (urgent, *jobs):
        assert system.wait_for(job_id)["status"] == "completed"
    before = """SELECT count(*) FROM jobs AS j, (SELECT * FROM jobs WHERE priority = 1) AS urgent
                WHERE j.started_at < urgent.started_at"""
    assert system.query(before) == [(50 + processes,)]
    # No run was lost, and as many jobs run at once as before. What a group has given back has its next number.
    assert system.query("SELECT max(attempt), max(losses) FROM jobs") == [(1, 0)]
    at_once = _trigger(system, *[("wkr_t_work", {"seconds": 30})] * processes)
    for job_id in at_once:
        system.wait_for(job_id, "running")
    for job_id in at_once:
        system.cancel(job_id)
        system.wait_for(job_id, "cancelled")
