"""The order in which pulled jobs start, beside that of the same jobs on a node.

`python -m tests.integration.pulled_order --jobs 10000` compares them on a server of its own.
"""

from __future__ import annotations

import argparse
import random
import sys
from contextlib import closing
from typing import cast

from ava import settings
from ava.broker.publisher import Publisher
from ava.dispatcher.feed.window import WindowFeed
from ava.store.fleet import nodes
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.transitions.claim import Claim
from ava.store.jobs.transitions.claim import claim as take
from harness.api import NODE, Api
from harness.servers.postgres import running_postgres
from tests.conftest import migrate
from tests.integration.model.broker import Broker
from tests.pulled import JOBS, OPERATOR, claim, data, make_key, make_worker

_TENANTS = [{"x-tenant-id": f"ten_{name}"} for name in "abc"]
_BY_NODE, _PULLED = "wkr_open", "wkr_resize"
_JOBS_PER_BULK = 500


def orders(api: Api, *, jobs: int, at_once: int, seed: int = 1) -> tuple[list[int], list[int]]:
    """Returns the numbers of jobs of ten priorities and three tenants in the order in which a node starts them, and in
    that in which they are claimed over HTTP, `at_once` between two looks of the feed."""
    make_worker(api, scope="platform", headers=OPERATOR)
    key = make_key(api, headers=OPERATOR, scope="platform")
    claim(api, key)
    with api.database.connect() as connection:
        node = NodeSpec(
            id=NODE, name="n", host="h", pid=1, version="1", queues=["default"], workers=[_BY_NODE], processes=1
        )  # fmt: skip
        nodes.register(connection, node)
    _trigger(api, jobs, random.Random(seed))
    # The worker stays live while the node's turn lasts.
    api.execute("UPDATE jobs SET published_at = NULL")
    api.execute("UPDATE worker_claims SET claimed_at = now() + interval '1 hour'")
    broker = Broker()
    feed = WindowFeed(api.database, cast(Publisher, broker), window=100, node_dead_seconds=3600)
    by_node: list[int] = []
    pulled: list[int] = []
    with closing(feed._admission._connections):
        while len(by_node) < jobs:
            feed.run_once(0)
            by_node += [_start(api, broker) for _ in range(min(at_once, len(broker.messages)))]
        while len(pulled) < jobs:
            feed.run_once(0)
            pulled += [run["input"]["number"] for run in claim(api, key, _PULLED, capacity=at_once)]
            # A key holds a thousand runs at most.
            api.execute("UPDATE pulled_runs SET ended_at = now() WHERE ended_at IS NULL")
    return by_node, pulled


def _trigger(api: Api, jobs: int, chosen: random.Random) -> None:
    made = [(chosen.randrange(3), chosen.randint(1, 10), number) for number in range(jobs)]
    for tenant, headers in enumerate(_TENANTS):
        for worker_id in (_BY_NODE, _PULLED):
            entries = [
                {"worker_id": worker_id, "priority": priority, "input": {"number": number}}
                for owner, priority, number in made
                if owner == tenant
            ]
            for first in range(0, len(entries), _JOBS_PER_BULK):
                data(
                    api.post(f"{JOBS}/bulk", json={"jobs": entries[first : first + _JOBS_PER_BULK]}, headers=headers),
                    201,
                )


def _start(api: Api, broker: Broker) -> int:
    """Start the job of the first message, as one process does. Returns its number."""
    message = min(broker.messages, key=lambda each: each.priority)
    broker.messages.remove(message)
    with api.database.connect() as connection:
        job = take(connection, Claim(run=message.runs[0], worker_id=_BY_NODE, node_id=NODE, claim_id=NODE))
    assert job is not None
    return int(job.input["number"])


def _compare(jobs: int, at_once: int, seed: int) -> bool:
    with running_postgres(in_memory=True) as server:
        migrate(server.url)
        environ = {
            "DATABASE_URL": server.url,
            "BROKER_URL": "redis://127.0.0.1:1/0",
            "AVA_INTERNAL_SECRET": "of-all-the-tests",
            "AVA_MAX_QUEUED": str(10 * jobs),
        }
        with Api.running(settings.load(environ)) as api:
            by_node, pulled = orders(api, jobs=jobs, at_once=at_once, seed=seed)
    indexes = [index for index, pair in enumerate(zip(by_node, pulled, strict=True)) if pair[0] != pair[1]]
    differing = f"{len(indexes)} start in another order" + (f", from {indexes[0]} on" if indexes else "")
    sys.stdout.write(f"{jobs} jobs by a node and {jobs} pulled, {at_once} between two looks: {differing}\n")
    return not indexes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=1, help="starts between two looks of the feed")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(not _compare(given.jobs, given.at_once, given.seed))
