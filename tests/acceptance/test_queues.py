"""A node that serves several queues: none waits for another, and one that fails or is refused stops no other."""

from __future__ import annotations

import re
from collections.abc import Iterator

import kombu
import pytest
import redis

from harness.polling import wait_until
from harness.servers.rabbitmq import RabbitMQ
from harness.system import System
from tests.acceptance.conftest import on_redis, running_system

HANDLERS = {"AVA_HANDLERS": "workers,tests.acceptance.queue_handlers"}


@pytest.fixture(scope="module")
def _running(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("queues")
    start = {"concurrency": 1, "environ": HANDLERS}
    with running_system(folder, module_database_url, module_broker_url, **start) as system:
        yield system


@pytest.fixture
def one_process(_running: System) -> System:
    """A running system with one node of one process, and no job."""
    unfinished = "SELECT count(*) FROM jobs WHERE completed_at IS NULL"
    wait_until(lambda: _running.query(unfinished) == [(0,)], seconds=60, what="no job of another test waits or runs")
    _running.query("DELETE FROM jobs")
    return _running


def _trigger(system: System, worker_id: str, count: int, **fields: object) -> None:
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": [{"worker_id": worker_id, **fields}] * count})
    assert response.status_code == 201, response.text


def _all_ended(system: System, worker_id: str) -> bool:
    return system.query("SELECT count(*) FROM jobs WHERE worker_id = %s AND completed_at IS NULL", worker_id) == [(0,)]


def _started_before_last(system: System, first: str, last: str) -> int:
    """Returns how many jobs of `first` started between the trigger of the jobs of `last` and the last one's start."""
    ((count,),) = system.query(
        "SELECT count(*) FROM jobs, (SELECT min(created_at) AS since, max(started_at) AS until FROM jobs"
        " WHERE worker_id = %s) AS other WHERE worker_id = %s AND started_at BETWEEN since AND until",
        last, first,
    )  # fmt: skip
    return int(count)


def test_two_queues_of_one_priority_take_turns(one_process: System) -> None:
    _trigger(one_process, "wkr_a_busy", 400)
    _trigger(one_process, "wkr_b_quiet", 5)
    wait_until(lambda: _all_ended(one_process, "wkr_b_quiet"), seconds=60)
    overtaken = _started_before_last(one_process, "wkr_a_busy", "wkr_b_quiet")
    assert overtaken <= 40, f"{overtaken} jobs of the first queue started while five of the other waited"


# RabbitMQ gives each queue its turn, and priorities hold within a queue.
@on_redis
def test_a_higher_priority_goes_first_whatever_its_queue(one_process: System) -> None:
    _trigger(one_process, "wkr_b_quiet", 100)
    _trigger(one_process, "wkr_a_busy", 100, priority=6)
    _trigger(one_process, "wkr_b_quiet", 20, priority=3)
    wait_until(lambda: _all_ended(one_process, "wkr_a_busy") and _all_ended(one_process, "wkr_b_quiet"), seconds=60)
    priorities = [row[0] for row in one_process.query("SELECT priority FROM jobs ORDER BY started_at")]
    # What started before the last trigger is of any priority; from the first urgent job on the order is exact, except
    # for one message that the node had already taken.
    rest = priorities[priorities.index(3) :]
    assert sum(one > other for one, other in zip(rest, sorted(rest), strict=True)) <= 1, rest


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_a_virtual_host_whose_default_is_quorum_queues_will_do(system: System, rabbitmq_server: RabbitMQ) -> None:
    with rabbitmq_server.virtual_host(default_queue_type="quorum") as url:
        try:
            system.start(broker_url=url, environ=HANDLERS)
            job = system.trigger("wkr_a_busy")
            assert system.wait_for(job["id"])["status"] == "completed"
            doctor = system.spawn("doctor")
            doctor.wait(60)
            # The server of the tests is without fsync.
            assert re.findall(r"^!!  (\w+)", doctor.output, re.MULTILINE) == ["durability"], doctor.output
        finally:
            system.stop()


# A queue that the broker refuses to a node -----------------------------------------------------------------------

#: The queue of the worker `wkr_a_busy`.
_REFUSED = "a-busy"
_KEY = f"{_REFUSED}\x06\x165"


def _refuse(system: System) -> None:
    """A stranger declares the queue with other arguments, or writes to one of its keys."""
    if system.broker_url.startswith("redis"):
        with redis.Redis.from_url(system.broker_url) as client:
            client.set(_KEY, "a string")
    else:
        with kombu.Connection(system.broker_url) as stranger:
            stranger.default_channel.queue_delete(_REFUSED)
            stranger.default_channel.queue_declare(_REFUSED, durable=True, auto_delete=False)


def _accept(system: System) -> None:
    if system.broker_url.startswith("redis"):
        with redis.Redis.from_url(system.broker_url) as client:
            client.delete(_KEY)
    else:
        with kombu.Connection(system.broker_url) as stranger:
            stranger.default_channel.queue_delete(_REFUSED)


def _refused_by_the_api(system: System) -> list[str]:
    (command,) = system.workers
    pids = {command.pid, *(process.pid for process in command.children)}
    found = system.get("/v1/ava/nodes", headers={"x-platform-role": "platform-admin"}).json()["data"]
    (node,) = (each for each in found if each["pid"] in pids)
    refused: list[str] = node["refused_queues"]
    assert set(node["queues"]).isdisjoint(refused)
    return refused


def test_a_queue_that_is_refused_to_a_node_waits_and_stops_no_other(one_process: System) -> None:
    system = one_process
    system.workers.pop().terminate()
    _refuse(system)
    node = system.start_worker(concurrency=1)
    theirs, ours = system.trigger("wkr_a_busy"), system.trigger("wkr_b_quiet")
    assert system.wait_for(ours["id"])["status"] == "completed"
    assert _refused_by_the_api(system) == [_REFUSED]
    why = system.get(f"/v1/ava/jobs/{theirs['id']}/why").json()["data"]
    assert why["sentence"].startswith(f"queued: the broker refuses the queue {_REFUSED}")
    assert why["facts"]["queue_refused"] is True
    assert node.output.count(f"The broker refuses the queue {_REFUSED}, will retry") == 1
    metrics = system.get("/metrics", headers={"Authorization": "Bearer of-all-the-tests"}).text
    assert f'ava_queue_refused{{queue="{_REFUSED}"}} 1.0' in metrics
    doctor = system.spawn("doctor")
    assert doctor.wait(30) == 1
    assert f"!!  queues: the queue '{_REFUSED}'" in doctor.output
    _accept(system)
    assert system.wait_for(theirs["id"])["status"] == "completed"
    wait_until(lambda: _refused_by_the_api(system) == [], seconds=10, what="no queue is refused")
    assert f"The broker accepts the queue {_REFUSED} again." in node.output
    assert node.exit_code is None
