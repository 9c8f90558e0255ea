"""The next job of a child: it takes one ahead while it writes an end."""

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
from harness.servers.postgres import Databases
from harness.servers.redis import running_redis
from harness.servers.server import Server
from harness.system import System
from tests.acceptance.conftest import on_redis
from tests.acceptance.ids import uuids
from tests.acceptance.witness import Witness
from tests.conftest import available

# The settings of one test stay for the nodes of the next.
ENVIRON = {"AVA_HANDLERS": "tests.acceptance.handlers,tests.acceptance.limited_handlers", "AVA_POOL": "ava"}


def _trigger(system: System, *jobs: tuple[str, dict[str, Any]]) -> list[str]:
    bulk = [{"worker_id": worker_id, "input": input} for worker_id, input in jobs]
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": bulk})
    assert response.status_code == 201, response.text
    return [record["id"] for record in response.json()["data"]]


@contextmanager
def _blocked_end(system: System, job_id: str, end: Path) -> Iterator[None]:
    """Let a running job end by creating the file `end`, and block the statement that writes its end in the `with`."""
    assert system.show(job_id)["status"] == "running"
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM jobs WHERE id::text = %s FOR UPDATE", uuids([job_id]))
        end.touch()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: system.query(waiting) == [(1,)], what="the end waits for the lock")
        yield
        connection.rollback()


def _count(system: System, condition: str) -> int:
    """Returns the number of the tenant's jobs that meet a condition."""
    tenant_id = system.session.headers["x-tenant-id"]
    ((count,),) = system.query(f"SELECT count(*) FROM jobs WHERE tenant_id = %s AND ({condition})", tenant_id)
    return int(count)


@on_redis
def test_under_load_one_transaction_ends_a_run_and_claims_the_next(nodes: System) -> None:
    nodes.start_nodes(concurrency=1, environ=ENVIRON)
    _trigger(nodes, *[("wkr_t_echo", {"n": n}) for n in range(200)])
    wait_until(lambda: _count(nodes, "status = 'completed'") == 200, seconds=60, what="all are completed")
    tenant_id = nodes.session.headers["x-tenant-id"]
    together = nodes.query(
        """SELECT count(*) FROM job_logs AS closing JOIN job_logs AS opening ON opening.xmin = closing.xmin
        WHERE closing.msgs[cardinality(closing.msgs)] LIKE 'Handler completed in %%'
            AND opening.msgs[1] = 'Worker handler started' AND closing.tenant_id = %s""",
        tenant_id,
    )
    # On a busy machine many messages come too late for it.
    assert together[0][0] >= 40, together
    # The timestamps are in order, and every job has all of its lines.
    assert _count(nodes, "completed_at < started_at") == 0
    assert nodes.query("SELECT count(*) FROM job_lines WHERE tenant_id = %s", tenant_id) == [(400,)]


@on_redis
def test_a_child_that_dies_between_two_jobs_loses_neither(nodes: System, tmp_path: Path) -> None:
    nodes.start_nodes(concurrency=1, environ=ENVIRON)
    first, ending, following = _trigger(
        nodes, ("wkr_t_echo", {}), ("wkr_t_brief", {"until": str(tmp_path / "end")}), ("wkr_t_echo", {"after": "all"})
    )
    nodes.wait_for(ending, "running")
    with _blocked_end(nodes, ending, tmp_path / "end"):
        nodes.workers[0].children[0].kill()
    seconds = 10 * busy_factor()
    assert nodes.wait_for(following, seconds=seconds)["output"] == {"after": "all"}
    assert nodes.wait_for(ending, seconds=seconds)["status"] == "completed"
    assert nodes.show(first)["status"] == "completed"
    # Whether its last statement was executed is a matter of timing: the end may be written, the claim made, or neither.
    assert _count(nodes, "losses > 1") == 0
    ends = [nodes.messages(job_id)[-1] for job_id in (first, ending, following)]
    assert all(each.startswith("Handler completed in ") for each in ends), ends
    lines = "SELECT count(*) FROM job_lines WHERE msg LIKE 'Handler completed in %%' AND tenant_id = %s"
    assert nodes.query(lines, nodes.session.headers["x-tenant-id"]) == [(3,)]


# Without the broker ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Server]:
    """A Redis of these tests' own, which they kill and start again."""
    with available(running_redis()) as server:
        yield server


