"""Kills of an application with an outbox, of its relay, and of the API."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress

import psycopg2

from ava.domain import ids
from chaos import outbox_processes
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.faults.processes import kill_api
from chaos.load import WORKER, Accepted
from chaos.outbox_application import committed
from harness.polling import wait_until

#: Attempts of the application, and kills of the relay; every second one also kills the API.
_TRIES, _KILLS = 1_000, 20
_MADE = "SELECT (input ->> 'order')::integer, id::text FROM jobs WHERE input ->> 'order' IS NOT NULL"


def _kill_around_outbox(cluster: Cluster) -> Injury:
    """Kill the relay, and the API with it, while an application commits, rolls back, and is killed."""
    url, rng = outbox_processes.create_database(cluster), random.Random(47)
    application, relay = outbox_processes.start_application(url, WORKER), None
    since = time.monotonic()
    try:
        for kill in range(_KILLS):
            before = _made(cluster)
            outbox_processes.ask(application, _TRIES // _KILLS)
            relay = outbox_processes.start_relay(cluster, url)
            wait_until(lambda before=before: _made(cluster) > before, seconds=60, what="the relay sends rows")
            time.sleep(rng.uniform(0, 0.2))
            relay.kill()
            relay.wait()
            if kill % 2:
                kill_api(cluster)
            since = time.monotonic()
        application.communicate(timeout=60)
        relay = outbox_processes.start_relay(cluster, url)
        wait_until(
            lambda: outbox_processes.query(url, "SELECT count(*) FROM ava_outbox") == [(0,)],
            seconds=60,
            what="all are sent",
        )
        recovered_at = time.monotonic()
    finally:
        for process in (application, relay):
            if process is not None:
                process.kill()
                process.wait()
    return Injury(since=since, recovered_at=recovered_at, broken=_judge(cluster, url), measured=(f"{_TRIES} tries",))


def _judge(cluster: Cluster, url: str) -> list[str]:
    """Compare committed orders with jobs: exactly one job per order, and no other jobs."""
    orders = Counter(number for (number,) in outbox_processes.query(url, "SELECT id FROM orders"))
    jobs = cluster.system.query(_MADE)
    made = Counter(number for number, _ in jobs)
    cluster.load.accepted += [Accepted(id=ids.encode("job", uuid), at=time.monotonic()) for _, uuid in jobs]
    broken = [f"order {number}: {orders[number]} commits, {made[number]} jobs" for number in orders | made
              if orders[number] != made[number]]  # fmt: skip
    return broken + ([] if len(orders) == committed(_TRIES) else [f"{len(orders)} orders are committed"])


def _made(cluster: Cluster) -> int:
    # The API's own connections may be ending too.
    with suppress(psycopg2.Error):
        return len(cluster.system.query(_MADE))
    return 0


FAULTS = (
    Fault(
        name="kill -9 of an application with an outbox, its relay and the API, again and again",
        inject=_kill_around_outbox,
        promised_seconds=30,
        runs_alone=True,
    ),
)
