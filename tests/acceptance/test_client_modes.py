"""One script against a running system, with `Client` and with `AsyncClient`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from ava.client import (
    ApiConflict,
    ApiForbidden,
    ApiNotFound,
    ApiRefused,
    ApiUnauthorized,
    AsyncClient,
    Client,
    JobStatus,
    WaitTimeout,
)
from harness.system import SECRET, System
from harness.timestamps import LATER_DAY

pytestmark = [
    pytest.mark.parametrize("module_broker_url", ["redis"], indirect=True),
    pytest.mark.parametrize("mode", [Client, AsyncClient]),
]


async def _value(found: Any) -> Any:
    """Returns the result of a call of either client."""
    return await found if inspect.isawaitable(found) else found


async def _all(found: Any) -> list[Any]:
    """Returns the elements of an iterator of either client."""
    return [each async for each in found] if hasattr(found, "__aiter__") else list(found)


@asynccontextmanager
async def _connected(mode: type[Client | AsyncClient], system: System, **options: Any) -> AsyncIterator[Any]:
    caller = {"secret": SECRET, "tenant": "ten_test", "user": "usr_test"} | options
    client: Any = mode(system.url, **caller)
    try:
        yield client
    finally:
        await _value(client.close())


async def _jobs(client: Any) -> None:
    job = await _value(client.jobs.trigger("wkr_sleep", {"seconds": 0.4, "steps": 4}, priority=2))
    assert (job.status, job.priority) == ("queued", 2)
    assert job.status is JobStatus.QUEUED
    events = await _all(client.jobs.events(job.id))
    messages = [event.line.msg for event in events if event.line]
    assert messages[0] == "Worker handler started"
    assert [event.status for event in events if event.status][-1] == "completed"
    assert events[-1].ended == await _value(client.jobs.wait(job.id))
    assert [line.msg for line in await _all(client.jobs.logs(job.id))] == messages
    assert [line.msg for line in await _all(client.jobs.logs(job.id, follow=True, tail=2))] == messages[-2:]
    (run,) = await _all(client.jobs.runs(job.id))
    assert (run.outcome, run.attempt, run.duration_ms) == ("completed", 1, events[-1].ended.duration_ms)
    assert await _all(client.jobs.journal(job.id)) == await _all(client.jobs.waits(job.id)) == []
    again = await _value(client.jobs.retry(job.id))
    assert (again.retry_of, (await _value(client.jobs.wait(again.id))).status) == (job.id, JobStatus.COMPLETED)
    assert {each.id for each in await _all(client.jobs.export(worker_id="wkr_sleep"))} == {job.id, again.id}
    ended = await _value(client.jobs.trigger_and_wait("wkr_sleep", {"seconds": 0}, timeout_seconds=60))
    assert ended.status == "completed"
    with pytest.raises(ApiConflict):
        await _value(client.jobs.cancel(ended.id))


async def _waits_and_pages(client: Any) -> None:
    entries = [client.jobs.entry("wkr_sleep", {"seconds": 0}, scheduled_at=LATER_DAY) for _ in range(25)]
    made = await _value(client.jobs.trigger_many(entries))
    found = await _all(client.jobs.list(status="queued", per_page=10))
    assert [job.id for job in found] == [job.id for job in made][::-1]
    with pytest.raises(WaitTimeout, match=made[0].id):
        await _value(client.jobs.wait(made[0].id, 1.2))
    assert (await _value(client.jobs.update(made[0].id, priority=1))).priority == 1
    assert (await _value(client.queues.counts())).total_queued == 25
    assert await _value(client.jobs.cancel_all(worker_id="wkr_sleep")) == (25, 0)


async def _other_resources(client: Any) -> None:
    assert "wkr_sleep" in [worker.id for worker in await _all(client.workers.list())]
    paused = await _value(client.workers.pause("wkr_sleep"))
    resumed = await _value(client.workers.resume("wkr_sleep"))
    assert (paused.status, resumed.status, resumed.live) == ("paused", "active", True)
    options = {"input": {"seconds": 0}, "ends_at": datetime(2999, 1, 1, tzinfo=UTC)}
    schedule = await _value(client.schedules.create("wkr_sleep", "30 2 * 10 0L", "UTC", **options))
    assert (await _value(client.schedules.pause(schedule.id))).enabled is False
    assert [each.id for each in await _all(client.schedules.list(enabled=False))] == [schedule.id]
    await _value(client.schedules.delete(schedule.id))
    subscription = await _value(client.subscriptions.create("order.paid", "wkr_sleep", input={"seconds": 0}))
    sent = await _value(client.events.send("order.paid", {"order": 17}))
    assert (await _value(client.jobs.wait(sent.job_ids[0], 60))).trigger == "event"
    paused = await _value(client.subscriptions.pause(subscription.id, reason="moving"))
    assert (paused.paused.reason, paused.paused.by.kind) == ("moving", "user")
    assert [each.id for each in await _all(client.subscriptions.list(paused=True))] == [subscription.id]
    assert (await _value(client.events.send("order.paid", {"order": 18}))).job_ids == []
    assert (await _value(client.subscriptions.resume(subscription.id))).paused is None
    await _value(client.subscriptions.delete(subscription.id))
    assert await _all(client.nodes.list())
    limits = await _all(client.limits.list())
    assert [limit.name for limit in await _all(client.limits.list(per_page=10))] == [limit.name for limit in limits]
    assert len(limits) > 20


async def _refusals(client: Any) -> None:
    with pytest.raises(ApiNotFound) as unknown:
        await _value(client.jobs.trigger("wkr_none"))
    assert (unknown.value.status, unknown.value.code) == (404, "resource_not_found")
    with pytest.raises(ApiRefused, match="priority") as refused:
        await _value(client.jobs.trigger("wkr_sleep", priority=11))
    assert set(refused.value.fields) == {"priority"}
    with pytest.raises(ApiNotFound, match="is not an id"):
        await _value(client.jobs.get("job_x/logs"))


@pytest.mark.parametrize("script", [_jobs, _waits_and_pages, _other_resources, _refusals])
def test_both_clients_have_the_same_calls(mode: type[Client | AsyncClient], fleet: System, script: Any) -> None:
    fleet.query("TRUNCATE jobs, job_logs, bulk_operations")

    async def run() -> None:
        async with _connected(mode, fleet) as client:
            await script(client)

    asyncio.run(run())


def test_a_dry_run_validates_changes_and_makes_none(mode: type[Client | AsyncClient], fleet: System) -> None:
    async def run() -> None:
        async with _connected(mode, fleet, dry_run=True) as client:
            await _value(client.schedules.create("wkr_sleep", "0 9 * * *", "UTC", input={"seconds": 0}))
            assert await _all(client.schedules.list()) == []
            with pytest.raises(ApiRefused, match="hour"):
                await _value(client.schedules.create("wkr_sleep", "0 25 * * *", "UTC", input={"seconds": 0}))

    asyncio.run(run())


def test_following_resumes_after_the_api_restarts_and_a_wrong_secret_is_refused(
    mode: type[Client | AsyncClient], fleet: System
) -> None:
    async def run() -> None:
        async with _connected(mode, fleet, secret="x") as client:
            with pytest.raises(ApiUnauthorized):
                await _value(client.jobs.trigger("wkr_sleep"))
        async with _connected(mode, fleet, role="tenant-user") as client:
            with pytest.raises(ApiForbidden):
                await _value(client.jobs.trigger("wkr_sleep"))
        async with _connected(mode, fleet, retries=8) as client:
            job = await _value(client.jobs.trigger("wkr_sleep", {"seconds": 3, "steps": 30}))
            lines: list[str] = []

            def note(event: Any) -> None:
                if event.line:
                    lines.append(event.line.msg)
                if event.line and len(lines) == 2 and fleet.api:
                    fleet.api.terminate()
                    fleet.start_api()

            if mode is Client:
                for event in client.jobs.events(job.id):
                    note(event)
            else:
                async for event in client.jobs.events(job.id):
                    note(event)
            assert lines == [line.msg for line in await _all(client.jobs.logs(job.id))]

    asyncio.run(run())
