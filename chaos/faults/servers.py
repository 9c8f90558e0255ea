"""Faults of the broker and PostgreSQL: wiped, killed, silent, read-only, or replaced by a standby."""

from __future__ import annotations

import time
from contextlib import suppress

from ava.domain import ids
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.faults.processes import dated_job
from harness.polling import wait_until
from harness.servers.standby import streaming_standby

#: Max seconds to wait for a recovery; the result says if it did not happen.
_LONGEST_WAIT_SECONDS = 60.0
#: Seconds of jobs that outlast a failover.
_LONG_SECONDS = 15.0


def _wipe_broker(cluster: Cluster) -> Injury:
    jobs = cluster.next_in_broker(10)
    since = time.monotonic()
    cluster.wipe_broker()
    # The load keeps its rate during this time. If all remaining jobs, some urgent and long, were triggered now, the API
    # could publish them ahead of these jobs before the loss is detected, and their start would measure that backlog.
    with suppress(AssertionError):
        wait_until(lambda: all(cluster.runs().get(job) for job in jobs), seconds=_LONGEST_WAIT_SECONDS)
    return Injury(since=since, jobs=jobs)


def _restart_broker_empty(cluster: Cluster) -> Injury:
    cluster.restart_broker_empty()
    return Injury(since=time.monotonic())


def _stop_broker(cluster: Cluster) -> Injury:
    cluster.broker.stop()
    time.sleep(30)
    cluster.broker.start()
    return Injury(since=time.monotonic())


def _kill_database(cluster: Cluster) -> Injury:
    cluster.postgres.kill()
    time.sleep(20)
    cluster.postgres.start()
    return Injury(since=time.monotonic())


def _make_read_only(cluster: Cluster) -> Injury:
    """Make the database read-only for longer than a node's heartbeat timeout, like a demoted primary."""
    with cluster.postgres.read_only():
        time.sleep(20)
    return Injury(since=time.monotonic())


def _stop_both(cluster: Cluster) -> Injury:
    cluster.postgres.kill()
    cluster.broker.kill()
    time.sleep(15)
    cluster.broker.start()
    cluster.postgres.start()
    return Injury(since=time.monotonic())


def _darken_broker(cluster: Cluster) -> Injury:
    """Disconnect the broker's host for 20 s: every connection stays open, and nothing passes."""
    assert cluster.broker_proxy
    cluster.broker_proxy.cut()
    time.sleep(20)
    cluster.broker_proxy.heal()
    return Injury(since=time.monotonic())


def _replace_broker(cluster: Cluster) -> Injury:
    """Let the broker die during reads, without closing its connections, and another one take its address."""
    assert cluster.broker_proxy
    cluster.broker_proxy.cut()
    cluster.restart_broker_empty()
    time.sleep(5)
    since = time.monotonic()
    cluster.broker_proxy.abandon()
    return Injury(since=since)


def _promote_standby(cluster: Cluster) -> Injury:
    """Kill the primary while a standby lags by some seconds, and promote the standby at the primary's address."""
    with streaming_standby(cluster.postgres) as standby:
        # For the standby these will be due, so the next dispatcher publishes them while their first runs continue.
        long = [dated_job(cluster, in_seconds=1.5, input={"seconds": _LONG_SECONDS}) for _ in range(4)]
        standby.await_stream()
        standby.stop_receiving()
        # Meanwhile jobs are accepted, begin and end that the standby will never know.
        time.sleep(4)
        wait_until(lambda: not set(long) - set(cluster.runs()), seconds=30, what="the dated jobs have begun")
        cluster.postgres.kill()
        # The response of the last commit may be in transit.
        time.sleep(0.5)
        accepted = {job.id for job in cluster.load.accepted}
        standby.take_over()
        since = time.monotonic()
    known = {ids.encode("job", row[0]) for row in cluster.system.query("SELECT id::text FROM jobs")}
    return Injury(since=since, uncommitted=accepted - known)


_PROXIED = Plan(proxies_broker=True)

FAULTS = (
    Fault(name="broker wiped", inject=_wipe_broker, promised_seconds=10),
    Fault(name="broker killed and restarted empty", inject=_restart_broker_empty, promised_seconds=10),
    Fault(name="broker stopped for 30 s", inject=_stop_broker, promised_seconds=10),
    Fault(
        name="broker's host dark for 20 s",
        inject=_darken_broker,
        promised_seconds=10,
        repeats_nothing=True,
        plan=_PROXIED,
    ),
    Fault(
        name="Redis's master dead in the middle of reads, another in its place",
        inject=_replace_broker,
        promised_seconds=10,
        repeats_nothing=True,
        brokers=["redis"],
        plan=_PROXIED,
    ),
    Fault(name="PostgreSQL killed, back after 20 s", inject=_kill_database, promised_seconds=10),
    Fault(name="PostgreSQL read-only for 20 s", inject=_make_read_only, promised_seconds=10),
    Fault(
        name="PostgreSQL killed, a standby promoted that lacks 4 s",
        inject=_promote_standby,
        promised_seconds=15,
    ),
    Fault(name="both killed, back after 15 s", inject=_stop_both, promised_seconds=10),
)
