"""Kill processes while one message stands for several short jobs."""

from __future__ import annotations

import os
import random
import signal
import time

from ava.dispatcher.feed.fair_queue import COSTS_SECONDS
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from harness.polling import wait_until

_WORKER = "wkr_chaos_brief"
_BULKS, _BULK = 4, 1000
#: Number of children killed in turn; a node and the active dispatcher are killed before the last one.
_KILLS = 8
_BETWEEN_SECONDS = 0.4
#: Seeds the dispatcher's statistics of the worker: very many jobs took a second in total.
_KNOWN = "INSERT INTO job_totals VALUES ('{}', 'completed', 0, 0, 1000000000, 0, 0, 0, 1) RETURNING 1"


def _kill_under_groups(cluster: Cluster) -> Injury:
    """Kill children, a node and the active dispatcher during the drain of short jobs, most of them in groups."""
    cluster.system.query(_KNOWN.format(_WORKER))
    time.sleep(COSTS_SECONDS)
    jobs = [
        id_ for _ in range(_BULKS) for id_ in cluster.load.trigger_bulk(_WORKER, count=_BULK, seconds=0, priority=1)
    ]
    rng = random.Random(22)
    wait_until(lambda: _begun(cluster, jobs) > len(jobs) // 20, seconds=60, what="the brief jobs are drained")
    for number in range(_KILLS):
        if number == _KILLS // 2:
            node = cluster.system.workers.pop()
            for pid in reversed(cluster.pids_of(node)):
                os.kill(pid, signal.SIGKILL)
            cluster.system.await_dispatcher().kill()
        pids = [child.pid for node in cluster.system.workers for child in node.children]
        os.kill(rng.choice(pids), signal.SIGKILL)
        time.sleep(_BETWEEN_SECONDS)
    since = time.monotonic()
    if _begun(cluster, jobs) == len(jobs):
        raise AssertionError("The brief jobs were over before the last kill.")
    return Injury(since=since)


def _begun(cluster: Cluster, jobs: list[str]) -> int:
    return len(cluster.runs().keys() & set(jobs))


FAULTS = (
    Fault(
        name="children, a node and the active dispatcher killed while messages stand for several brief jobs",
        inject=_kill_under_groups,
        promised_seconds=15,
        runs_alone=True,
    ),
)
