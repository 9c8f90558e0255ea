"""A thousand queues."""

from __future__ import annotations

import time

from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from harness.polling import wait_until

_QUEUES = 1000


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
        name="a thousand queues, two jobs in each",
        inject=_fill_queues,
        promised_seconds=60,
        repeats_nothing=True,
        plan=Plan(environ={"CHAOS_QUEUES": str(_QUEUES)}),
        runs_alone=True,
    ),
)
