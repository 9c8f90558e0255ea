"""Faults around job options: expiry."""

from __future__ import annotations

import time

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


FAULTS = (
    Fault(
        name="both dispatchers killed and the broker wiped while a thousand jobs expire",
        inject=_expire_in_the_dark,
        promised_seconds=5,
    ),
)
