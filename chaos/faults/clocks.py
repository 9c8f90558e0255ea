"""Faults of clocks: a host's, and PostgreSQL's, the only clock that matters."""

from __future__ import annotations

import time

from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.faults.processes import due_job, node_with_patience
from harness.polling import wait_until
from harness.servers.clock import faketime_library

#: Seconds between two steps of PostgreSQL's clock: longer than a node's heartbeat timeout.
_STEP_SECONDS = 16.0
#: Handlers that must begin after a step to show progress.
_STARTS = 10


def _skew_clock(cluster: Cluster) -> Injury:
    """Start a node and a dispatcher with a clock that is an hour ahead, and kill the others."""
    library = faketime_library()
    assert library
    environ = {"LD_PRELOAD": library, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    old_worker, *old_dispatchers = [cluster.system.workers[0], *cluster.system.dispatchers]
    cluster.start_worker(environ=environ)
    cluster.system.dispatchers.append(cluster.system.spawn("dispatcher", environ=environ))
    cluster.system.await_workers()
    since = time.monotonic()
    for process in (old_worker, *old_dispatchers):
        process.kill()
    return due_job(cluster, since)


def _step_minute(cluster: Cluster) -> Injury:
    return _step_clock(cluster, 60)


def _step_hour(cluster: Cluster) -> Injury:
    return _step_clock(cluster, 3600)


def _step_clock(cluster: Cluster, seconds: int) -> Injury:
    """Step PostgreSQL's clock forward, back, and to normal, each time while a job outlasts a node's lease."""
    assert cluster.clock
    since, slowest = time.monotonic(), 0.0
    for offset in (seconds, -seconds, 0):
        node_with_patience(cluster)
        cluster.clock.step(offset)
        stepped_at = time.monotonic()
        wait_until(lambda at=stepped_at: cluster.begun(at) >= _STARTS, seconds=60, what="jobs begin")  # type: ignore[misc]
        slowest = max(slowest, time.monotonic() - stepped_at)
        time.sleep(_STEP_SECONDS if offset else 0)
    return Injury(since=since, recovered_at=since + slowest)


def _no_faketime() -> str | None:
    return None if faketime_library() else "libfaketime is missing; apt-get install faketime"


_CLOCK = Plan(has_clock=True)

FAULTS = (
    Fault(name="a host's clock an hour ahead", inject=_skew_clock, promised_seconds=15, impossible=_no_faketime),
    Fault(
        name="PostgreSQL's clock +60 s, -60 s and right again",
        inject=_step_minute,
        promised_seconds=5,
        repeats_nothing=True,
        plan=_CLOCK,
        impossible=_no_faketime,
    ),
    Fault(
        name="PostgreSQL's clock +1 h, -1 h and right again",
        inject=_step_hour,
        promised_seconds=5,
        repeats_nothing=True,
        plan=_CLOCK,
        impossible=_no_faketime,
    ),
)
