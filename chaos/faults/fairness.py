"""Faults of scheduling decisions: kills under a limit, and with a paused queue."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterable

import requests

from chaos.cluster import Cluster, Plan
from chaos.effects import Run
from chaos.fault import Fault, Injury
from chaos.faults.processes import due_job
from harness.polling import wait_until
from harness.system import HEADERS

#: The worker's limit, and its jobs: each takes a second, so the limit is in use for two minutes.
_LIMIT, _LIMITED, _JOBS = 5, "wkr_chaos_limited", 600
#: Number of children killed in turn, and after how many of them a dispatcher and a node are killed.
_KILLS, _DISPATCHER_AT, _NODE_AT = 16, 4, 10
#: Seconds between two of these kills: each permit is used again before the next one is lost.
_BETWEEN_SECONDS = 2.5
#: Seconds until the permits of a dead node are free again.
_NODE_SECONDS = 17.0
_OPERATOR = HEADERS | {"x-platform-role": "platform-admin", "x-tenant-id": "ten_platform"}
#: Seconds until a paused queue starts nothing more, and seconds of watching it with a killed dispatcher.
_PAUSE_SECONDS, _PAUSED_SECONDS = 2.0, 8.0


def _kill_under_limit(cluster: Cluster) -> Injury:
    """Kill children, a dispatcher and a node while jobs wait for a limit; the recovery is the longest time below it."""
    jobs = cluster.load.trigger_bulk(_LIMITED, count=_JOBS, seconds=1.0, priority=1)
    wait_until(lambda: at_once(_limited_runs(cluster, jobs)) == _LIMIT, seconds=30, what="the limit is used")
    since = time.monotonic()
    killed: set[str] = set()
    for number in range(_KILLS):
        if number == _DISPATCHER_AT:
            due_job(cluster, time.monotonic())
            cluster.system.await_dispatcher().kill()
        if number == _NODE_AT:
            _replace_node(cluster)
        _kill_one_child(cluster, set(jobs), killed)
    until = time.monotonic()
    found = _limited_runs(cluster, jobs)
    if len({run.job_id for run in found}) >= _JOBS - _LIMIT:
        raise AssertionError("The jobs with a limit were over before the last kill.")
    # The waiting jobs would take another minute. Running ones have recorded their effects.
    cancel = {"filter": {"worker_id": _LIMITED, "status": "queued"}}
    requests.post(f"{cluster.system.url}/v1/ava/jobs/cancel", json=cancel, headers=HEADERS, timeout=30)
    most, below = at_once(found), longest_below(found, _LIMIT, since=since, until=until)
    broken = (f"{most} of {_LIMIT} at once",) if most > _LIMIT else ()
    return Injury(since=since, recovered_at=since + below, broken=broken)


def _limited_runs(cluster: Cluster, jobs: Iterable[str]) -> list[Run]:
    by_job = cluster.runs()
    return [run for job in jobs for run in by_job.get(job, [])]


def _kill_one_child(cluster: Cluster, jobs: set[str], killed: set[str]) -> None:
    """Kill a child that is running one of the jobs, but never a job that lost a run before: losses are limited."""
    deadline = time.monotonic() + _NODE_SECONDS
    while time.monotonic() < deadline:
        pids = [child.pid for node in cluster.system.workers for child in node.children]
        victim = next(((pid, job) for pid, job, _ in cluster.busy(pids) if job in jobs - killed), None)
        if victim is not None:
            killed.add(victim[1])
            os.kill(victim[0], signal.SIGKILL)
            time.sleep(_BETWEEN_SECONDS)
            return
        time.sleep(0.1)
    raise AssertionError("No job with a limit runs.")


def _replace_node(cluster: Cluster) -> None:
    """Kill a node with its children after a new one started to take over; wait until its permits are free."""
    node = cluster.system.workers[-1]
    cluster.start_worker()
    cluster.system.await_workers()
    cluster.system.workers.remove(node)
    pids = cluster.pids_of(node)
    cluster.freeze(pids)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    cluster.frozen.clear()
    time.sleep(_NODE_SECONDS)


def at_once(runs: Iterable[Run]) -> int:
    """Return the max number of concurrent runs."""
    return max((number for _, number in _counts(runs)), default=0)


def longest_below(runs: Iterable[Run], limit: int, *, since: float, until: float) -> float:
    """Return the longest time with fewer concurrent runs than `limit`."""
    counts = [(since, limit), *((at, number) for at, number in _counts(runs) if since < at < until), (until, limit)]
    longest, below_since = 0.0, None
    for at, number in counts:
        if number < limit:
            below_since = at if below_since is None else below_since
        elif below_since is not None:
            longest, below_since = max(longest, at - below_since), None
    return longest


def _counts(runs: Iterable[Run]) -> list[tuple[float, int]]:
    """Return the number of concurrent runs after each start and end. At equal times ends come first."""
    changes = sorted(change for run in runs for change in ((run.began_at, 1), (run.last_at, -1)))
    return list(zip([at for at, _ in changes], itertools.accumulate(step for _, step in changes), strict=True))


def _kill_dispatcher_of_paused_queue(cluster: Cluster) -> Injury:
    """Pause the queue, kill the active dispatcher, and resume the queue; nothing may start in between."""
    _operate(cluster, "pause")
    paused_at = time.monotonic()
    time.sleep(_PAUSE_SECONDS)
    cluster.system.await_dispatcher().kill()
    time.sleep(_PAUSED_SECONDS - _PAUSE_SECONDS)
    started = cluster.begun(paused_at + _PAUSE_SECONDS)
    _operate(cluster, "resume")
    broken = (f"{started} started while paused",) if started else ()
    return Injury(since=time.monotonic(), broken=broken)


def _operate(cluster: Cluster, what: str) -> None:
    url = f"{cluster.system.url}/v1/ava/queues/default/{what}"
    requests.post(url, headers=_OPERATOR, timeout=30).raise_for_status()


FAULTS = (
    Fault(
        name="kill -9 of children, a node and the dispatcher under a limit of 5",
        inject=_kill_under_limit,
        promised_seconds=15,
        plan=Plan(environ={"CHAOS_LIMIT": str(_LIMIT)}),
    ),
    Fault(
        name="kill -9 of the active dispatcher of a paused queue",
        inject=_kill_dispatcher_of_paused_queue,
        promised_seconds=5,
        repeats_nothing=True,
    ),
)
