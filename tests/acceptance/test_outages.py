"""Outages of real servers: what the processes promise during one, and what they do after it."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import kombu
import psycopg2
import pytest
import requests

from ava.broker.app import make_app
from ava.settings import load
from chaos import effects
from harness.polling import wait_until
from harness.servers.server import Server
from harness.system import HEADERS, System
from tests.acceptance.deaf_handlers import DEAFEN

ON_REDIS = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
ON_RABBITMQ = pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
WORKER = "wkr_chaos_effect"


def _environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "AVA_HANDLERS": "chaos.handlers",
        "AVA_WORKER_CHAOS_EFFECT_FILE": str(tmp_path / "effects"),
        "AVA_NODE_DEAD_SECONDS": "4",
        "AVA_HEARTBEAT_SECONDS": "1",
        **more,
    }


def _run(system: System, seconds: float, **fields: object) -> str:
    return str(system.trigger(WORKER, input={"seconds": seconds}, **fields)["id"])


@ON_REDIS
def test_a_database_outage_loses_and_repeats_no_job(system: System, private_postgres: Server, tmp_path: Path) -> None:
    system.start(workers=1, environ=_environ(tmp_path, AVA_LOG_FORMAT="json"), database_url=private_postgres.url)
    short, long = _run(system, 2), _run(system, 9)
    system.wait_for(short, "running")
    system.wait_for(long, "running")
    private_postgres.kill()
    down_at = time.monotonic()
    while time.monotonic() - down_at < 6:
        began = time.monotonic()
        answer = system.post("/v1/ava/jobs", json={"worker_id": WORKER, "input": {"seconds": 0}})
        assert time.monotonic() - began < 10, "the promise is two seconds on a quiet machine"
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        time.sleep(0.3)
    private_postgres.start()
    # No further request fails, and a new job runs soon.
    assert system.wait_for(_run(system, 0), "completed")["attempt"] == 1
    for job_id in (short, long):
        record = system.wait_for(job_id, "completed")
        assert record["attempt"] == 1
        assert "Handler lost: its node is dead" not in system.messages(job_id)
    assert system.query("SELECT max(losses), max(run_no) FROM jobs") == [(0, 1)]
    # A line of JSON says why each request was answered 503. No process writes a traceback.
    assert system.api
    lines = [json.loads(line) for line in system.api.output.splitlines()]
    assert [line["reason"] for line in lines if line["msg"].startswith("The database is out of reach")]


@ON_REDIS
def test_every_job_runs_after_a_broker_outage(system: System, private_redis: Server, tmp_path: Path) -> None:
    system.expects_traceback = True
    system.start(workers=1, environ=_environ(tmp_path), broker_url=private_redis.url)
    system.wait_for(_run(system, 0), "completed")
    private_redis.kill()
    began = time.monotonic()
    waiting = [_run(system, 0) for _ in range(20)]
    # A request that waited for the broker would take seconds.
    assert time.monotonic() - began < 20
    time.sleep(3)
    private_redis.start()
    for job_id in waiting:
        assert system.wait_for(job_id, "completed")["attempt"] == 1


@ON_REDIS
def test_a_node_that_was_frozen_beyond_its_death_does_not_go_on(system: System, tmp_path: Path) -> None:
    system.start(workers=1, concurrency=1, environ=_environ(tmp_path))
    job_id = _run(system, 12)
    system.wait_for(job_id, "running")
    node = system.workers[0]
    frozen = [*(child.pid for child in node.children), node.pid]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    system.start_worker(concurrency=1, wait=False)
    wait_until(lambda: _attempts(tmp_path, job_id) == 2, seconds=60, what="another node runs the job")
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert system.wait_for(job_id, "completed", seconds=40)["attempt"] == 1
    by_job = effects.runs(effects.read(tmp_path / "effects"))
    assert effects.overlapping(by_job) == []
    assert [attempt.is_done for attempt in by_job[job_id]] == [False, True]


@ON_REDIS
def test_a_process_that_was_frozen_while_it_claimed_does_not_begin(system: System, tmp_path: Path) -> None:
    system.start(workers=1, concurrency=1, environ=_environ(tmp_path))
    system.wait_for(_run(system, 0), "completed")
    node = system.workers[0]
    (child,) = (child.pid for child in node.children)
    os.kill(child, signal.SIGSTOP)
    job_id = _run(system, 0)
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM jobs WHERE status = 'queued' FOR UPDATE")
        os.kill(child, signal.SIGCONT)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: system.query(waiting) == [(1,)], what="the claim waits for the lock")
        for pid in (child, node.pid):
            os.kill(pid, signal.SIGSTOP)
        connection.rollback()
    # The claim has been written, and the process has not read that yet.
    system.wait_for(job_id, "running")
    system.start_worker(concurrency=1, wait=False)
    assert system.wait_for(job_id, "completed", seconds=60)["attempt"] == 1
    for pid in (node.pid, child):
        os.kill(pid, signal.SIGCONT)
    # The process takes other jobs once it has dropped that run.
    wait_until(lambda: _process_of_next(system, tmp_path) == child, seconds=60, what="the process runs a job")
    assert _attempts(tmp_path, job_id) == 1


@pytest.mark.needs_session(because="a pooler's connection that a node has used may serve the API when it is killed")
@ON_REDIS
def test_a_run_whose_claim_a_failover_lost_stops_and_writes_nothing(system: System, tmp_path: Path) -> None:
    system.start(workers=1, concurrency=2, environ=_environ(tmp_path))
    job_id = _run(system, 6)
    wait_until(lambda: _attempts(tmp_path, job_id) == 1, what="it runs")
    # The claim was not replicated when the primary died, so the new primary still has the job waiting in the broker.
    # The dispatcher publishes it again, and another process claims it by the same number.
    system.query(
        "UPDATE jobs SET status = 'queued', run_no = 0, attempt = 0, claim_id = NULL, node_id = NULL,"
        " started_at = NULL, published_at = NULL"
    )
    system.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'ava worker' AND datname = current_database()"
    )
    assert system.wait_for(job_id, "completed", seconds=30)["attempt"] == 1
    assert system.query("SELECT run_no, losses FROM jobs") == [(1, 0)]
    begun = [effect for effect in effects.read(tmp_path / "effects") if effect.kind == "begin"]
    done = [effect for effect in effects.read(tmp_path / "effects") if effect.kind == "done"]
    assert (len(begun), len(done)) == (2, 1)


def _process_of_next(system: System, folder: Path) -> int:
    """Returns the process that runs a new job."""
    job_id = _run(system, 0)
    system.wait_for(job_id, "completed")
    return int(effects.runs(effects.read(folder / "effects"))[job_id][-1].name.partition(".")[0])


def _attempts(folder: Path, job_id: str) -> int:
    return len(effects.runs(effects.read(folder / "effects")).get(job_id, []))


@ON_REDIS
def test_the_children_of_a_frozen_parent_finish_their_runs(system: System, tmp_path: Path) -> None:
    system.start(workers=1, concurrency=1, environ=_environ(tmp_path))
    job_id = _run(system, 8)
    system.wait_for(job_id, "running")
    system.workers[0].send(signal.SIGSTOP)
    try:
        assert system.wait_for(job_id, "completed", seconds=30)["attempt"] == 1
    finally:
        system.workers[0].send(signal.SIGCONT)
    assert system.query("SELECT losses, run_no FROM jobs") == [(0, 1)]


@ON_REDIS
def test_a_node_that_receives_no_messages_ends_itself(system: System, tmp_path: Path) -> None:
    handlers = "chaos.handlers,tests.acceptance.deaf_handlers"
    system.start(workers=1, environ=_environ(tmp_path, AVA_DEAF_SECONDS="5") | {"AVA_HANDLERS": handlers})
    system.wait_for(_run(system, 0), "completed")
    app = make_app(load(system.environ))
    # Redis's pub/sub may lose a command or its reply.
    wait_until(lambda: app.control.broadcast(DEAFEN, reply=True, timeout=2), what="the node is deaf")
    app.close()
    job_id = _run(system, 0)
    assert system.workers[0].wait(40) == os.EX_SOFTWARE
    assert "it receives no messages" in system.workers[0].output
    system.workers.clear()
    system.start_worker()
    system.wait_for(job_id, "completed")


@ON_RABBITMQ
def test_a_node_consumes_its_queue_again_after_it_was_deleted(system: System, tmp_path: Path) -> None:
    system.expects_traceback = True
    system.start(workers=1, environ=_environ(tmp_path, AVA_DEAF_SECONDS="60"))
    system.wait_for(_run(system, 0), "completed")
    with kombu.Connection(system.broker_url) as connection:
        connection.default_channel.queue_delete("default")
    system.wait_for(_run(system, 0), "completed", seconds=30)


@ON_REDIS
def test_the_second_dispatcher_takes_over_from_one_that_is_killed(system: System, tmp_path: Path) -> None:
    system.start(workers=1, dispatchers=2, environ=_environ(tmp_path))
    active = system.await_dispatcher()
    [other] = [each for each in system.dispatchers if each is not active]
    assert "is active now" not in other.output
    active.kill()
    assert system.await_dispatcher() is other


@ON_REDIS
def test_a_frozen_database_is_a_503_within_two_seconds(
    system: System, private_postgres: Server, tmp_path: Path
) -> None:
    system.start(workers=0, dispatchers=0, environ=_environ(tmp_path), database_url=private_postgres.url)
    with private_postgres.frozen():
        for _ in range(4):
            began = time.monotonic()
            answer = system.get("/v1/ava/jobs")
            assert answer.status_code == 503
            assert time.monotonic() - began < 10, "the promise is two seconds on a quiet machine"
        # More requests than connections do not wait for each other.
        time.sleep(1)
        with ThreadPoolExecutor(60) as threads:
            began = time.monotonic()
            answers = threads.map(
                lambda _: requests.get(f"{system.url}/v1/ava/jobs", headers=HEADERS, timeout=60), range(60)
            )
            statuses = [answer.status_code for answer in answers]
            assert set(statuses) == {503}
            # One after the other they would take two minutes.
            assert time.monotonic() - began < 30
    wait_until(lambda: system.get("/v1/ava/jobs").ok, what="the API answers again")
