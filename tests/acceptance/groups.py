"""A node whose messages stand for several brief jobs, and many jobs that are published together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ava.domain.ids import encode
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.system import System
from tests.acceptance.ids import uuids
from tests.acceptance.witness import Witness

OPERATOR = {"x-platform-role": "platform-admin"}
#: So many that the window grows until messages stand for several of them.
JOBS = 140
#: The number of one in such a message.
LATE = 105


@contextmanager
def started(folder: Path, *, database_url: str, broker_url: str, workers: tuple[str, ...]) -> Iterator[System]:
    """Have an API, and a dispatcher that knows the workers' jobs as brief.

    Without turns one look publishes all of them, so a message stands for as many as it may.
    """
    system = System(folder, database_url=database_url, broker_url=broker_url, api_processes=1)
    for worker_id in workers:
        system.query(
            "INSERT INTO job_totals VALUES (%s, 'completed', 0, 0, 1000000000, 0, 0, 0, 1) RETURNING 1", worker_id
        )
    try:
        system.start(workers=0, environ={"AVA_FAIRNESS": "off"})
        yield system
    finally:
        system.stop()
    system.assert_clean()


def start_node(system: System, *, handlers: str, processes: int, queue: str) -> RunningProcess:
    """Start a node of so many processes for one queue."""
    node = system.spawn("worker", "-c", str(processes), "-q", queue, environ={"AVA_HANDLERS": handlers})
    system.workers.append(node)
    system.await_workers()
    return node


def run_together(
    system: System,
    witness: Witness,
    worker_id: str,
    changes: dict[int, dict[str, Any]] | None = None,
    *,
    queue: str = "default",
) -> list[str]:
    """Have jobs published together, each with its number and its `changes`. Returns their ids."""
    assert system.post(f"/v1/ava/queues/{queue}/pause", headers=OPERATOR).ok
    entries = [
        {"worker_id": worker_id, "input": {**witness.input, "number": number, **(changes or {}).get(number, {})}}
        for number in range(JOBS)
    ]
    jobs = system.post("/v1/ava/jobs/bulk", json={"jobs": entries}).json()["data"]
    assert system.post(f"/v1/ava/queues/{queue}/resume", headers=OPERATOR).ok
    return [job["id"] for job in jobs]


def statuses(system: System, ids: list[str]) -> list[str]:
    """Returns the statuses of jobs, in their order."""
    found = {encode("job", id_): status for id_, status in system.query("SELECT id::text, status FROM jobs")}
    return [found[id_] for id_ in ids]


def await_others(system: System, ids: list[str], *numbers: int) -> None:
    """Wait until all but some of the jobs are completed."""
    others = uuids([id_ for number, id_ in enumerate(ids) if number not in numbers])
    unfinished = "SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[]) AND status <> 'completed'"
    wait_until(lambda: system.query(unfinished, others) == [(0,)], seconds=60, what="the others are completed")
