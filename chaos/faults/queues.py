"""Faults of queues: one that the broker refuses, and a thousand queues."""

from __future__ import annotations

import time

import kombu
import redis

from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from harness.polling import wait_until

_QUEUES = 1000
#: The queue of the first additional worker of `chaos.handlers`, and its Redis key for priority 5.
_REFUSED, _REFUSED_KEY = "chaos.1", "chaos.1\x06\x165"
#: Handlers that must begin in other queues during the fault.
_STARTS = 200


def _refuse_queue(cluster: Cluster) -> Injury:
    """Occupy a queue with a foreign declaration for 10 s, so that the broker refuses it while the others run."""
    since = time.monotonic()
    jobs = cluster.load.trigger_bulk("wkr_chaos_1", count=50)
    wait_until(lambda: cluster.begun(since) >= _STARTS, seconds=30, what="jobs of other queues begin")
    time.sleep(max(0.0, since + 10 - time.monotonic()))
    if any(cluster.runs().get(job) for job in jobs):
        raise AssertionError("The broker refused no queue.")
    _vacate(cluster)
    return Injury(since=time.monotonic(), jobs=jobs)


def _occupy(cluster: Cluster) -> None:
    """Declare the queue incompatibly: without priorities; on Redis not as a list."""
    if cluster.broker_name == "redis":
        with redis.Redis.from_url(cluster.broker.url) as client:
            client.set(_REFUSED_KEY, "a string")
    else:
        with kombu.Connection(cluster.broker.url) as connection:
            connection.default_channel.queue_declare(_REFUSED, durable=True, auto_delete=False)


def _vacate(cluster: Cluster) -> None:
    if cluster.broker_name == "redis":
        with redis.Redis.from_url(cluster.broker.url) as client:
            client.delete(_REFUSED_KEY)
    else:
        with kombu.Connection(cluster.broker.url) as connection:
            connection.default_channel.queue_delete(_REFUSED)


def _fill_queues(cluster: Cluster) -> Injury:
    """Trigger two jobs for each of a thousand workers with a queue each, during the load of one queue."""
    since = time.monotonic()
    jobs = [
        job
        for first in range(1, _QUEUES + 1, 250)
        for job in cluster.load.trigger_bulk(*(f"wkr_chaos_{number}" for number in range(first, first + 250)), count=2)
    ]
    wait_until(lambda: jobs and not set(jobs) - set(cluster.runs()), seconds=120, what="the jobs of all queues begin")
    return Injury(since=since, jobs=jobs)


FAULTS = (
    Fault(
        name="one queue refused for 10 s",
        inject=_refuse_queue,
        promised_seconds=10,
        repeats_nothing=True,
        plan=Plan(environ={"CHAOS_QUEUES": "1"}, prepare=_occupy),
    ),
    Fault(
        name="a thousand queues, two jobs in each",
        inject=_fill_queues,
        promised_seconds=60,
        repeats_nothing=True,
        plan=Plan(environ={"CHAOS_QUEUES": str(_QUEUES)}),
        runs_alone=True,
    ),
)
