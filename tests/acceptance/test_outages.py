"""Outages of real servers: what the processes promise during one, and what they do after it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import kombu
import psycopg2
import pytest
import requests

from ava.broker.celery_app import make_app
from ava.settings import load
from chaos import effects
from harness.polling import wait_until
from harness.servers.redis import fresh_redis_url
from harness.servers.server import Server
from harness.system import HEADERS, System
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.deaf_handlers import DEAFEN

ON_REDIS = pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
ON_RABBITMQ = pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
WORKER = "wkr_chaos_effect"
#: A node counts as dead sooner than by default, so that the tests are shorter.
_SOON = {"AVA_NODE_DEAD_SECONDS": "4", "AVA_HEARTBEAT_SECONDS": "1"}


@pytest.fixture(scope="module")
def _without_nodes(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """What `nodes` uses, with a dispatcher that soon counts a node as dead."""
    start = {"workers": 0, "environ": _SOON}
    with running_system(tmp_path_factory.mktemp("system"), module_database_url, module_broker_url, **start) as system:
        yield system


def _environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "AVA_HANDLERS": "chaos.handlers",
        "AVA_WORKER_CHAOS_EFFECT_FILE": str(tmp_path / "effects"),
        "AVA_DEAF_SECONDS": "60",
        **_SOON,
        **more,
    }


def _run(system: System, seconds: float, **fields: object) -> str:
    return str(system.trigger(WORKER, input={"seconds": seconds}, **fields)["id"])


@pytest.fixture(scope="module")
def on_own(own_postgres: Server, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A node, an API and a dispatcher on a PostgreSQL of their own, for tests after which all of them go on."""
    folder = tmp_path_factory.mktemp("own")
    environ = _environ(folder, AVA_LOG_FORMAT="json")
    with running_system(folder, own_postgres.url, fresh_redis_url(redis_server), environ=environ) as system:
        yield system


@pytest.mark.redis
def test_a_database_outage_loses_and_repeats_no_job(on_own: System, own_postgres: Server) -> None:
    system = on_own
    short, long = _run(system, 2), _run(system, 9)
    system.wait_for(short, "running")
    system.wait_for(long, "running")
    own_postgres.kill()
    down_at = time.monotonic()
    while time.monotonic() - down_at < 6:
        began = time.monotonic()
        response = system.post("/v1/ava/jobs", json={"worker_id": WORKER, "input": {"seconds": 0}})
        assert time.monotonic() - began < 10, "the promise is two seconds on a quiet machine"
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        time.sleep(0.3)
    own_postgres.start()
    # No further request fails, and a new job runs soon.
    assert system.wait_for(_run(system, 0), "completed")["attempt"] == 1
    for job_id in (short, long):
        record = system.wait_for(job_id, "completed")
        assert record["attempt"] == 1
        assert "Handler lost: its node is dead" not in system.messages(job_id)
    # Another test triggers jobs without an input.
    assert system.query("SELECT max(losses), max(run_no) FROM jobs WHERE input::text <> '{}'") == [(0, 1)]
    # A line of JSON says why each request was answered 503. No process writes a traceback.
    assert system.api
    lines = [json.loads(line) for line in system.api.output.splitlines()]
    assert [line["reason"] for line in lines if line["msg"].startswith("The database is unreachable")]


@pytest.mark.redis
def test_while_the_primary_is_read_only_requests_get_503_and_results_are_kept(
    on_own: System, own_postgres: Server
) -> None:
    """A demoted primary is read-only."""
    job_ids = [_run(on_own, seconds) for seconds in (2, 9)]
    for job_id in job_ids:
        on_own.wait_for(job_id, "running")
    with own_postgres.read_only():
        # Nodes count as dead after 4 s.
        late = on_own.start_worker(wait=False)
        # Each session of PostgreSQL takes the changed setting once its signal has reached it.
        wait_until(lambda: {_status_of_trigger(on_own) for _ in range(5)} == {503}, what="the primary is read-only")
        statuses = set()
        ends_at = time.monotonic() + 7
        while time.monotonic() < ends_at:
            statuses.add(_status_of_trigger(on_own))
            time.sleep(0.1)
        assert statuses == {503}
    for job_id in job_ids:
        assert on_own.wait_for(job_id, "completed")["attempt"] == 1
    assert on_own.query("SELECT DISTINCT losses, run_no FROM jobs WHERE input::text <> '{}'") == [(0, 1)]
    # The node that was started meanwhile has registered.
    on_own.await_workers()
    entries = on_own.query("SELECT status, count(*) > 10 FROM audit GROUP BY status ORDER BY status DESC LIMIT 1")
    assert entries == [(503, True)]
    on_own.workers.remove(late)
    assert late.terminate() == 0


