"""Faults of processes: they are killed, frozen, or cut off from the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.load import LONG_SECONDS
from harness.polling import wait_until
from harness.running_process import RunningProcess

#: Seconds of jobs that outlast a node's heartbeat timeout.
PATIENT_SECONDS = 25.0


def _kill_child(cluster: Cluster) -> Injury:
    node = cluster.system.workers[0]
    victim, jobs = _busy_child(cluster, [child.pid for child in node.children])
    watch = cluster.watch(jobs)
    since = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    return Injury(since=since, watch=watch)


def _busy_child(cluster: Cluster, pids: list[int]) -> tuple[int, list[str]]:
    """Return a child that is running a long job, and that job."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = time.monotonic()
        for pid, job_id, began_at in cluster.busy(pids):
            if 0.5 < now - began_at < LONG_SECONDS - 1:
                return pid, [job_id]
        time.sleep(0.05)
    raise RuntimeError("No child runs a long job.")


def node_with_patience(cluster: Cluster) -> RunningProcess:
    """Return the first node, once it runs a job that outlasts a node's heartbeat timeout."""
    node = cluster.system.workers[0]
    pids = [child.pid for child in node.children]
    of_others: list[str] = []
    for _ in range(10):
        job = cluster.load.trigger_one(priority=1, input={"seconds": PATIENT_SECONDS})
        wait_until(lambda job=job: job in cluster.runs(), seconds=60, what="a long job has begun")  # type: ignore[misc]
        if job in cluster.held_by(pids):
            # With several such jobs the other node would start nothing for the same time.
            for other in of_others:
                cluster.system.cancel(other)
            return node
        of_others.append(job)
    raise RuntimeError("The node received no long job.")


def _kill_node(cluster: Cluster) -> Injury:
    """Kill a node's parent and its children, as the kernel ends a container."""
    node = cluster.system.workers[0]
    _busy_child(cluster, [child.pid for child in node.children])
    pids = cluster.pids_of(node)
    # Freeze them first, so that their jobs are known for certain.
    cluster.freeze(pids)
    watch = cluster.watch(cluster.held_by(pids))
    since = time.monotonic()
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    cluster.frozen.clear()
    return Injury(since=since, watch=watch)


def kill_api(cluster: Cluster) -> Injury:
    """Kill all of the API's processes while they serve requests, and restart them immediately."""
    system = cluster.system
    assert system.api
    for child in system.api.children:
        child.kill()
    system.api.kill()
    system.start_api()
    return Injury(since=time.monotonic())


def _kill_dispatcher(cluster: Cluster) -> Injury:
    """Kill the active dispatcher; a job that becomes due later shows when the other one has taken over."""
    active = cluster.system.await_dispatcher()
    since = time.monotonic()
    active.kill()
    return due_job(cluster, since)


def _freeze_dispatcher(cluster: Cluster) -> Injury:
    """Freeze the active dispatcher; its connections stay open."""
    active = cluster.system.await_dispatcher()
    since = time.monotonic()
    cluster.freeze([active.pid])
    injury = due_job(cluster, since)
    time.sleep(10)
    cluster.thaw()
    return injury


def due_job(cluster: Cluster, since: float) -> Injury:
    """Trigger a job with a future start time, so that only a dispatcher can start it."""
    job = dated_job(cluster, in_seconds=0.3)
    return Injury(since=since, watch=cluster.watch_due(job))


def dated_job(cluster: Cluster, *, in_seconds: float, **fields: Any) -> str:
    """Trigger an urgent job with a future start time by PostgreSQL's clock. Returns its id."""
    [[timestamp]] = cluster.system.query(
        "SELECT to_char(now() + %s * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS.MSOF')", in_seconds
    )
    return cluster.load.trigger_one(scheduled_at=f"{timestamp}:00", priority=1, **fields)


def _freeze_node(cluster: Cluster) -> Injury:
    """Freeze a whole node for 40 s, so that it loses its jobs, then continue it."""
    node = node_with_patience(cluster)
    pids = cluster.pids_of(node)
    since = time.monotonic()
    cluster.freeze(pids)
    watch = cluster.watch(cluster.held_by(pids))
    time.sleep(40)
    cluster.thaw()
    return Injury(since=since, watch=watch)


def _freeze_parent(cluster: Cluster) -> Injury:
    """Freeze only a node's parent: its children keep working, and nothing may be repeated."""
    node = node_with_patience(cluster)
    since = time.monotonic()
    cluster.freeze([node.pid])
    time.sleep(40)
    cluster.thaw()
    return Injury(since=since)


def _cut_database(cluster: Cluster) -> Injury:
    """Cut the first node off from the database for 40 s, and nothing else."""
    node = node_with_patience(cluster)
    since = time.monotonic()
    cluster.proxy.cut()
    watch = cluster.watch(cluster.held_by(cluster.pids_of(node)))
    time.sleep(40)
    cluster.proxy.heal()
    return Injury(since=since, watch=watch)


def _freeze_beside_load(cluster: Cluster) -> Injury:
    """Freeze a whole node for longer than its lease while two busy loops per core run, and continue it during them."""
    node = node_with_patience(cluster)
    pids = cluster.pids_of(node)
    with _every_core_busy():
        since = time.monotonic()
        cluster.freeze(pids)
        watch = cluster.watch(cluster.held_by(pids))
        time.sleep(20)
        cluster.thaw()
        # The thawed processes check whether they still own their runs, and get late responses.
        time.sleep(5)
    return Injury(since=since, watch=watch)


@contextmanager
def _every_core_busy() -> Iterator[None]:
    loops = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _cut_database_twice(cluster: Cluster) -> Injury:
    """Cut the first node off from the database for 20 s, twice, and wait until it works again each time."""
    node = cluster.system.workers[0]
    since, slowest = time.monotonic(), 0.0
    for _ in range(2):
        node_with_patience(cluster)
        cluster.proxy.cut()
        time.sleep(20)
        cluster.proxy.heal()
        slowest = max(slowest, _seconds_until_it_begins(cluster, node))
    return Injury(since=since, recovered_at=since + slowest)


def _seconds_until_it_begins(cluster: Cluster, node: RunningProcess) -> float:
    """Return the seconds until a node begins a job."""
    since = time.monotonic()
    wait_until(
        lambda: cluster.begun(since, pids=[child.pid for child in node.children]),
        seconds=60,
        what="the node begins jobs",
    )
    return time.monotonic() - since


FAULTS = (
    Fault(name="kill -9 of a child", inject=_kill_child, promised_seconds=2),
    Fault(name="kill -9 of a node", inject=_kill_node, promised_seconds=15),
    Fault(name="kill -9 of the API in the middle of requests", inject=kill_api, promised_seconds=10),
    Fault(name="kill -9 of the active dispatcher", inject=_kill_dispatcher, promised_seconds=3),
    Fault(name="the active dispatcher frozen for 10 s", inject=_freeze_dispatcher, promised_seconds=3),
    Fault(name="a node frozen for 40 s (zombie)", inject=_freeze_node, promised_seconds=15),
    Fault(
        name="a node frozen for 20 s beside load on all cores",
        inject=_freeze_beside_load,
        promised_seconds=15,
        runs_alone=True,
    ),
    Fault(name="a node's parent alone frozen for 40 s", inject=_freeze_parent, promised_seconds=15),
    Fault(name="a node cut from the database for 40 s", inject=_cut_database, promised_seconds=15),
    Fault(name="a node cut from the database twice, working again", inject=_cut_database_twice, promised_seconds=10),
)
