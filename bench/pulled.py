"""Measure the start of pulled jobs; the *baseline* is a node's."""

from __future__ import annotations

import time

from bench.load import percentile
from bench.run import Run
from bench.servers import running_system
from bench.table import BASELINE, OURS
from chaos.pulled_worker import WORKER, PulledWorker, make_worker

#: Milliseconds from the job's creation to its start; for a pulled one until its worker has it.
_WAITS = "SELECT extract(epoch FROM started_at - created_at)::float8 * 1000 FROM jobs WHERE worker_id = %s"


def pulled(run: Run) -> None:
    """Run pulled jobs and a node's alternately."""
    workers = {OURS: WORKER, BASELINE: "wkr_sleep"}
    with running_system(environ={"AVA_HANDLERS": "workers,workers.sleep"}, api_processes=1) as (system, folder):
        token = make_worker(system)
        worker = PulledWorker(system=system, effects=folder / "effects", token=token, seconds=0.0, capacity=1)
        worker.start()
        time.sleep(2)
        for _ in range(run.count(200)):
            for worker_id in workers.values():
                system.wait_for(system.trigger(worker_id, input={"seconds": 0})["id"], "completed")
        worker.stop()
        for name, worker_id in workers.items():
            took = [ms for (ms,) in system.query(_WAITS, worker_id)]
            run.table.add("start latency, pulled", name, {"p50 ms": percentile(took, 50)})