def _status_of_trigger(system: System) -> int:
    return system.post("/v1/ava/jobs", json={"worker_id": WORKER, "input": {}}).status_code


@pytest.mark.redis
def test_a_node_that_cannot_register_ends_with_one_line(on_own: System, own_postgres: Server) -> None:
    before = {process.pid for process in on_own.leftovers()}
    with own_postgres.read_only():
        node = on_own.spawn("worker", "-c", "1", environ={"AVA_LOG_FORMAT": ""})
        assert node.wait(30) == 1
    assert len([line for line in node.output.splitlines() if "Node cannot start" in line]) == 1
    wait_until(lambda: {process.pid for process in on_own.leftovers()} <= before, what="its processes have ended too")


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


@on_redis
def test_a_node_that_was_frozen_beyond_its_death_does_not_go_on(nodes: System, tmp_path: Path) -> None:
    nodes.start_nodes(concurrency=1, environ=_environ(tmp_path))
    job_id = _run(nodes, 12)
    nodes.wait_for(job_id, "running")
    node = nodes.workers[0]
    frozen = [*(child.pid for child in node.children), node.pid]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    nodes.start_worker(concurrency=1, wait=False)
    wait_until(lambda: _attempts(tmp_path, job_id) == 2, seconds=60, what="another node runs the job")
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert nodes.wait_for(job_id, "completed", seconds=40)["attempt"] == 1
    by_job = effects.runs(effects.read(tmp_path / "effects"))
    assert effects.overlapping(by_job) == []
    assert [attempt.is_done for attempt in by_job[job_id]] == [False, True]


@on_redis
def test_a_process_that_was_frozen_while_it_claimed_does_not_begin(nodes: System, tmp_path: Path) -> None:
    nodes.start_nodes(concurrency=1, environ=_environ(tmp_path))
    nodes.wait_for(_run(nodes, 0), "completed")
    node = nodes.workers[0]
    (child,) = (child.pid for child in node.children)
    os.kill(child, signal.SIGSTOP)
    job_id = _run(nodes, 0)
    with closing(psycopg2.connect(nodes.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM jobs WHERE status = 'queued' FOR UPDATE")
        os.kill(child, signal.SIGCONT)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: nodes.query(waiting) == [(1,)], what="the claim waits for the lock")
        for pid in (child, node.pid):
            os.kill(pid, signal.SIGSTOP)
        connection.rollback()
    # The claim has been written, and the process has not read that yet.
    nodes.wait_for(job_id, "running")
    nodes.start_worker(concurrency=1, wait=False)
    assert nodes.wait_for(job_id, "completed", seconds=60)["attempt"] == 1
    for pid in (node.pid, child):
        os.kill(pid, signal.SIGCONT)
    # The process takes other jobs once it has dropped that run.
    wait_until(lambda: _process_of_next(nodes, tmp_path) == child, seconds=60, what="the process runs a job")
    assert _attempts(tmp_path, job_id) == 1


@on_redis
def test_a_run_whose_claim_a_failover_lost_stops_and_writes_nothing(nodes: System, tmp_path: Path) -> None:
    nodes.start_nodes(concurrency=2, environ=_environ(tmp_path))
    job_id = _run(nodes, 6)
    wait_until(lambda: _attempts(tmp_path, job_id) == 1, what="it runs")
    # The claim was not replicated when the primary died, so the new primary still has the job waiting in the broker.
    # The dispatcher publishes it again, and another process claims it by the same number.
    nodes.query(
        "UPDATE jobs SET status = 'queued', run_no = 0, attempt = 0, claim_id = NULL, node_id = NULL,"
        " started_at = NULL, published_at = NULL WHERE tenant_id = %s",
        nodes.session.headers["x-tenant-id"],
    )
    nodes.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'ava worker' AND datname = current_database()"
    )
    assert nodes.wait_for(job_id, "completed", seconds=30)["attempt"] == 1
    assert _runs_and_losses(nodes) == [(1, 0)]
    begun = [effect for effect in effects.read(tmp_path / "effects") if effect.kind == "begin"]
    done = [effect for effect in effects.read(tmp_path / "effects") if effect.kind == "done"]
    assert (len(begun), len(done)) == (2, 1)


