"""Faults of slot processes, in which hundreds of runs share an event loop."""

from __future__ import annotations

import os
import signal
import time

from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from harness.polling import wait_until
from harness.running_process import RunningProcess

_WORKER = "wkr_chaos_slot"
_RUNS = 500
#: Seconds of a run: longer than a rescue may take.
_SECONDS = 20.0
#: Seconds for which a node is frozen: longer than its lease, and shorter than its lease plus a run.
_FROZEN_SECONDS = 25.0
_PLAN = Plan(environ={"AVA_HANDLERS": "chaos.handlers,chaos.slot_handlers"})


def _start_node(cluster: Cluster) -> RunningProcess:
    node = cluster.system.spawn("worker", "-c", "0", "--slots", str(_RUNS))
    cluster.system.workers.append(node)
    cluster.system.await_workers()
    return node


def _fill_slots(cluster: Cluster) -> tuple[int, list[str]]:
    """Return a slot process, and the jobs that run in it. Nodes without slots also run some."""
    _start_node(cluster)
    ((pid,),) = cluster.system.query("SELECT pid FROM nodes WHERE has_slots AND stopped_at IS NULL")
    wanted = cluster.load.trigger_bulk(_WORKER, count=_RUNS, seconds=_SECONDS, priority=1)
    wait_until(lambda: len(cluster.runs().keys() & set(wanted)) == _RUNS, seconds=60, what="all runs have begun")
    held = _held_by(cluster, pid)
    assert len(held) > _RUNS * 0.9, f"{len(held)} runs in the slot process"
    return int(pid), held


def _held_by(cluster: Cluster, pid: int) -> list[str]:
    """Return the jobs with an unfinished last run in a process."""
    last = {job: found[-1] for job, found in cluster.runs().items()}
    return [job for job, run in last.items() if run.name.startswith(f"{pid}.") and not run.is_done]


def _kill_slot_process(cluster: Cluster) -> Injury:
    pid, jobs = _fill_slots(cluster)
    since = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return Injury(since=since, jobs=jobs, measured=[f"{len(jobs)} runs"])


def _freeze_slot_process(cluster: Cluster) -> Injury:
    """Freeze a slot process for good, while the command of its node and the other nodes go on."""
    pid, jobs = _fill_slots(cluster)
    since = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    return Injury(since=since, jobs=jobs, measured=[f"{len(jobs)} runs"])


def _freeze_node(cluster: Cluster) -> Injury:
    """Freeze a node with its slot process until its runs are rescued, and continue it while they run elsewhere."""
    pid, jobs = _fill_slots(cluster)
    pids = cluster.pids_of(cluster.system.workers[-1])
    assert pid in pids
    _start_node(cluster)
    since = time.monotonic()
    cluster.freeze(pids)
    watch = cluster.watch(jobs)
    time.sleep(_FROZEN_SECONDS)
    cluster.thaw()
    return Injury(since=since, watch=watch, measured=[f"{len(jobs)} runs"])


FAULTS = (
    Fault(
        name="kill -9 of a slot process with 500 runs",
        inject=_kill_slot_process,
        promised_seconds=15,
        plan=_PLAN,
        runs_alone=True,
    ),
    Fault(
        name="a slot process with 500 runs frozen, and its node goes on",
        inject=_freeze_slot_process,
        promised_seconds=15,
        plan=_PLAN,
        runs_alone=True,
    ),
    Fault(
        name="a node with 500 runs in slots frozen for 25 s (zombie)",
        inject=_freeze_node,
        promised_seconds=15,
        plan=_PLAN,
        runs_alone=True,
    ),
)
