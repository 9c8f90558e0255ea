"""Groups of brief jobs: one message starts several jobs, because a message costs more than a brief job.

One process runs the jobs of a group one after another. They share worker and priority and are consecutive in publish
order, so grouping reorders nothing. A group ends early when a more urgent job waits, or when a job takes longer than
`LONG_SECONDS`, because another process may be free: its unstarted jobs return to the backlog. Time by itself does not
end a group, because its jobs would be republished immediately.

While one tenant has a window to itself, a group takes up to `ALONE_SECONDS`. When another tenant's jobs arrive, the
dispatcher recalls the window's surplus, including unstarted groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ava.domain.jobs.job import Job
from ava.domain.jobs.messages import MAX_RUNS

NONE: Mapping[str, int] = {}
#: Average seconds of a group's jobs without the last one, while several tenants wait …
SECONDS = 0.02
#: … and while one tenant has the window to itself. A message costs Celery and the node's parent a quarter of the cost
#: of a 10 ms job.
ALONE_SECONDS = 0.1
#: A job that takes longer requeues the rest of its group.
LONG_SECONDS = ALONE_SECONDS / 2
#: Runs that share a claim show as running before their handlers begin, for at most this many seconds. Later ones return
#: to the backlog.
SHOWN_SECONDS = 0.06
#: The end of a run that shares the statement of other ends is written at most this many seconds after its handler.
END_SECONDS = 0.025
#: Seconds between two polls for a more urgent job; a poll costs about a tenth of a brief job.
POLL_SECONDS = 0.004
#: Maximum age of a published job that ends groups. Processes take the most urgent message first, so a message that
#: waits this long next to groups is lost.
URGENT_SECONDS = 1.0
#: With fewer groups per process, one process would idle while another has a group.
_GROUPS_OF_PROCESS = 4


def size(run_seconds: float, *, waiting: int, processes: int, is_shared: bool = False) -> int:
    """Return the maximum jobs of one worker per message.

    `run_seconds`: average duration of its jobs; `waiting`: published jobs of the window; `processes`: the queue's
    processes; `is_shared`: whether several tenants have jobs in the window.
    """
    in_time = math.ceil(SECONDS / max(run_seconds, SECONDS / MAX_RUNS))
    if not is_shared:
        in_time = max(in_time, int(ALONE_SECONDS / max(run_seconds, ALONE_SECONDS / MAX_RUNS)))
    return max(1, min(MAX_RUNS, in_time, waiting // (_GROUPS_OF_PROCESS * max(1, processes))))


def form(jobs: Sequence[Job], sizes: Mapping[str, int]) -> Sequence[Sequence[Job]]:
    """Group jobs of one queue, in their order. `sizes`: max group size by worker id, by default 1."""
    groups: list[list[Job]] = []
    for job in jobs:
        if groups and _takes(groups[-1], job, sizes.get(job.worker_id, 1)):
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def _takes(group: Sequence[Job], job: Job, max_size: int) -> bool:
    return len(group) < max_size and (group[0].worker_id, group[0].priority) == (job.worker_id, job.priority)
