"""A system whose node has slots, and what its tests ask of it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from harness.polling import wait_until
from harness.running_process import lives
from harness.servers.receiver import Receiver
from harness.system import ROOT, System
from tests.acceptance.conftest import running_system
from tests.acceptance.ids import uuids

ENVIRON = {
    "AVA_HANDLERS": "workers,tests.acceptance.slot_handlers,tests.acceptance.async_handlers",
    "AVA_SLOT_PROCESS_MAX_MEMORY_MB": "500",
}
#: A folder whose `uvloop` cannot be imported.
_WITHOUT_UVLOOP = Path(__file__).parent / "without_uvloop"


def has_uvloop(broker_url: str) -> bool:
    """Returns True if the slot processes with a broker have uvloop: not on Redis, and where it is installed."""
    return not broker_url.startswith("redis") and importlib.util.find_spec("uvloop") is not None


@contextmanager
def running_slots(folder: Path, database_url: str, broker_url: str) -> Iterator[System]:
    """A node with one pool process and a slot process of 40 slots."""
    collector = Receiver()
    environ = {**ENVIRON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.removesuffix("/hook")}
    if not has_uvloop(broker_url):
        environ["PYTHONPATH"] = os.pathsep.join((str(_WITHOUT_UVLOOP), str(ROOT)))
    with running_system(folder, database_url, broker_url, workers=0, environ=environ) as system:
        system.start_worker("--slots", "40", concurrency=1)
        yield system
    collector.close()


def slot_pid(system: System) -> int:
    """Returns the slot process that takes jobs. The rows of killed ones stay for some seconds."""

    def find() -> int | None:
        rows = system.query("SELECT pid FROM nodes WHERE has_slots AND stopped_at IS NULL ORDER BY started_at DESC")
        return next((pid for (pid,) in rows if psutil.pid_exists(pid) and lives(psutil.Process(pid))), None)

    return wait_until(find, what="there is a slot process")


def trigger_many(system: System, count: int, **entry: Any) -> list[str]:
    response = system.post("/v1/ava/jobs/bulk", json={"jobs": [entry] * count})
    assert response.status_code == 201, response.text
    return [job["id"] for job in response.json()["data"]]


def await_running(system: System, ids: list[str]) -> None:
    """Wait until all of these run at once."""
    running = "SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[]) AND status = 'running'"
    wait_until(lambda: system.query(running, uuids(ids)) == [(len(ids),)], what="all run")


def await_ended(system: System, ids: list[str]) -> list[dict[str, Any]]:
    """Wait until all of these have ended. Returns what their table says of each, without a request for each."""
    unfinished = "SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[]) AND completed_at IS NULL"
    wait_until(lambda: system.query(unfinished, uuids(ids)) == [(0,)], seconds=60, what="all have ended")
    names = ("status", "attempt", "losses", "output", "started_at", "completed_at")
    rows = system.query(f"SELECT {', '.join(names)} FROM jobs WHERE id = ANY(%s::uuid[])", uuids(ids))
    return [dict(zip(names, row, strict=True)) for row in rows]