def _process_of_next(system: System, folder: Path) -> int:
    """Returns the process that runs a new job."""
    job_id = _run(system, 0)
    system.wait_for(job_id, "completed")
    return int(effects.runs(effects.read(folder / "effects"))[job_id][-1].name.partition(".")[0])


def _runs_and_losses(nodes: System) -> list[tuple[int, int]]:
    tenant = nodes.session.headers["x-tenant-id"]
    return nodes.query("SELECT run_no, losses FROM jobs WHERE tenant_id = %s", tenant)


def _attempts(folder: Path, job_id: str) -> int:
    return len(effects.runs(effects.read(folder / "effects")).get(job_id, []))


@on_redis
def test_the_children_of_a_frozen_parent_finish_their_runs(nodes: System, tmp_path: Path) -> None:
    nodes.start_nodes(concurrency=1, environ=_environ(tmp_path))
    job_id = _run(nodes, 8)
    nodes.wait_for(job_id, "running")
    nodes.workers[0].send(signal.SIGSTOP)
    try:
        assert nodes.wait_for(job_id, "completed", seconds=30)["attempt"] == 1
    finally:
        nodes.workers[0].send(signal.SIGCONT)
    assert _runs_and_losses(nodes) == [(1, 0)]


@on_redis
def test_a_node_that_receives_no_messages_ends_itself(nodes: System, tmp_path: Path) -> None:
    handlers = "chaos.handlers,tests.acceptance.deaf_handlers"
    nodes.start_nodes(environ=_environ(tmp_path, AVA_DEAF_SECONDS="5") | {"AVA_HANDLERS": handlers})
    nodes.wait_for(_run(nodes, 0), "completed")
    app = make_app(load(nodes.environ))
    # Redis's pub/sub may lose a command or its reply.
    wait_until(lambda: app.control.broadcast(DEAFEN, reply=True, timeout=2), what="the node is deaf")
    app.close()
    job_id = _run(nodes, 0)
    assert nodes.workers[0].wait(40) == os.EX_SOFTWARE
    assert "it receives no messages" in nodes.workers[0].output
    nodes.workers.clear()
    nodes.start_worker()
    nodes.wait_for(job_id, "completed")


@ON_RABBITMQ
def test_a_node_consumes_its_queue_again_after_it_was_deleted(system: System, tmp_path: Path) -> None:
    system.expects_traceback = True
    system.start(workers=1, environ=_environ(tmp_path, AVA_DEAF_SECONDS="60"))
    system.wait_for(_run(system, 0), "completed")
    with kombu.Connection(system.broker_url) as connection:
        connection.default_channel.queue_delete("default")
    system.wait_for(_run(system, 0), "completed", seconds=30)


@on_redis
def test_the_second_dispatcher_takes_over_from_one_that_is_killed(nodes: System) -> None:
    active = nodes.await_dispatcher()
    other = nodes.start_dispatcher()
    assert "is active now" not in other.output
    active.kill()
    assert nodes.await_dispatcher() is other


@ON_REDIS
def test_a_frozen_database_is_a_503_within_two_seconds(
    system: System, private_postgres: Server, tmp_path: Path
) -> None:
    system.start(workers=0, dispatchers=0, environ=_environ(tmp_path), database_url=private_postgres.url)
    with private_postgres.frozen():
        for _ in range(4):
            began = time.monotonic()
            response = system.get("/v1/ava/jobs")
            assert response.status_code == 503
            assert time.monotonic() - began < 10, "the promise is two seconds on a quiet machine"
        # More requests than connections do not wait for each other.
        time.sleep(1)
        with ThreadPoolExecutor(60) as threads:
            began = time.monotonic()
            responses = threads.map(
                lambda _: requests.get(f"{system.url}/v1/ava/jobs", headers=HEADERS, timeout=60), range(60)
            )
            statuses = [response.status_code for response in responses]
            assert set(statuses) == {503}
            # One after the other they would take two minutes.
            assert time.monotonic() - began < 30
    wait_until(lambda: system.get("/v1/ava/jobs").ok, what="the API answers again")
