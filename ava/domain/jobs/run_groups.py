"""Groups of brief jobs: one message stands for several, because a message costs more than such a job.

One process runs the jobs of a group one after another. They are all of one worker and priority, and follow each other
in the order in which they are published, so a group changes no order. A group ends early when a more urgent job waits,
or when one of its jobs takes longer than `LONG_SECONDS`, because another process may be free: the jobs that have not
begun return to the backlog. They do not return by the clock alone, because they would be published again at once.

While one tenant has a window alone, a group takes up to `ALONE_SECONDS`. When another tenant comes, the dispatcher
recalls what the window has too much, jobs of groups that have not begun among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ava.domain.jobs.job import Job
from ava.domain.jobs.messages import MAX_RUNS

#: No groups: a message for each job.
NONE: Mapping[str, int] = {}
#: Seconds that the jobs of a group take together by their average, but for the last one, while several tenants wait …
SECONDS = 0.02
#: … and while one has the window alone. A message costs Celery and the node's parent a quarter of what a job of 10 ms
#: costs.
ALONE_SECONDS = 0.1
#: A job that takes longer gives back those behind it.
LONG_SECONDS = ALONE_SECONDS / 2
#: Seconds between two looks for a more urgent job, which cost about a tenth of a brief job.
LOOK_SECONDS = 0.004
#: Seconds after which a published job no longer ends groups: beside groups a message waits for so long only if it is
#: lost, because a process takes the most urgent one first.
URGENT_SECONDS = 1.0
#: With fewer groups than this for each process, one process would be idle while another has a group.
_GROUPS_OF_PROCESS = 4


def size(run_seconds: float, *, waiting: int, processes: int, is_shared: bool = False) -> int:
    """Returns for how many jobs of one worker a message may stand.

    `run_seconds`: how long its jobs run on average, `waiting`: the published jobs of the window, `processes`: those of
    the queue, `is_shared`: whether jobs of several tenants wait in the window.
    """
    in_time = math.ceil(SECONDS / max(run_seconds, SECONDS / MAX_RUNS))
    if not is_shared:
        in_time = max(in_time, int(ALONE_SECONDS / max(run_seconds, ALONE_SECONDS / MAX_RUNS)))
    return max(1, min(MAX_RUNS, in_time, waiting // (_GROUPS_OF_PROCESS * max(1, processes))))


def form(jobs: Sequence[Job], sizes: Mapping[str, int]) -> Sequence[Sequence[Job]]:
    """Returns jobs of one queue in groups, in their order. `sizes`: the most jobs of a group by worker id, else one."""
    groups: list[list[Job]] = []
    for job in jobs:
        if groups and _takes(groups[-1], job, sizes.get(job.worker_id, 1)):
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def _takes(group: Sequence[Job], job: Job, most: int) -> bool:
    return len(group) < most and (group[0].worker_id, group[0].priority) == (job.worker_id, job.priority)
