"""Kill the parts of a chord: its callback is one job, which is entered once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from ava.domain.jobs.retry import MAX_LOSSES
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.load import WORKER, Accepted
from harness.polling import wait_until

#: Number of parts; with the callback it is the max size of a bulk.
_PARTS = 999
_BETWEEN_SECONDS = 0.2
#: Seconds until the broker is wiped, until the active dispatcher is frozen, and of its freeze.
_WIPED_AFTER_SECONDS, _FROZEN_AFTER_SECONDS, _FROZEN_SECONDS = 1.0, 2.0, 10.0
_UNFINISHED = "SELECT count(*) FROM jobs WHERE left(name, 4) = 'part' AND completed_at IS NULL"


def _kill_parts(cluster: Cluster) -> Injury:
    """Kill a process that runs a part each 0.2 s, wipe the broker, and freeze the active dispatcher for 10 s."""
    parts, callback = _trigger(cluster)
    troubles = threading.Thread(target=_trouble, args=(cluster,), daemon=True)
    troubles.start()
    rng, kills = random.Random(43), Counter[str]()
    while cluster.system.query(_UNFINISHED) != [(0,)]:
        _kill_one(cluster, parts, rng, kills)
        time.sleep(_BETWEEN_SECONDS)
    troubles.join()
    wait_until(lambda: callback in cluster.runs(), seconds=60, what=lambda: f"the callback begins: {_state(cluster)}")
    runs = cluster.runs()
    since = max(run.last_at for job_id in parts for run in runs[job_id])
    begins = [run.began_at for run in runs[callback]]
    broken = [] if len(begins) == 1 else [f"the callback was entered {len(begins)} times"]
    if min(begins) < since:
        broken.append("the callback began before the last part had ended")
    return Injury(since=since, recovered_at=min(begins), broken=broken, measured=[f"{kills.total()} kills"])


def _state(cluster: Cluster) -> list[tuple[Any, ...]]:
    """Return the states of the callback and of the parts, with their counts and one of their errors."""
    return cluster.system.query(
        "SELECT left(name, 4), status, attempt, waits_for, count(*), max(error::text) FROM jobs"
        " WHERE name IS NOT NULL GROUP BY 1, 2, 3, 4"
    )


def _trigger(cluster: Cluster) -> tuple[set[str], str]:
    names = [f"part{n}" for n in range(_PARTS)]
    jobs = [{"worker_id": WORKER, "name": name, "input": {"seconds": 0.15}, "priority": 1} for name in names]
    last = {"worker_id": WORKER, "name": "callback", "input": {"seconds": 0.05}, "priority": 1, "after": names}
    response = cluster.system.post("/v1/ava/jobs/bulk", json={"jobs": [*jobs, last]}, timeout=60)
    response.raise_for_status()
    *parts, callback = [job["id"] for job in response.json()["data"]]
    cluster.load.accepted += [Accepted(id=job_id, at=time.monotonic()) for job_id in (*parts, callback)]
    return set(parts), callback


def _trouble(cluster: Cluster) -> None:
    time.sleep(_WIPED_AFTER_SECONDS)
    cluster.wipe_broker()
    time.sleep(_FROZEN_AFTER_SECONDS - _WIPED_AFTER_SECONDS)
    dispatcher = cluster.system.await_dispatcher()
    os.kill(dispatcher.pid, signal.SIGSTOP)
    time.sleep(_FROZEN_SECONDS)
    os.kill(dispatcher.pid, signal.SIGCONT)


def _kill_one(cluster: Cluster, parts: set[str], rng: random.Random, kills: Counter[str]) -> None:
    """Kill a process that is running a part, if any. No part is killed so often that it fails."""
    pids = [child.pid for node in cluster.system.workers for child in node.children]
    busy = [pid for pid, job_id, _ in cluster.busy(pids) if job_id in parts]
    if not busy:
        return
    pid = rng.choice(busy)
    with suppress(ProcessLookupError):
        # It may already run another part. Once it is frozen, its part is the one that is killed and counted.
        os.kill(pid, signal.SIGSTOP)
        held = [job_id for job_id in cluster.held_by([pid]) if job_id in parts and kills[job_id] < MAX_LOSSES]
        os.kill(pid, signal.SIGKILL if held else signal.SIGCONT)
        kills.update(held)


FAULTS = (
    Fault(
        name="a part of a chord of 1,000 killed each 0.2 s, the broker wiped, the active dispatcher frozen for 10 s",
        inject=_kill_parts,
        promised_seconds=15,
        runs_alone=True,
    ),
)
