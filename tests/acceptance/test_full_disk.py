"""A disk that is really full: each trigger is refused as a whole, and accepted again when there is space."""

from __future__ import annotations

import base64
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.api import JOBS
from harness.polling import wait_until
from harness.servers.postgres import running_postgres
from harness.servers.server import Server
from harness.system import System
from tests.conftest import UNREACHABLE_BROKER, migrate

#: Enough for what initdb writes, the WAL, and some rows.
_SIZE_MIB = 150
_LITTLE_WAL = {"min_wal_size": "32MB", "max_wal_size": "48MB"}


@pytest.fixture
def small_postgres() -> Iterator[Server]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    try:
        with running_postgres(_LITTLE_WAL, size_mib=_SIZE_MIB) as server:
            migrate(server.url)
            yield server
    except subprocess.CalledProcessError as refused:
        pytest.skip(f"no small disk can be mounted here: {refused.stderr.decode().strip()}")


def _job(*, kib: int = 300) -> dict[str, Any]:
    """Returns a job whose input cannot be compressed."""
    return {"worker_id": "wkr_open", "input": {"text": base64.b64encode(random.randbytes(kib * 768)).decode()}}


def _assert_refused(response: requests.Response) -> None:
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
    assert int(response.headers["Retry-After"]) > 0


def _assert_named(system: System) -> None:
    """Find the full disk where an operator looks."""
    wait_until(lambda: not system.get("/readyz").json()["checks"]["disk"]["ok"], what="the API notices")
    ready = system.get("/readyz")
    # The broker is unreachable in this test.
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["database"] == {"ok": True}
    assert ready.json()["checks"]["disk"]["reason"].startswith("The disk of the database is full")
    assert "\nava_database_disk_full 1.0" in system.get("/metrics").text
    doctor = system.spawn("doctor")
    assert doctor.wait(60) == 1
    assert "!!  disk: the disk of PostgreSQL is full" in doctor.output, doctor.output


def test_a_full_disk_refuses_triggers_as_a_whole_until_there_is_space(small_postgres: Server, tmp_path: Path) -> None:
    system = System(tmp_path, database_url=small_postgres.url, broker_url=UNREACHABLE_BROKER, api_processes=1)
    try:
        _fill_and_free(system, Path(small_postgres.server.folder))
    finally:
        system.stop()
    system.assert_clean()


def _fill(disk: Path, descriptor: int) -> bool:
    """Give a file all the space that is free. Returns False if PostgreSQL took some of it meanwhile."""
    free = os.statvfs(disk)
    try:
        os.posix_fallocate(descriptor, 0, free.f_bavail * free.f_bsize)
    except OSError:
        return False
    return True


def _fill_and_free(system: System, disk: Path) -> None:
    system.start_api()
    system.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES ('wkr_open', 'Open', 300, 0, 10, 'default', 'requeue')"
    )
    accepted = [system.trigger(**_job())["id"]]
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        wait_until(lambda: _fill(disk, file.fileno()), what="the disk is full")
    while (response := system.post(JOBS, json=_job())).status_code == 201:
        # There is still space inside the database's files.
        accepted.append(response.json()["data"]["id"])
        assert len(accepted) < 100
    _assert_refused(response)
    assert "The disk of the database is full" in response.json()["error"]["message"]
    _assert_named(system)
    keyed = {"json": _job(), "headers": {"Idempotency-Key": "once"}}
    _assert_refused(system.post(JOBS, **keyed))
    _assert_refused(system.post(f"{JOBS}/bulk", json={"jobs": [{"worker_id": "wkr_open"}, _job(kib=600), _job()]}))
    ballast.unlink()
    wait_until(lambda: system.get("/readyz").json()["checks"]["disk"]["ok"], what="the disk has space again")
    wait_until(lambda: system.post(JOBS, **keyed).status_code == 201, seconds=20, what="a job is accepted again")
    replayed = system.post(JOBS, **keyed)
    assert replayed.headers["Idempotent-Replayed"] == "true"
    accepted.append(replayed.json()["data"]["id"])
    assert system.get(JOBS).json()["pagination"]["total"] == len(accepted)
    assert {system.show(job_id)["status"] for job_id in accepted} == {"queued"}
    assert system.query("SELECT count(*), min(cardinality(job_ids)) FROM idempotency_keys") == [(1, 1)]
