"""Faults around job options: expiry, and the memory limit."""

from __future__ import annotations

import time

from ava.dispatcher.feed.fair_queue import COSTS_SECONDS
from ava.domain import ids
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.load import WORKER
from harness.polling import wait_until

#: Seconds after which jobs expire, and the number of jobs for each.
_EXPIRIES, _JOBS_EACH = (1, 2, 3, 4), 250
_FED_SECONDS, _DARK_SECONDS = 0.7, 6.0
#: Max seconds between a handler's start and its record of it, on a busy machine.
_TOLERANCE_SECONDS = 1.0
_LATE = "SELECT count(*) FROM jobs WHERE status = 'queued' AND started_at IS NULL AND expires_at < now()"
_EXPIRED = "SELECT id::text FROM jobs WHERE status = 'cancelled' AND error LIKE 'Expired: %%' AND started_at IS NULL"

_BRIEF = "wkr_chaos_brief_limited"
_BRIEF_JOBS, _GREEDY_JOBS = 4_000, 12
#: Seeds the dispatcher's statistics of the worker: very many jobs took a second in total.
_KNOWN = f"INSERT INTO job_totals VALUES ('{_BRIEF}', 'completed', 0, 0, 1000000000, 0, 0, 0, 1) RETURNING 1"
_HARMED = f"""
SELECT count(*) FROM jobs WHERE worker_id = '{_BRIEF}' AND input ->> 'mb' IS NULL
    AND (losses > 0 OR attempt > 1 OR status <> 'completed')
"""
_GREEDY = f"""
SELECT count(*) FROM jobs WHERE worker_id = '{_BRIEF}' AND input ->> 'mb' IS NOT NULL
    AND status = 'completed' AND attempt = 2 AND losses = 0
"""


def _expire_in_the_dark(cluster: Cluster) -> Injury:
    """Kill both dispatchers and wipe the broker while a thousand jobs expire; then start dispatchers."""
    expires: dict[str, float] = {}
    for seconds in _EXPIRIES:
        jobs = cluster.load.trigger_bulk(
            WORKER, count=_JOBS_EACH, priority=1 if seconds % 2 else 10, expires_in_seconds=seconds
        )
        expires |= dict.fromkeys(jobs, time.monotonic() + seconds)
    # Some of their messages are already in the broker or in a process.
    time.sleep(_FED_SECONDS)
    for dispatcher in cluster.system.dispatchers:
        dispatcher.kill()
    cluster.wipe_broker()
    time.sleep(_DARK_SECONDS)
    for _ in range(2):
        cluster.system.start_dispatcher()
    cluster.system.await_dispatcher()
    since = time.monotonic()
    wait_until(lambda: cluster.system.query(_LATE) == [(0,)], seconds=60, what="what has expired is ended")
    recovered_at = time.monotonic()
    expired = _expired(cluster) & expires.keys()
    broken = [] if expired else ["no job has expired"]
    for job_id, found in cluster.runs().items():
        if job_id in expired:
            broken.append(f"{job_id} is expired, and has begun")
        elif job_id in expires and found[0].began_at > expires[job_id] + _TOLERANCE_SECONDS:
            broken.append(f"{job_id} began {found[0].began_at - expires[job_id]:.1f} s after it had expired")
    return Injury(since=since, recovered_at=recovered_at, broken=broken, measured=(f"{len(expired)} expired",))


def _expired(cluster: Cluster) -> set[str]:
    return {ids.encode("job", uuid) for (uuid,) in cluster.system.query(_EXPIRED)}


def _exceed_memory_in_groups(cluster: Cluster) -> Injury:
    """Let some short jobs of a group exceed their memory limit: half grow, half allocate everything and are killed."""
    cluster.system.query(_KNOWN)
    time.sleep(COSTS_SECONDS)
    since = time.monotonic()
    for number in range(_GREEDY_JOBS):
        cluster.load.trigger_bulk(_BRIEF, count=_BRIEF_JOBS // _GREEDY_JOBS, seconds=0, priority=1)
        greedy = {"seconds": 0, "mb": 400, "grows": number % 2 == 0}
        cluster.load.trigger_one(worker_id=_BRIEF, priority=1, input=greedy)
    over = f"SELECT count(*) FROM jobs WHERE worker_id = '{_BRIEF}' AND completed_at IS NULL"
    wait_until(lambda: cluster.system.query(over) == [(0,)], seconds=120, what="every brief job has ended")
    recovered_at = time.monotonic()
    (harmed,), (greedy_ends,) = cluster.system.query(_HARMED)[0], cluster.system.query(_GREEDY)[0]
    broken = [f"{harmed} brief jobs were lost, repeated or failed"] if harmed else []
    broken += [] if greedy_ends == _GREEDY_JOBS else [f"{greedy_ends} of {_GREEDY_JOBS} were stopped and repeated"]
    return Injury(since=since, recovered_at=recovered_at, broken=broken, measured=(f"{_GREEDY_JOBS} stopped",))


FAULTS = (
    Fault(
        name="both dispatchers killed and the broker wiped while a thousand jobs expire",
        inject=_expire_in_the_dark,
        promised_seconds=5,
    ),
    Fault(
        name="memory exceeded by some of the brief jobs that a message stands for",
        inject=_exceed_memory_in_groups,
        promised_seconds=120,
        runs_alone=True,
    ),
)
