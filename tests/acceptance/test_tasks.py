"""Handlers as tasks on real servers: triggered by an application, by other handlers, and in slots."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import ava
from ava.client import AsyncClient, Client
from ava.handler.env import leave
from harness.system import ROOT, SECRET, System
from harness.timestamps import LATER_DAY
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.ids import uuids
from tests.acceptance.task_handlers import Order, Parcel, pack, ship, ship_async

pytestmark = on_redis

_DUE = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
_CALLER: dict[str, Any] = {"secret": SECRET, "tenant": "ten_test", "user": "usr_test"}


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of two processes and one with 10 slots."""
    folder, environ = tmp_path_factory.mktemp("tasks"), {"AVA_HANDLERS": "tests.acceptance.task_handlers"}
    with running_system(folder, module_database_url, module_broker_url, workers=0, environ=environ) as running:
        running.start_worker("--slots", "10", concurrency=2)
        yield running


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    """The client of this process's tasks."""
    leave()
    with Client(system.url, **_CALLER) as client:
        ava.configure(client)
        yield client
        ava.configure(None)


def test_an_application_triggers_a_task_and_gets_its_typed_output(client: Client) -> None:
    handle = pack.trigger(Order(1, _DUE), priority=2, tags={"team": "x"}, idempotency_key="order 1")
    assert handle.wait(timeout=60) == Parcel("parcel 1", _DUE)
    job = client.jobs.get(handle.id)
    assert (job.worker_id, job.priority, job.tags, job.parent_id) == ("wkr_k_pack", 2, {"team": "x"}, None)
    assert pack.trigger(Order(1, _DUE), priority=2, tags={"team": "x"}, idempotency_key="order 1").id == handle.id
    handles = pack.trigger_many([Order(n, _DUE) for n in range(3)], priority=3)
    assert [each.wait(timeout=60).label for each in handles] == ["parcel 0", "parcel 1", "parcel 2"]
    assert pack.delay(number=5, due=_DUE).wait(60).label == "parcel 5"


def test_a_job_that_fails_or_takes_too_long_raises(client: Client) -> None:
    with pytest.raises(ava.JobFailed, match=r"wkr_k_pack \(job_\w+\): ValueError: no such order") as failed:
        pack.trigger(Order(13, _DUE)).wait(timeout=60)
    assert failed.value.job.status == "failed"
    later = pack.trigger(Order(1, _DUE), scheduled_at=LATER_DAY)
    with pytest.raises(ava.WaitTimeout, match=later.id):
        later.wait(timeout=0.2)


def test_a_key_without_payload_permission_gets_no_output(client: Client, system: System) -> None:
    key = client.keys.create("no payloads", "tenant-system-admin", payloads=False)
    assert key.token is not None
    with Client(system.url, api_key=key.token) as hidden:
        ava.configure(hidden)
        with pytest.raises(PermissionError, match="no payload permission"):
            pack.trigger(Order(1, _DUE)).wait(timeout=60)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_async_application_awaits_its_triggers_with_either_client(client: Client, system: System, kind: Any) -> None:
    async def run() -> list[str]:
        own = client if kind is Client else AsyncClient(system.url, **_CALLER)
        ava.configure(own)
        one, many = await asyncio.gather(
            pack.atrigger(Order(1, _DUE)), pack.atrigger_many([Order(2, _DUE), Order(3, _DUE)])
        )
        parcels = await asyncio.gather(*(handle.wait(timeout=60) for handle in (one, *many)))
        with pytest.raises(ava.JobFailed):
            await (await pack.atrigger(Order(13, _DUE))).wait()
        if isinstance(own, AsyncClient):
            await own.close()
        return [parcel.label for parcel in parcels]

    assert asyncio.run(run()) == ["parcel 1", "parcel 2", "parcel 3"]


def test_a_program_needs_only_the_environment(system: System) -> None:
    program = (
        "from datetime import *; from tests.acceptance.task_handlers import *;"
        "print(pack.trigger(Order(4, datetime(2026, 3, 4, tzinfo=UTC))).wait().label)"
    )
    variables = {"AVA_URL": system.url, "AVA_INTERNAL_SECRET": SECRET, "AVA_TENANT_ID": "ten_test"}
    environ = {**os.environ, **variables, "AVA_USER_ID": "usr_test", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("parcel 4\n", "")


def test_a_handlers_triggers_are_children_and_their_waits_free_the_process(client: Client, system: System) -> None:
    handle = ship.trigger(Order(9, _DUE))
    assert [parcel.label for parcel in handle.wait(60)] == [f"parcel {n}" for n in (9, 2, 0, 1, 2)]
    names = system.query(
        "SELECT name FROM job_journal WHERE kind = 'child' AND job_id = %s ORDER BY n", *uuids([handle.id])
    )
    assert [name for (name,) in names] == ["wkr_k_pack", "more.0", "more.1", "more.2"]
    assert "Handler waits for 1 job" in system.messages(handle.id)


@pytest.mark.parametrize("worker_id", ["wkr_k_ship_async", "wkr_k_ship_in_slot"])
def test_async_handlers_await_their_triggers_in_processes_and_in_slots(
    client: Client, system: System, worker_id: str
) -> None:
    assert ship_async.worker_id == "wkr_k_ship_async"
    job = client.jobs.trigger_and_wait(worker_id, {"number": 1, "due": "2026-03-04T05:06:00Z"}, timeout_seconds=60)
    assert (job.error, [each["label"] for each in job.output]) == (None, ["parcel 1", "parcel 1", "parcel 7"])
    children = client.jobs.tree(job.id).jobs
    assert sorted(each.worker_id for each in children) == ["wkr_k_pack"] * 3 + [worker_id]


@pytest.mark.parametrize("worker_id", ["wkr_k_threads", "wkr_k_threads_in_slot"])
def test_a_thread_of_a_handler_creates_no_job_without_a_parent(client: Client, system: System, worker_id: str) -> None:
    before = system.query("SELECT count(*) FROM jobs WHERE parent_id IS NULL")[0][0]
    job = client.jobs.trigger_and_wait(worker_id, {"number": 1, "due": "2026-03-04T05:06:00Z"}, timeout_seconds=60)
    assert job.error is None
    errors = job.output if worker_id.endswith("slot") else job.output[:-1]
    assert len(errors) == (3 if worker_id.endswith("slot") else 2)
    assert {error.partition(":")[0] for error in errors} == {"WaitInTask"}
    if not worker_id.endswith("slot"):
        assert job.output[-1].startswith("DuplicateName: Two calls of this run have the name 'twice'")
    assert system.query("SELECT count(*) FROM jobs WHERE parent_id IS NULL")[0][0] == before + 1
