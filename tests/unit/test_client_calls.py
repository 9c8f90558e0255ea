"""The types and requests of both clients, and values of a newer server. mypy checks this module (`setup.cfg`)."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import assert_type

import pytest

from ava.client import ApiUnavailable, AsyncClient, Client, Event, Job, JobStatus, Schedule, Worker
from ava.client.reading import read
from ava.client.records import LogLine
from ava.local.start import free_port
from harness.servers.peer import Peer, answering
from tests.client_resources import resources_of
from tools.openapi import description
from tools.site import reference


def _check_client(client: Client) -> None:
    job = assert_type(client.jobs.trigger("wkr_x", {"a": 1}, priority=2), Job)
    assert_type(job.status, JobStatus)
    assert_type(job.status == "completed", bool)
    assert_type(client.jobs.trigger_many([client.jobs.entry("wkr_x")]), Sequence[Job])
    assert_type(client.jobs.trigger_and_wait("wkr_x", timeout_seconds=3), Job)
    assert_type(client.jobs.list(status="failed"), Iterator[Job])
    assert_type(client.jobs.events("job_x"), Iterator[Event])
    assert_type(client.workers.pause("wkr_x"), Worker)
    client.jobs.trigger("wkr_x", priorty=2)  # type: ignore[call-arg]
    client.jobs.trigger(2)  # type: ignore[arg-type]


async def _check_async_client(client: AsyncClient) -> None:
    assert_type(await client.jobs.trigger("wkr_x", {"a": 1}, priority=2), Job)
    assert_type(await client.jobs.trigger_many([client.jobs.entry("wkr_x")]), Sequence[Job])
    assert_type(client.jobs.list(status="failed"), AsyncIterator[Job])
    assert_type(client.jobs.logs("job_x", follow=True), AsyncIterator[LogLine])
    assert_type(await client.schedules.pause("sch_x"), Schedule)
    await client.jobs.trigger("wkr_x", priorty=2)  # type: ignore[call-arg]


def test_a_status_equals_its_string_and_one_of_a_newer_server_is_decoded() -> None:
    line = {"ts": "2026-01-01T00:00:00Z", "level": "error", "msg": ""}
    assert read(LogLine, line).level == "error"
    newer = read(LogLine, line | {"level": "audit"}).level
    assert newer == "audit"
    assert hash(newer) == hash("audit")
    assert (str(newer), json.dumps(newer), f"{newer}") == ("audit", '"audit"', "audit")
    assert pickle.loads(pickle.dumps(newer)) == newer
    assert JobStatus("completed") is JobStatus.COMPLETED


def test_an_api_that_is_not_there_is_one_clear_error_for_an_awaited_call() -> None:
    async def run() -> None:
        url = f"http://127.0.0.1:{free_port()}"
        async with AsyncClient(url, secret="x", tenant="ten_x", user="usr_x", retries=1) as client:
            with pytest.raises(ApiUnavailable, match=f"{re.escape(url)} cannot be reached"):
                await client.jobs.get("job_x")

    asyncio.run(run())


def test_both_clients_send_the_same_request() -> None:
    seen: list[bytes] = []
    response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 66\r\n\r\n"
    body = b'{"data":[],"pagination":{"has_more":false,"next_cursor":null}}    '
    server = Peer(answering(response + body, seen=seen))
    given = {"worker_id": "wkr_ä b", "tags": {"a&b": "c"}, "root": True, "input": {"n": 1.5}}

    async def run() -> None:
        async with AsyncClient(server.url, api_key="ava_00.none") as client:
            assert [job async for job in client.jobs.list(**given)] == []  # type: ignore[arg-type]

    try:
        with Client(server.url, api_key="ava_00.none") as client:
            assert list(client.jobs.list(**given)) == []  # type: ignore[arg-type]
        asyncio.run(run())
    finally:
        server.close()
    first, second = (request.split(b"\r\n")[0] for request in seen)
    assert first == second
    assert b"filter%5Broot%5D=true" in first
    assert all(b"authorization: bearer ava_00.none" in request.lower() for request in seen)


def test_a_test_event_is_sent_once_and_an_idempotent_call_is_sent_again() -> None:
    seen: list[bytes] = []
    response = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"
    server = Peer(answering(response, seen=seen))
    try:
        with Client(server.url, api_key="ava_00.none", retries=2) as client:
            for call in (client.hooks.test, client.webhooks.test, client.errors.resolve):
                with pytest.raises(ApiUnavailable):
                    call("x_1")
    finally:
        server.close()
    actions = [request.split()[1].rpartition(b"/")[0] for request in seen]
    assert actions == [b"/v1/ava/hooks/x_1", b"/v1/webhooks/x_1", *[b"/v1/ava/errors/x_1"] * 3]


def test_the_pages_name_every_call_of_every_resource() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "clients.md").read_text()
    with Client("http://127.0.0.1:1", api_key="ava_00.none") as client:
        calls = {
            f"{name}.{verb}"
            for name, found in resources_of(client).items()
            for verb in dir(type(found))
            if not verb.startswith("_")
        }
    of_operations = set(re.findall(r"`client\.([a-z_.]+)\(…\)`", reference.operations(description())))
    assert of_operations <= calls
    assert calls - of_operations <= set(re.findall(r"`([a-z]+\.[a-z_]+)`", page))


def test_without_httpx_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ava.client.async_sender", None)
    with pytest.raises(ImportError, match=r"pip install 'ava-jobs-client\[async\]'"):
        AsyncClient("http://127.0.0.1:1", api_key="ava_00.none")
