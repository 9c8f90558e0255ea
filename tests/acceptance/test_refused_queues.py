"""The broker refuses one queue of a node: the others go on, it is shown, and it is consumed once it is accepted."""

from __future__ import annotations

import kombu
import redis

from harness.polling import wait_until
from harness.system import System

HANDLERS = {"AVA_HANDLERS": "workers,tests.acceptance.queue_handlers"}
#: Of the worker `wkr_a_busy`.
REFUSED = "a-busy"
_KEY = f"{REFUSED}\x06\x165"


def _refuse(system: System) -> None:
    """A stranger declares the queue with other arguments, or writes to one of its keys."""
    if system.broker_url.startswith("redis"):
        with redis.Redis.from_url(system.broker_url) as client:
            client.set(_KEY, "a string")
    else:
        with kombu.Connection(system.broker_url) as stranger:
            stranger.default_channel.queue_declare(REFUSED, durable=True, auto_delete=False)


def _accept(system: System) -> None:
    if system.broker_url.startswith("redis"):
        with redis.Redis.from_url(system.broker_url) as client:
            client.delete(_KEY)
    else:
        with kombu.Connection(system.broker_url) as stranger:
            stranger.default_channel.queue_delete(REFUSED)


def _refused_by_the_api(system: System) -> list[str]:
    (node,) = system.get("/v1/ava/nodes").json()["data"]
    refused: list[str] = node["refused_queues"]
    assert set(node["queues"]).isdisjoint(refused)
    return refused


def test_a_queue_that_is_refused_to_a_node_waits_and_stops_no_other(system: System) -> None:
    _refuse(system)
    system.start(environ=HANDLERS)
    (node,) = system.workers
    theirs, ours = system.trigger("wkr_a_busy"), system.trigger("wkr_b_quiet")
    assert system.wait_for(ours["id"])["status"] == "completed"
    assert _refused_by_the_api(system) == [REFUSED]
    why = system.get(f"/v1/ava/jobs/{theirs['id']}/why").json()["data"]
    assert why["sentence"].startswith(f"queued: the broker refuses the queue {REFUSED}")
    assert why["facts"]["queue_refused"] is True
    assert node.output.count(f"The broker refuses the queue {REFUSED}, will retry") == 1
    metrics = system.get("/metrics", headers={"Authorization": "Bearer of-all-the-tests"}).text
    assert f'ava_queue_refused{{queue="{REFUSED}"}} 1.0' in metrics
    doctor = system.spawn("doctor")
    assert doctor.wait(30) == 1
    assert f"!!  queues: the queue '{REFUSED}'" in doctor.output
    _accept(system)
    assert system.wait_for(theirs["id"])["status"] == "completed"
    wait_until(lambda: _refused_by_the_api(system) == [], seconds=10, what="no queue is refused")
    assert f"The broker accepts the queue {REFUSED} again." in node.output
    assert node.exit_code is None