@pytest.fixture(scope="module")
def _cut_off(_databases: Databases, own_redis: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with one child on that Redis."""
    with _databases.fresh() as url:
        folder = tmp_path_factory.mktemp("cut_off")
        system = System(folder, database_url=url, broker_url=own_redis.url, api_processes=1)
        system.expects_traceback = True  # Of processes that lose the broker.
        try:
            system.start(concurrency=1, environ=ENVIRON)
            yield system
        finally:
            system.stop()
        system.assert_clean()


@pytest.fixture
def cut_off(_cut_off: System, own_redis: Server) -> Iterator[System]:
    """That system. Afterwards the broker is there, and jobs run on it again."""
    yield _cut_off
    if own_redis.child is None:
        own_redis.start()
    assert _cut_off.wait_for(_cut_off.trigger("wkr_t_echo")["id"], seconds=60)["status"] == "completed"


@contextmanager
def _outage_at_an_end(system: System, broker: Server, folder: Path) -> Iterator[tuple[str, str]]:
    """Kill the broker while a child writes the end of its job. Yields that job and the next one while it writes."""
    # After a rest, a child takes nothing ahead: the next message waits in its pipe, and is not accepted yet.
    (ending,) = _trigger(system, ("wkr_t_brief", {"until": str(folder / "end")}))
    system.wait_for(ending, "running")
    (following,) = _trigger(system, ("wkr_t_work", {"seconds": 60}))
    published = "SELECT published_at IS NOT NULL FROM jobs WHERE id::text = %s"
    wait_until(lambda: system.query(published, *uuids([following])) == [(True,)], what="the message is published")
    (node,) = system.workers
    with redis.Redis.from_url(broker.url) as client, _blocked_end(system, ending, folder / "end"):
        wait_until(lambda: not client.keys("default*"), what="the node has the message")
        outages = node.output.count("broker is unreachable")
        broker.kill()
        wait_until(lambda: node.output.count("broker is unreachable") > outages, what="the node notices the outage")
        yield ending, following


@pytest.mark.redis
def test_a_message_in_the_pipe_of_a_child_is_still_known_after_an_outage_of_the_broker(
    cut_off: System, own_redis: Server, tmp_path: Path
) -> None:
    with _outage_at_an_end(cut_off, own_redis, tmp_path) as (ending, following):
        own_redis.start()
    cut_off.wait_for(following, "running")
    assert cut_off.show(ending)["status"] == "completed"
    # Only a node that knows what its child runs can stop it.
    assert cut_off.cancel(following).status_code == 200
    assert cut_off.wait_for(following)["status"] == "cancelled"


@pytest.mark.redis
def test_a_job_that_a_child_took_from_its_pipe_runs_and_is_cancelled_while_the_broker_is_away(
    cut_off: System, own_redis: Server, tmp_path: Path
) -> None:
    with _outage_at_an_end(cut_off, own_redis, tmp_path) as (ending, following):
        pass
    # Celery's event loop reads neither the end of the one nor the beginning of the other.
    cut_off.wait_for(following, "running")
    ((seen_at,),) = cut_off.query("SELECT seen_at + interval '8 seconds' FROM nodes")
    wait_until(lambda: cut_off.query("SELECT seen_at > %s FROM nodes", seen_at) == [(True,)], what="seconds pass")
    assert cut_off.show(ending)["status"] == "completed"
    assert cut_off.show(following)["status"] == "running"
    assert cut_off.cancel(following).status_code == 200
    assert cut_off.wait_for(following)["status"] == "cancelled"
    figures = "SELECT run_no, losses FROM jobs WHERE id = ANY(%s::uuid[])"
    assert cut_off.query(figures, uuids([ending, following])) == [(1, 0)] * 2


# Turns -----------------------------------------------------------------------------------------------------------


def test_a_child_that_takes_longer_than_usual_keeps_no_job_from_its_turn(nodes: System) -> None:
    # Once alone, once beside another.
    processes = 1 if nodes.broker_url.startswith("redis") else 2
    nodes.start_nodes(concurrency=processes, environ=ENVIRON)
    briefs = [("wkr_t_brief", {"seconds": 0})] * 50
    longs = [("wkr_t_brief", {"seconds": 2 + n / 4}) for n in range(3 * processes)]
    jobs = _trigger(nodes, *briefs, *longs)
    brief = f"id = ANY('{{{','.join(uuids(jobs[:50]))}}}')"
    # On a busy machine the node returns a late brief run to the queue, where it may wait for a long one.
    wait_until(
        lambda: (
            _count(nodes, f"status = 'completed' AND {brief}") == 50
            and _count(nodes, "status = 'running' AND started_at > now() - interval '1 second'") == processes
        ),
        what="the brief jobs are over, and every child has just begun a long one",
    )
    begun = _count(nodes, "started_at IS NOT NULL")
    time.sleep(0.5)
    nodes.trigger("wkr_t_echo", priority=1)
    wait_until(lambda: _count(nodes, "status = 'completed'") == len(jobs) + 1, what="all are completed")
    before = "started_at < (SELECT u.started_at FROM jobs AS u WHERE u.tenant_id = jobs.tenant_id AND u.priority = 1)"
    assert _count(nodes, before) == begun
    # No run was lost, and as many jobs run at once as before. What a group has given back has its next number.
    assert _count(nodes, "attempt > 1 OR losses > 0") == 0
    at_once = _trigger(nodes, *[("wkr_t_work", {"seconds": 30})] * processes)
    for job_id in at_once:
        nodes.wait_for(job_id, "running")
    for job_id in at_once:
        nodes.cancel(job_id)
        nodes.wait_for(job_id, "cancelled")


@on_redis
def test_no_more_jobs_of_a_limit_run_at_once_than_it_allows(nodes: System, witness: Witness) -> None:
    nodes.start_nodes(2, concurrency=2, environ=ENVIRON)
    jobs = _trigger(nodes, *[("wkr_t_limited", {**witness.input, "seconds": 0.02})] * 100)
    wait_until(lambda: _count(nodes, "status = 'completed'") == len(jobs), seconds=60, what="all are completed")
    running = most = 0
    for word in sorted(witness.read(), key=lambda word: word.at):
        running += 1 if word.word == "begin" else -1
        most = max(most, running)
    assert most == 2
    assert witness.words.count("done") == 100
