"""Faults of pulled runs: their workers die, freeze and return, and the broker is away."""

from __future__ import annotations

import time

from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.pulled_worker import WORKER, PulledWorker, are_completed, make_worker
from harness.polling import wait_until

_LONGEST_WAIT_SECONDS = 90.0
_JOBS = 100
_LOST = f"SELECT count(*) FROM jobs WHERE worker_id = '{WORKER}' AND losses = 1"


def _claim(worker: PulledWorker, count: int) -> list[tuple[str, str]]:
    """Begin `count` runs. Returns their tokens and jobs."""
    found: list[tuple[str, str]] = []

    def claim() -> bool:
        worker.capacity = count - len(found)
        for each in worker.claim():
            worker.begin(each)
            found.append((each["run"], each["job"]["id"]))
        return len(found) == count

    wait_until(claim, seconds=60, what="the jobs are claimed")
    return found


def _die_at_once(cluster: Cluster) -> Injury:
    """Kill the worker of a hundred runs; another worker runs the jobs again."""
    token = make_worker(cluster.system)
    dying = PulledWorker(system=cluster.system, effects=cluster.effects_path, token=token)
    dying.claim(wait=0)
    jobs = cluster.load.trigger_bulk(WORKER, count=_JOBS)
    lost = _claim(dying, _JOBS)
    since = time.monotonic()
    living = PulledWorker(system=cluster.system, effects=cluster.effects_path, token=token)
    living.start()
    wait_until(lambda: cluster.system.query(_LOST) == [(_JOBS,)], seconds=60, what="the runs are rescued")
    recovered = time.monotonic()
    wait_until(are_completed(cluster.system, jobs), seconds=_LONGEST_WAIT_SECONDS, what="the jobs are completed")
    living.stop()
    refused = [dying.call(run, "end", {"output": "late"}).status_code for run, _ in lost[:10]]
    broken = [*living.broken, *(f"a lost run wrote: {code}" for code in refused if code != 409)]
    return Injury(since=since, recovered_at=recovered, broken=broken)


def _freeze(cluster: Cluster) -> Injury:
    """Freeze a worker for 20 s; then it returns and writes."""
    token = make_worker(cluster.system)
    frozen = PulledWorker(system=cluster.system, effects=cluster.effects_path, token=token)
    frozen.claim(wait=0)
    jobs = cluster.load.trigger_bulk(WORKER, count=5)
    held = _claim(frozen, 5)
    since = time.monotonic()
    other = PulledWorker(system=cluster.system, effects=cluster.effects_path, token=token)
    other.start()
    wait_until(are_completed(cluster.system, jobs), seconds=_LONGEST_WAIT_SECONDS, what="another worker has run them")
    recovered = time.monotonic()
    time.sleep(max(0.0, since + 20 - recovered))
    other.stop()
    broken = [*other.broken]
    for run, _ in held:
        for name, body in (("progress", {"fraction": 1}), ("end", {"output": "late"})):
            if (code := frozen.call(run, name, body).status_code) != 409:
                broken.append(f"a worker that was taken for dead wrote: {code}")
    return Injury(since=since, recovered_at=recovered, broken=broken)


def _stop_broker(cluster: Cluster) -> Injury:
    """Stop the broker for 20 s; pulled jobs do not need it."""
    token = make_worker(cluster.system)
    worker = PulledWorker(system=cluster.system, effects=cluster.effects_path, token=token)
    worker.start()
    cluster.broker.stop()
    try:
        began = time.monotonic()
        jobs = cluster.load.trigger_bulk(WORKER, count=_JOBS)
        wait_until(are_completed(cluster.system, jobs), seconds=20, what="pulled jobs run without a broker")
        took = time.monotonic() - began
        time.sleep(max(0.0, 20 - took))
    finally:
        cluster.broker.start()
    since = time.monotonic()
    worker.stop()
    return Injury(since=since, broken=worker.broken, measured=[f"{_JOBS} pulled jobs in {took:.1f} s meanwhile"])


FAULTS = (
    Fault(name="100 pulled runs whose workers die at once", inject=_die_at_once, promised_seconds=18),
    Fault(name="a worker that pulls frozen for 20 s, which then writes", inject=_freeze, promised_seconds=25),
    Fault(name="broker away for 20 s while jobs are pulled", inject=_stop_broker, promised_seconds=10),
)
